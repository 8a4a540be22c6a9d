"""Reports: what an experiment answers. The schema is published at /v1/schemas/report."""

from typing import Annotated, Any, TypeVar

from pydantic import Field

from transfusion_core.specs.base import Record

SCHEMA_VERSION = 1

T = TypeVar("T")
Where = Annotated[T | None, Field(exclude_if=lambda value: value is None)]
"""A key that is there where it applies."""


class Row(Record):
    """One number of a report, with what it takes to read it. Keys that do not apply are absent; `value` never is."""

    model: Where[str] = None
    init: Where[str] = None
    source: Where[str] = None
    train_size: Where[int | str] = None
    seed: Where[int] = None
    lr: Where[float] = None
    """A learning rate that was tried; its values are of the validation split."""
    chosen: Where[bool] = None
    """Whether it is the rate that was taken."""
    split: Where[str] = None
    label: Where[str] = None
    metric: Where[str] = None
    layer: Where[str] = None
    layer_b: Where[str] = None
    pair: Where[str] = None
    measure: Where[str] = None
    step: Where[int] = None
    stage: Where[int] = None
    start: Where[float] = None
    """What `value` is after training, before it."""
    blocks: Where[int] = None
    """Blocks per side that test images were cut into and shuffled."""
    value: float | None = None
    sd: Where[float] = None
    n: Where[int] = None
    """How many values (seeds, pairs of networks) `value` is the mean of."""
    interval: Where[list[float]] = None
    null_iid: Where[float] = None
    null_permutation: Where[float] = None
    null_untrained: Where[float] = None
    p_value: Where[float] = None
    test: Where[str] = None
    """What `p_value` is of: `tost`, `paired t`, `permutation`, `log-rank` ..."""
    p_adjusted: Where[float] = None
    """`p_value` corrected for the other tests of the same table (Holm)."""
    seeds_needed: Where[int] = None
    """How many seeds would tell, at the spread seen here."""
    question: Where[str] = None
    answer: Where[str] = None
    """`agrees`, `disagrees`, `cannot tell`, or `no published value`."""
    text: Where[str] = None
    """The row in a sentence."""
    published: Where[float] = None
    mark: Where[str] = None
    """How sure the published value is: p, t, d or u (science.md)."""
    picture: Where[str] = None
    """An image as a data URL."""
    reason: Where[str] = None
    """Why `value` is null."""


class ReportSection(Record):
    """One section: a table, charts, and what is missing from it."""

    complete: bool
    missing: list[str]
    text: str
    charts: dict[str, dict[str, Any]]
    """Chart name to Vega-Lite specification."""
    table: list[Row]


class Reference(Record):
    """A publication that the report rests on."""

    key: str
    """As BibTeX names it."""
    text: str
    """As a bibliography prints it."""
    bibtex: str


class Report(Record):
    """The answer to an experiment."""

    schema_version: int = SCHEMA_VERSION
    experiment: str | None = None
    digest: str
    """sha256 of sections, methods, references and spec, without the charts, which the tables redraw: two reports of
    the same numbers, made in the same way, have the same digest."""
    created_at: str
    sections: dict[str, ReportSection]
    methods: str = ""
    """How the numbers were made, in paragraphs: every setting, and the digest of all that went in."""
    references: list[Reference] = []
    """The paper, and the methods that this report uses."""
    spec: dict[str, Any] = {}
    """The experiment spec that makes these numbers again."""


class ReportVersion(Record):
    """One of the reports that an experiment has given."""

    digest: str
    is_complete: bool
    made_at: str


class ChangedRow(Record):
    """A row of both reports that says something else in each."""

    before: Row
    after: Row


class SectionDiff(Record):
    """What differs between two reports in one section; rows are matched by what they are of, not by what they say."""

    added: list[Row] = []
    """In this report alone."""
    removed: list[Row] = []
    """In the other one alone."""
    changed: list[ChangedRow] = []


class ReportDiff(Record):
    """What a report says that another one does not."""

    digest: str
    against: str
    """Digest of the other report, which is the earlier one in `before`."""
    same: bool
    """Whether both have the same digest."""
    sections: dict[str, SectionDiff]
    """Sections that differ."""
