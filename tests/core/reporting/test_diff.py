"""What two reports say differently."""

from studies import expansion, jobs
from transfusion_core.reporting.build import build
from transfusion_core.reporting.diff import compare
from transfusion_core.specs.report import Report, ReportSection, Row


def report(*rows: Row, digest: str = "d", section: str = "performance") -> Report:
    made = ReportSection(complete=True, missing=[], text="", charts={}, table=list(rows))
    return Report(digest=digest, created_at="t", sections={section: made})


def test_a_report_differs_from_itself_in_nothing() -> None:
    one = report(Row(model="a", value=1.0), Row(model="a", value=2.0))
    diff = compare(one, one)
    assert diff.same
    assert diff.sections == {}


def test_rows_are_matched_by_what_they_are_of() -> None:
    old = report(Row(model="a", seed=0, value=1.0), Row(model="b", value=1.0), digest="old")
    new = report(Row(model="a", seed=0, value=1.5, n=2), Row(model="c", value=1.0), digest="new")
    diff = compare(new, old)
    assert (diff.digest, diff.against, diff.same) == ("new", "old", False)
    (found,) = diff.sections.values()
    assert [(pair.before.value, pair.after.value) for pair in found.changed] == [(1.0, 1.5)]
    assert [row.model for row in found.added] == ["c"]
    assert [row.model for row in found.removed] == ["b"]


def test_several_rows_of_the_same_are_matched_in_their_order() -> None:
    diff = compare(
        report(*[Row(metric="m", value=v) for v in (1, 2, 3)]), report(*[Row(metric="m", value=v) for v in (1, 5)])
    )
    (found,) = diff.sections.values()
    assert [(pair.before.value, pair.after.value) for pair in found.changed] == [(5, 2)]
    assert [row.value for row in found.added] == [3]


def test_a_section_that_only_one_has_is_all_new() -> None:
    diff = compare(report(Row(value=1.0), section="reuse"), report(Row(value=1.0)))
    assert len(diff.sections["reuse"].added) == len(diff.sections["performance"].removed) == 1


def test_a_cell_that_came_later_is_what_differs() -> None:
    expanded = expansion()
    spec = expanded.spec.model_dump(mode="json")
    before = build(
        spec, jobs(expanded, failed=lambda labels: labels.get("seed") == 1 and labels.get("init") == "random")
    )
    diff = compare(build(spec, jobs(expanded)), before)
    changed = {(row.after.init, row.after.metric) for row in diff.sections["performance"].changed}
    assert ("random", "auroc") in changed
    assert not diff.sections["performance"].removed
