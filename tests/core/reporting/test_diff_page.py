"""What changed between two reports, as a page."""

from transfusion_core.reporting.diff import compare
from transfusion_core.reporting.diff_page import render_diff
from transfusion_core.reporting.html import ROWS_SHOWN
from transfusion_core.specs.report import Report, ReportSection, Row


def report(*rows: Row, digest: str = "d") -> Report:
    made = ReportSection(complete=True, missing=[], text="", charts={}, table=list(rows))
    return Report(digest=digest, created_at="t", sections={"performance": made})


def page(new: list[Row], old: list[Row]) -> str:
    return render_diff(compare(report(*new, digest="new"), report(*old, digest="old")))


def test_a_changed_row_shows_what_it_is_of_and_what_it_said_and_says() -> None:
    made = page([Row(model="m", metric="auroc", value=0.75, n=3)], [Row(model="m", metric="auroc", value=0.5, n=3)])
    assert "1 rows say something else" in made
    assert "0.5 → 0.75" in made
    assert '<th scope="col">model</th><th scope="col">metric</th><th scope="col">value</th></tr>' in made
    assert "<script" not in made


def test_rows_that_are_new_or_gone_are_listed_apart() -> None:
    made = page([Row(model="a", value=1.0)], [Row(model="b", value=None, reason="failed")])
    assert made.index("1 rows are new") < made.index("1 rows are gone") < made.index("failed")


def test_reports_that_say_the_same_say_so() -> None:
    one = report(Row(value=1.0))
    assert "They say the same.\n" in render_diff(compare(one, one))
    assert "the same numbers, made in another way" in page([Row(value=1.0)], [Row(value=1.0)])


def test_names_that_are_markup_are_escaped_and_long_lists_are_cut() -> None:
    made = page([Row(model="<script>", seed=seed, value=1.0) for seed in range(ROWS_SHOWN + 1)], [])
    assert "<script" not in made
    assert f"The first {ROWS_SHOWN}" in made
    assert made.count("<td>1</td>") == ROWS_SHOWN + 1, "a value each, and seed 1"
