"""The documents: every command and block of code in them is executed, or its source says why it cannot be.

`sh` blocks run in one folder with the variables of those before, `python` blocks in one namespace, and `yaml` blocks
are parts of a spec, planned. All speak to one embedded platform, so that a study that several documents show runs once.
"""

import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

from documents import DOCUMENTS, GENERATED, NOTEBOOKS, REPOSITORY, Block, blocks_of
from platforms import embedded
from transfusion_client import Client
from transfusion_core.science.data.readers.layouts import LAYOUTS
from transfusion_core.science.inits.initialise import INITS
from transfusion_core.science.models.cbr import CBR
from transfusion_core.science.similarity.measures import MEASURES

BLOCK_SECONDS = 300
SPEC: dict[str, Any] = {
    "name": "a part of a spec",
    "dataset": "demo-retina",
    "models": ["cbr-tiny"],
    "sources": {"natural": {"pretrain": {"dataset": "demo-natural"}}},
}
"""What the parts of specs in the documents are parts of."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded(tmp_path_factory.mktemp("platform"), few=False) as platform:
        yield platform.url


@pytest.fixture
def workplace(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which a newcomer's terminal stands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSFUSION_URL", url)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def dictionaries() -> Iterator[None]:
    """What docs/extending.md adds to is afterwards as it was: other tests run in this process."""
    with ExitStack() as kept:
        for each in (CBR, INITS, MEASURES, LAYOUTS):
            kept.enter_context(patch.dict(each))
        yield


@pytest.mark.usefixtures("dictionaries")
@pytest.mark.parametrize(
    "document", [each for each in DOCUMENTS if each.name not in GENERATED], ids=lambda path: path.name
)
def test_every_block_of_a_document_does_what_it_says(document: Path, workplace: Path, url: str) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks_of(document):
        place = f"{document.relative_to(REPOSITORY)}:{block.line}"
        if block.reason:
            print(f"not run: {place}: {block.reason}")
        elif block.language == "sh":
            _run_commands(block, place, workplace)
        elif block.language == "python":
            _run_python(block, place, names)
        elif block.language == "yaml":
            with Client(url) as client:
                client.experiments.plan({**SPEC, **yaml.safe_load(block.code)})
        else:
            pytest.fail(f"{place}: nobody knows how to run {block.language!r}")


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_from_its_first_cell_to_its_last(notebook: Path) -> None:
    read = nbformat.read(notebook, as_version=4)
    assert not [cell for cell in read.cells if cell.get("outputs")], "kept without outputs, which would grow old"
    NotebookClient(read, timeout=BLOCK_SECONDS, kernel_name="python3").execute()


def _run_commands(block: Block, place: str, workplace: Path) -> None:
    kept = workplace / ".variables"
    script = f"set -a; [ ! -f {kept} ] || . {kept}\n{block.code}\nexport -p > {kept}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], check=False, capture_output=True, text=True, timeout=BLOCK_SECONDS
    )
    assert done.returncode == 0, f"{place}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def _run_python(block: Block, place: str, names: dict[str, Any]) -> None:
    try:
        exec(compile(block.code, place, "exec"), names)
    except Exception:
        pytest.fail(f"{place}:\n{traceback.format_exc()}")
