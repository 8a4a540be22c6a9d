"""The references are what the code says, and links between documents lead somewhere."""

import re
from pathlib import Path

import pytest

from documents import DOCUMENTS, GENERATED, REPOSITORY
from transfusion_api import reference

LINK = re.compile(r"\]\(([\w./-]+)(?:#[\w-]+)?\)")


def test_the_references_are_in_step_with_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.main(["--check"]) == 0
    assert capsys.readouterr().err == ""


def test_a_reference_that_is_not_is_named_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "operating.md").write_text("Before.\n" + "\n".join(reference.MARKS) + "\nAfter.\n")
    monkeypatch.setattr(reference, "DOCS", tmp_path)
    assert reference.main(["--check"]) == 1
    assert "rest.md is not what the code says" in capsys.readouterr().err
    assert reference.main(["--write"]) == 0
    assert reference.main(["--check"]) == 0
    for name in GENERATED:
        assert (tmp_path / name).read_text() == (REPOSITORY / "docs" / name).read_text()
    table = (tmp_path / "operating.md").read_text()
    assert table.startswith("Before.\n")
    assert "`TRANSFUSION_STORE_SECONDS`" in table
    assert table.endswith("\nAfter.\n")


def test_links_between_documents_lead_somewhere() -> None:
    dead = [
        f"{document.name}: {link}"
        for document in DOCUMENTS
        for link in LINK.findall(document.read_text())
        if not (document.parent / link).exists()
    ]
    assert not dead
