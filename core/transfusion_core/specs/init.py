"""Initialisations: the axis of every experiment."""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from transfusion_core.specs.base import Key, Name, Record, Spec

InitKind = Literal["random", "pretrained", "mean_var", "gabor"]
NEEDS_SOURCE: frozenset[str] = frozenset({"pretrained", "mean_var"})


class Init(Spec):
    """How a network's weights start, once it is known where its source comes from."""

    kind: InitKind
    bn: Literal["reset", "draw_affine", "copy"] | None = None
    """For `mean_var`: what becomes of batch norm; `reset` unless given."""
    skip: list[str] = Field(default=[], max_length=1000)
    """For `pretrained`: tensors that the source may lack or bring besides, other than the head."""

    @property
    def label(self) -> str:
        """The word in tables; it tells arms of one kind and source apart."""
        return self.kind if self.bn in (None, "reset") else f"{self.kind}({self.bn})"


class InitSpec(Init):
    """An init as a spec writes it; `random` alone stands for `{kind: random}`."""

    source: Name | None = None
    """A name among the spec's `sources`; for `pretrained` and `mean_var`."""

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

    def resolved(self) -> Self:
        """The same init with its defaults filled in."""
        return self.model_copy(update={"bn": self.bn or "reset"}) if self.kind == "mean_var" else self


class SourceRef(Spec):
    """Where a train job takes its source tensors from: exactly one of a run, a weight file, a timm tag."""

    run: Key | None = None
    """Key of a train job; its final checkpoint is taken unless `checkpoint` says otherwise."""
    checkpoint: str = "final"
    weights: Key | None = None
    """sha256 of a weight file in the store."""
    timm: str | None = None


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
