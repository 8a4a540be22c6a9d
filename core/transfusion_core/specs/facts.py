"""What a spec's names stand for in a service: looked up once, before a spec is checked and expanded."""

from dataclasses import dataclass, field, replace
from typing import Any

from transfusion_core.specs.contract import InputContract
from transfusion_core.specs.dataset import UPLOAD, DatasetSpec
from transfusion_core.specs.job import JobDraft
from transfusion_core.specs.keys import job_key


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """One dataset version."""

    name: str
    """`name@version`."""
    spec: DatasetSpec
    ingest: JobDraft
    registered: bool
    """False for a demo dataset that nobody has named yet."""
    splits: dict[str, int] | None = None
    """Images per split; None until it is ingested, where it cannot be foretold."""
    classes: int | None = None
    """Classes or labels; None until it is ingested."""
    channels: int | None = None
    """1 where every image is grey, else 3; None until it is ingested."""
    resolutions: dict[str, int] = field(default_factory=dict)
    """`WIDTHxHEIGHT` to number of images, the most frequent ones; empty until it is ingested."""


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """One run whose checkpoint a spec names."""

    key: str
    model: str
    dataset: str
    """Key of its ingest job."""
    image_size: int
    steps: frozenset[str] | None
    """Names of its checkpoints; None until it has ended."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the names in one spec stand for. A name that is absent stands for nothing."""

    datasets: dict[str, DatasetFacts] = field(default_factory=dict)
    """By the name as written, with or without version."""
    weights: dict[str, str] = field(default_factory=dict)
    """Name of a weight file to its sha256."""
    weight_inputs: dict[str, InputContract] = field(default_factory=dict)
    """Name of a weight file to what it expects of its images, where that was stated."""
    runs: dict[str, RunFacts] = field(default_factory=dict)
    """By run id."""
    dataset_names: tuple[str, ...] = ()
    """All that could have been written, for the nearest name."""
    weight_names: tuple[str, ...] = ()


def ingest_draft(
    spec: DatasetSpec, fingerprint: str | None = None, *, parent: str | None = None, project: str = ""
) -> JobDraft:
    """The ingest of a dataset: its name does not count, what it reads does.

    `fingerprint` stands for the bytes behind a location that can change (a folder) or can be sent again (an upload,
    which counts by its bytes and its `project`), `parent` is the key of the ingest of the version that is extended.
    """
    content = spec.resolved().model_dump(mode="json", exclude={"name", "extends"})
    content |= {"fingerprint": fingerprint, **({"parent": parent} if parent else {})}
    draft = JobDraft.make("ingest", content, needs=(parent,) if parent else ())
    if not (spec.location or "").startswith(UPLOAD):
        return draft
    return replace(draft, key=job_key("ingest", {**content, "location": UPLOAD, "project": project}, draft.needs))


def placed_ingest(spec: dict[str, Any], key: str) -> JobDraft:
    """The ingest that a job's row holds; it needs that of the version that is extended, should it be done again."""
    return JobDraft(kind="ingest", spec=spec, key=key, needs=(spec["parent"],) if spec.get("parent") else ())


def foretold_splits(spec: DatasetSpec) -> dict[str, int] | None:
    """Images per split where the spec alone decides them: drawn images. To within a few of what is drawn."""
    if spec.recipe is None:
        return None
    test, val = int(spec.recipe.images * spec.test_share), int(spec.recipe.images * spec.val_share)
    return {"train": spec.recipe.images - test - val, "val": val, "test": test}
