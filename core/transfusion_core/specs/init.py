"""Initialisations: the axis of every experiment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from transfusion_core.specs.base import Key, Name, Record, Spec
from transfusion_core.specs.contract import InputContract

InitKind = Literal["random", "pretrained", "mean_var", "gabor", "transfuse", "slim"]
NEEDS_SOURCE: frozenset[str] = frozenset({"pretrained", "mean_var", "transfuse", "slim"})
NEEDS_PREFIX: frozenset[str] = frozenset({"transfuse", "slim"})
LADDER = "all"
"""The prefix that stands for every prefix of a model, one arm each."""
DEFAULT_WIDTH = 0.5
"""Raghu et al. 2019, section 5, halve the channels after the prefix."""


def _absent(value: object) -> bool:
    return value is None


@dataclass(frozen=True, kw_only=True)
class Slim:
    """How a network is redesigned: what comes after stage `prefix` has `width` times its channels."""

    prefix: str
    width: float


class Init(Spec):
    """How a network's weights start, once it is known where its source comes from."""

    kind: InitKind
    bn: Literal["reset", "draw_affine", "copy"] | None = None
    """For `mean_var`: what becomes of batch norm; `reset` unless given."""
    skip: list[str] = Field(default=[], max_length=1000)
    """For `pretrained`: tensors that the source may lack or bring besides, other than the head."""
    # Left out of the JSON where they say nothing, so that the other kinds keep the job keys that they had.
    prefix: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(None, exclude_if=_absent)
    """For `transfuse` and `slim`: the last stage that comes from the source; `all` makes `transfuse` a ladder, an
    arm for every stage of each model."""
    rest: Literal["random", "mean_var"] | None = Field(None, exclude_if=_absent)
    """For `transfuse`: how what comes after the prefix starts; `random` unless given."""
    width: float | None = Field(None, gt=0, lt=1, exclude_if=_absent)
    """For `slim`: channels after the prefix, as a share of the network's own; 0.5 unless given."""

    @property
    def label(self) -> str:
        """The word in tables; it tells arms of one kind and source apart."""
        told = [self.prefix, self.bn if self.bn != "reset" else None, self.rest if self.rest != "random" else None]
        if self.kind == "slim":
            told.append(str(self.width or DEFAULT_WIDTH))
        inside = ",".join(word for word in told if word)
        return f"{self.kind}({inside})" if inside else self.kind

    @property
    def slim(self) -> Slim | None:
        """How the network itself changes: for `slim` alone."""
        if self.kind != "slim":
            return None
        assert self.prefix is not None
        return Slim(prefix=self.prefix, width=self.width or DEFAULT_WIDTH)


class InitSpec(Init):
    """An init as a spec writes it; `random` alone stands for `{kind: random}`."""

    model_config = ConfigDict(json_schema_extra={"type": ["object", "string"]})

    source: Name | None = None
    """A name among the spec's `sources`; for every kind but `random` and `gabor`."""

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, written: object) -> object:
        return {"kind": written} if isinstance(written, str) else written

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.kind in NEEDS_SOURCE and self.source is None:
            raise PydanticCustomError("needs", "init '{kind}' needs a 'source'", {"kind": self.kind})
        if self.kind not in NEEDS_SOURCE and self.source is not None:
            raise PydanticCustomError("excess", "init '{kind}' takes no 'source'", {"kind": self.kind})
        if self.bn is not None and self.kind != "mean_var":
            raise PydanticCustomError("excess", "'bn' is for init 'mean_var'", {})
        return self

    @model_validator(mode="after")
    def _check_prefix(self) -> Self:
        if self.kind in NEEDS_PREFIX and self.prefix is None:
            raise PydanticCustomError("needs", "init '{kind}' needs a 'prefix', a stage's name", {"kind": self.kind})
        if self.kind not in NEEDS_PREFIX and self.prefix is not None:
            raise PydanticCustomError("excess", "init '{kind}' takes no 'prefix'", {"kind": self.kind})
        if self.kind == "slim" and self.prefix == LADDER:
            raise PydanticCustomError("excess", "prefix 'all' is for init 'transfuse'; 'slim' takes one stage", {})
        if self.rest is not None and self.kind != "transfuse":
            raise PydanticCustomError("excess", "'rest' is for init 'transfuse'", {})
        if self.width is not None and self.kind != "slim":
            raise PydanticCustomError("excess", "'width' is for init 'slim'", {})
        return self

    def resolved(self) -> Self:
        """The same init with its defaults filled in."""
        if self.kind == "mean_var":
            return self.model_copy(update={"bn": self.bn or "reset"})
        if self.kind == "transfuse":
            return self.model_copy(update={"rest": self.rest or "random"})
        if self.kind == "slim":
            return self.model_copy(update={"width": self.width or DEFAULT_WIDTH})
        return self

    def arms(self, stages: Sequence[str]) -> list[Self]:
        """The init itself, or the rungs of a ladder over a model's `stages`."""
        if self.prefix != LADDER:
            return [self]
        return [self.model_copy(update={"prefix": stage}) for stage in stages]


class SourceRef(Spec):
    """Where a train job takes its source tensors from: exactly one of a run, a weight file, a timm tag."""

    run: Key | None = None
    """Key of a train job; its final checkpoint is taken unless `checkpoint` says otherwise."""
    checkpoint: str = "final"
    weights: Key | None = None
    """sha256 of a weight file in the store."""
    timm: str | None = None
    input: InputContract | None = Field(None, exclude_if=_absent)
    """Of weights and tags, where images are to be normalised as theirs were; a run's checkpoint tells it itself."""


class TensorReport(Record):
    """What became of one tensor at initialisation."""

    name: str
    shape: list[int]
    action: Literal["copied", "drawn", "random", "reset", "skipped"]
    reason: str | None = None
    source_name: str | None = None


class WeightReport(Record):
    """What became of every tensor at initialisation."""

    init: str
    source_digest: str | None = None
    tensors: list[TensorReport]
