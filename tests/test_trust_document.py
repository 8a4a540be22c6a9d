"""`docs/trust.md` names tests for its promises: all of them are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
HEADINGS = ["Nothing lost", "Queue", "Store", "Database", "API under load", "Access", "Hostile input", "Figures"]


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(tests/[\w./-]+\.py)(?:::(\w+))?`", TEXT))
    assert len(named) > 50
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file() or (name and f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8"))
    ]
    assert not missing


def test_every_promise_has_a_test() -> None:
    for heading in HEADINGS[:-1]:
        section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith("|")][2:]
        assert rows, heading
        assert not [row for row in rows if "`tests/" not in row], heading


def test_the_sections_are_those_of_the_specification() -> None:
    assert [heading for heading in re.findall(r"^## (.+)$", TEXT, re.MULTILINE) if heading in HEADINGS] == HEADINGS
