"""Datasets: what a user registers, and what an ingest finds."""

from operator import not_
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from transfusion_core.specs.base import STORED, Name, Record, Spec
from transfusion_core.specs.text import is_text, one_line

Task = Literal["multiclass", "ordinal", "multilabel"]
RecipeName = Literal["demo-retina", "demo-chest", "demo-natural"]
Split = Literal["train", "val", "test"]

RECIPE_TASKS: dict[str, Task] = {
    "demo-retina": "ordinal",
    "demo-chest": "multilabel",
    "demo-natural": "multiclass",
}

LAYOUT_TASKS: dict[str, Task] = {
    "chexpert": "multilabel",
    "chestxray14": "multilabel",
    "eyepacs": "ordinal",
    "aptos": "ordinal",
    "idrid": "ordinal",
    "messidor2": "ordinal",
    "ham10000": "multiclass",
    "isic": "multiclass",
}
"""Published datasets that are read as they are downloaded, and what their labels are."""
Kind = Literal[
    "recipe",
    "npz",
    "folder",
    "csv",
    "chexpert",
    "chestxray14",
    "eyepacs",
    "aptos",
    "idrid",
    "messidor2",
    "ham10000",
    "isic",
]
_LAYOUT_FIELDS = {"uncertain": ("chexpert",), "views": ("chexpert",), "labels": ("chexpert", "chestxray14")}

Location = Annotated[
    str, StringConstraints(pattern=r"^(upload:[A-Za-z0-9._-]{1,128}|s3://.+|file:///.+)$", max_length=1024)
]

UPLOAD = "upload:"
"""How locations begin that are uploads, before their ids."""


DRAWN_MAX_BYTES = 64 << 30
"""Of the pixels of a recipe; as much as an archive may hold."""


class RecipeSpec(Spec):
    """Synthetic images, drawn by the platform itself."""

    name: RecipeName
    images: int = Field(default=2000, ge=50, le=1_000_000)
    seed: int = Field(default=0, ge=0, lt=2**31)
    size: int = Field(default=64, ge=16, le=512)
    """Side of the drawn images in pixels."""

    @model_validator(mode="after")
    def _check_bytes(self, info: ValidationInfo) -> Self:
        size_bytes = self.images * self.size**2 * 3
        if size_bytes > DRAWN_MAX_BYTES and info.context != STORED:
            raise PydanticCustomError(
                "excess",
                "{images} images of {size} px are {size_bytes} bytes when drawn: expected {most} at most",
                {"images": self.images, "size": self.size, "size_bytes": size_bytes, "most": DRAWN_MAX_BYTES},
            )
        return self


class ColumnsSpec(Spec):
    """Which columns of a CSV manifest mean what."""

    file: str = "file"
    label: str | list[str] = "label"
    """One column of class names or grades, or for a multilabel task one column per label (1, 0, empty = missing)."""
    split: str | None = None
    patient: str | None = None
    classes: list[Annotated[str, StringConstraints(min_length=1, max_length=200)]] | None = Field(
        None, exclude_if=not_, min_length=1, max_length=10_000
    )
    """For a multiclass task: what the label column may hold, in this order; any other word is a fault of its row. All
    words that it holds, sorted, unless given."""

    @field_validator("classes")
    @classmethod
    def _check_classes(cls, classes: list[str] | None) -> list[str] | None:
        for name in classes or []:
            if not is_text(name) or name != name.strip():
                raise PydanticCustomError(
                    "text", "expected plain text without spaces around it, got {name}", {"name": repr(name)}
                )
        if classes and len(set(classes)) < len(classes):
            raise PydanticCustomError("twice", "expected each class once", {})
        return classes


class DatasetSpec(Spec):
    """Labelled images with a fixed split."""

    name: Name
    kind: Kind
    task: Task | None = None
    """Taken from the recipe where there is one, else `multiclass`."""
    recipe: RecipeSpec | None = None
    location: Location | None = None
    columns: ColumnsSpec | None = None
    manifest: str | None = None
    """For `csv`: the manifest's name, where the location holds several CSV files."""
    uncertain: Literal["ignore", "zeros", "ones"] | None = Field(None, exclude_if=not_)
    """For `chexpert`: what a label of -1 is taken for; `ignore`, a missing label, by default."""
    views: Literal["all", "frontal", "lateral"] | None = Field(None, exclude_if=not_)
    """For `chexpert`: which films; all by default."""
    labels: list[str] | None = Field(None, exclude_if=not_, min_length=1, max_length=100)
    """For `chexpert` and `chestxray14`: which findings, in this order; the five that Raghu et al. 2019 studied, or all
    fourteen, by default."""
    image_sizes: list[Annotated[int, Field(ge=8, le=1024)]] = Field([], exclude_if=not_, max_length=4)
    """Sizes at which pixels are made while files are opened, so that each is decoded once; other sizes are made when
    they are first used."""
    skip_unreadable: bool = False
    """Leave out files that cannot be read, and list them, instead of failing."""
    allow_shared_patients: bool = Field(False, exclude_if=not_)
    """Take given splits that share patients, which is a fault otherwise; every report says so."""
    burned_in: bool = Field(False, exclude_if=not_)
    """Take DICOM files that say that text is burned into their pixels: it may name the patient, and is part of what
    networks see."""
    extends: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}@[0-9]{1,10}$")] | None = (
        Field(None, exclude_if=not_)
    )
    """A version, `name@n`, whose images this one has too, with the splits that they have there."""
    split_seed: int = Field(default=0, ge=0, lt=2**31)
    """Draws the splits that the data do not bring: by patient where patients are known."""
    val_share: float = Field(default=0.15, gt=0, lt=0.5)
    test_share: float = Field(default=0.2, gt=0, lt=0.5)

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        wanted, unwanted = ("recipe", "location") if self.kind == "recipe" else ("location", "recipe")
        if getattr(self, wanted) is None:
            raise PydanticCustomError(
                "needs", "a dataset of kind '{kind}' needs '{field}'", {"kind": self.kind, "field": wanted}
            )
        if getattr(self, unwanted) is not None:
            raise PydanticCustomError(
                "excess",
                "a dataset of kind '{kind}' takes no '{field}'",
                {"kind": self.kind, "field": unwanted},
            )
        if self.kind != "csv" and (self.columns or self.manifest):
            raise PydanticCustomError("excess", "'columns' and 'manifest' are for kind 'csv'", {})
        if self.columns and self.columns.classes and self.task not in (None, "multiclass"):
            raise PydanticCustomError("excess", "'classes' is for a multiclass task, not {task}", {"task": self.task})
        for field, kinds in _LAYOUT_FIELDS.items():
            if getattr(self, field) is not None and self.kind not in kinds:
                raise PydanticCustomError(
                    "excess", "'{field}' is for kind {kinds}", {"field": field, "kinds": " or ".join(kinds)}
                )
        if self.extends and self.kind == "recipe":
            raise PydanticCustomError("excess", "'extends' is for images that come from outside, not for 'recipe'", {})
        if self.kind in LAYOUT_TASKS and self.task not in (None, LAYOUT_TASKS[self.kind]):
            raise PydanticCustomError(
                "task", "a dataset of kind '{kind}' is {task}", {"kind": self.kind, "task": LAYOUT_TASKS[self.kind]}
            )
        if self.recipe and self.task not in (None, RECIPE_TASKS[self.recipe.name]):
            raise PydanticCustomError(
                "task",
                "recipe '{recipe}' is {task}",
                {"recipe": self.recipe.name, "task": RECIPE_TASKS[self.recipe.name]},
            )
        return self

    def resolved(self) -> Self:
        """The same spec with its defaults filled in."""
        drawn = RECIPE_TASKS[self.recipe.name] if self.recipe else LAYOUT_TASKS.get(self.kind, "multiclass")
        task = self.task or drawn
        columns = (self.columns or ColumnsSpec()) if self.kind == "csv" else None
        return self.model_copy(update={"task": task, "columns": columns})


def demo_dataset(name: str) -> DatasetSpec | None:
    """The dataset behind a demo name: these need no registration before a spec names them."""
    if name not in RECIPE_TASKS:
        return None
    return DatasetSpec.model_validate({"name": name, "kind": "recipe", "recipe": {"name": name}}).resolved()


Shown = Annotated[str, BeforeValidator(lambda text: one_line(str(text), most=500))]
"""Words of a stranger's file, fit to be shown and stored."""


class FileFault(Record):
    """A file or row that could not be used."""

    file: Shown
    row: int | None = None
    """Row of the manifest, counted from 1 without the header."""
    message: Shown


class StoredObject(Record):
    """Bytes in the store."""

    key: str
    size_bytes: int
    sha256: str


class Shard(Record):
    """Consecutive images of a pack at one size: uint8 (images, size, size, channels), and nothing else."""

    object: StoredObject
    images: int
    channels: Literal[1, 3]


class Pixels(Record):
    """All images of a pack at one size."""

    size: int
    channels: Literal[1, 3]
    """1 where every pixel of every image is grey; shards with one channel before others with three are grey too."""
    order: Literal["nhwc"]
    """Of a shard's bytes: (images, rows, columns, channels). Required: versions that had another did not say so."""
    shards: list[Shard]


class IngestResult(Record):
    """What an ingest found, and where it put it."""

    digest: str
    """sha256 over images, labels, patients and split."""
    task: Task
    images: int
    classes: list[str]
    """Class or label names, in label order; grades in order for an ordinal task."""
    splits: dict[str, int]
    channels: int
    resolutions: dict[str, int] = {}
    """`WIDTHxHEIGHT` to number of images, the most frequent first, ten at most."""
    class_counts: dict[str, dict[str, int]] = {}
    """Split to class to number of images; for multilabel the positives."""
    faults: list[FileFault] = []
    across_splits: dict[Literal["patients", "files"], int] = {}
    """How many patients, and files of the very same bytes, are in more than one split."""
    manifest: StoredObject
    """See `specs.manifest`."""
    salt: str = ""
    """What its patients are hashed with, as hexadecimal; kept away from the manifest. Empty where none are known."""
    annotations: StoredObject
    """Labels, split and names."""
    pack: list[StoredObject]
    """The images, in pieces."""
    pixels: list[Pixels] = []
    """At the sizes that the spec asks for."""


class Dataset(Record):
    """A registered dataset version."""

    id: str
    name: str
    """`name@version`."""
    parent: str | None = None
    """The version that it extends."""
    state: str
    digest: str | None = None
    images: int | None = None
    task: Task
    classes: list[str] = []
    splits: dict[str, int] = {}
    across_splits: dict[Literal["patients", "files"], int] = {}
    """How many patients, and files of the very same bytes, are in more than one split."""
    faults: list[FileFault] = []
    """What was left out, or why it failed; of many the first."""
    spec: dict[str, Any]
    job: str
    created_at: str
    reason: str | None = None
    error: str | None = None
    """Why it could not be ingested."""
