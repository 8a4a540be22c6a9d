"""docs/similarity.md: its examples run and print what they say, its pictures exist, its table is the engine's."""

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from transfusion_core.science.similarity import INVARIANCES, MEASURES

DOCS = Path(__file__).parents[4] / "docs"
TEXT = (DOCS / "similarity.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)
PICTURES = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", TEXT)
COLUMNS = ["shift", "common scale", "rotation", "neuron scale", "invertible map"]


def test_the_examples_run_in_order_and_print_what_they_say():
    names: dict[str, object] = {}
    assert len(BLOCKS) >= 3
    for block in BLOCKS:
        printed = StringIO()
        with redirect_stdout(printed):
            exec(compile(block, "similarity.md", "exec"), names)
        said = re.findall(r"^print\(.*\)  # (.+)$", block, flags=re.MULTILINE)
        assert printed.getvalue().strip()
        assert not said or printed.getvalue().splitlines() == said


@pytest.mark.parametrize(("words", "path"), PICTURES)
def test_every_picture_exists_is_small_and_has_words(words, path):
    picture = DOCS / path
    assert picture.read_text().startswith("<svg")
    assert picture.stat().st_size < 60_000
    assert len(words) > 40


def test_no_picture_is_left_over():
    assert {path for _, path in PICTURES} == {f"pictures/{each.name}" for each in (DOCS / "pictures").iterdir()}


def promised(measure: str, side: str) -> list[str]:
    return ["yes" if column in getattr(INVARIANCES[measure], side) else "no" for column in COLUMNS]


@pytest.mark.parametrize("measure", MEASURES)
def test_the_table_of_invariances_is_the_engines(measure):
    rows = re.findall(rf"^\| `{measure}`, (\w+)[^|]*\|([^\n]*)\|([^|\n]*)\|$", TEXT, flags=re.MULTILINE)
    sides = {"both": ["reference", "other"], "reference": ["reference"], "other": ["other"],
             "first": ["reference"], "second": ["other"]}  # fmt: skip
    found = {side: ([cell.strip() for cell in cells.split("|")], last.strip())
             for name, cells, last in rows for side in sides[name]}  # fmt: skip
    assert found.keys() == {"reference", "other"}
    for side, (cells, exchanged) in found.items():
        assert cells == promised(measure, side)
        assert (exchanged == "yes") == INVARIANCES[measure].symmetric or measure == "pwcca"


def test_every_measure_has_its_line_in_the_table_of_measures():
    assert all(re.search(rf"^\| `{measure}` \|", TEXT, flags=re.MULTILINE) for measure in MEASURES)
