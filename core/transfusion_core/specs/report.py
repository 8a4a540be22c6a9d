"""Reports: what an experiment answers. The schema is published at /v1/schemas/report."""

from typing import Any

from transfusion_core.specs.base import Record

SCHEMA_VERSION = 1


class Row(Record):
    """One number of a report, with everything needed to read it. Keys that do not apply are absent."""

    model: str | None = None
    init: str | None = None
    source: str | None = None
    train_size: int | str | None = None
    seed: int | None = None
    label: str | None = None
    metric: str | None = None
    layer: str | None = None
    layer_b: str | None = None
    pair: str | None = None
    measure: str | None = None
    step: int | None = None
    stage: int | None = None
    value: float | None = None
    sd: float | None = None
    n: int | None = None
    """How many values (seeds, pairs of networks) `value` is the mean of."""
    interval: list[float] | None = None
    null_iid: float | None = None
    p_value: float | None = None
    published: float | None = None
    mark: str | None = None
    """How sure the published value is: p, t, d or u (science.md)."""
    reason: str | None = None
    """Why `value` is null."""


class ReportSection(Record):
    """One section: a table, charts, and what is missing from it."""

    complete: bool
    missing: list[str]
    text: str
    charts: dict[str, dict[str, Any]]
    """Chart name to Vega-Lite specification."""
    table: list[Row]


class Report(Record):
    """The answer to an experiment."""

    schema_version: int = SCHEMA_VERSION
    experiment: str | None = None
    digest: str
    """sha256 of the sections: two reports with the same numbers have the same digest."""
    created_at: str
    sections: dict[str, ReportSection]
