"""A report's numbers as one CSV: a row per number, the section in front."""

import csv
import io

from transfusion_core.specs.report import Report, Row


def to_csv(report: Report) -> str:
    """Every row of every section; empty where a key does not apply."""
    columns = ["section", *Row.model_fields]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for name, section in report.sections.items():
        for row in section.table:
            numbers = row.model_dump(mode="json", exclude_none=True)
            interval = {"interval": " ".join(map(repr, row.interval))} if row.interval else {}
            writer.writerow({"section": name, **numbers, **interval})
    return text.getvalue()
