"""What docs/hospital.md carries into a closed network is enough to install the project there."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from documents import REPOSITORY, blocks_of

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "core", "api", "worker", "clients", "docs")
BUILT_BEFORE = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")


def test_the_project_is_among_the_wheels_that_are_carried_in(tmp_path: Path):
    """The document's own commands, but for the wheels of others, which take gigabytes: those are lent from here."""
    outside, closed = tmp_path / "outside", tmp_path / "closed"
    outside.mkdir()
    for source in map(REPOSITORY.joinpath, SOURCES):
        if source.is_dir():
            shutil.copytree(source, outside / source.name, ignore=BUILT_BEFORE)
        else:
            shutil.copy(source, outside)
    carry, install = _commands("wheels")
    _run(carry, outside)
    closed.mkdir()
    shutil.copy(outside / "transfusion-offline.tar.gz", closed)
    _run(install, closed)

    environment = _environment() | {"PYTHONPATH": sysconfig.get_path("purelib")}
    command = [closed / ".venv" / "bin" / "transfusion", "--help"]
    help_ = subprocess.run(command, cwd=closed, env=environment, capture_output=True, text=True, check=True).stdout
    assert "report" in help_
    where = [closed / ".venv/bin/python", "-c", "import transfusion_core, transfusion_client as c; print(c.__file__)"]
    found = subprocess.run(where, cwd=closed, env=environment, capture_output=True, text=True, check=True).stdout
    assert Path(found).is_relative_to(closed), "it was the wheel that answered, not this checkout"


def _commands(word: str) -> list[str]:
    blocks = blocks_of(REPOSITORY / "docs" / "hospital.md")
    return [block.code for block in blocks if block.language == "sh" and word in block.code]


def _run(script: str, folder: Path) -> None:
    # Nothing is fetched, not even setuptools. PIP_NO_BUILD_ISOLATION means the contrary of what it says.
    without = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=_environment() | without | {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
