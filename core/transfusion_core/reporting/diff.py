"""What two reports say differently, row by row."""

import json
from collections import Counter
from collections.abc import Hashable, Sequence

from transfusion_core.specs.report import ChangedRow, Report, ReportDiff, ReportSection, Row, SectionDiff

OF_WHAT = (
    *(
        "model",
        "init",
        "source",
        "train_size",
        "seed",
        "lr",
        "split",
        "label",
        "metric",
        "layer",
        "layer_b",
        "pair",
        "measure",
    ),
    *("step", "stage", "blocks", "question"),
)
"""The keys that say what a row is of; the others are what it says."""


def compare(report: Report, against: Report) -> ReportDiff:
    """What `report` says that `against`, the earlier one, does not, and the other way round."""
    names = dict.fromkeys([*report.sections, *against.sections])
    diffs = {name: _section(report.sections.get(name), against.sections.get(name)) for name in names}
    return ReportDiff(
        digest=report.digest,
        against=against.digest,
        same=report.digest == against.digest,
        sections={name: diff for name, diff in diffs.items() if diff.added or diff.removed or diff.changed},
    )


def _section(after: ReportSection | None, before: ReportSection | None) -> SectionDiff:
    new, old = _keyed(after.table if after else []), _keyed(before.table if before else [])
    return SectionDiff(
        added=[row for key, row in new.items() if key not in old],
        removed=[row for key, row in old.items() if key not in new],
        changed=[ChangedRow(before=old[key], after=row) for key, row in new.items() if key in old and old[key] != row],
    )


def _keyed(table: Sequence[Row]) -> dict[Hashable, Row]:
    """Rows by what they are of; of several of the same, each by its place among them."""
    seen: Counter[str] = Counter()
    keyed: dict[Hashable, Row] = {}
    for row in table:
        words = json.dumps([getattr(row, word) for word in OF_WHAT])
        keyed[words, seen[words]] = row
        seen[words] += 1
    return keyed
