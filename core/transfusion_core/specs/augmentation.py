"""Augmentation: what is done at random to each image each time that it is trained on."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from transfusion_core.specs.base import Spec

Share = Annotated[float, Field(gt=0, le=1)]
Strength = Annotated[float, Field(ge=0, le=1)]


def _says_nothing(value: object) -> bool:
    return not value


class Crop(Spec):
    """A part of the image, as large as the image again: exactly one of the two."""

    padding: int | None = Field(None, ge=1, le=1024, exclude_if=_says_nothing)
    """So many black pixels are put around the image, and a window of its own size is taken anywhere in that."""
    scale: list[Share] | None = Field(None, min_length=2, max_length=2, exclude_if=_says_nothing)
    """The least and the largest share of the image's area: a part of it of the same shape, anywhere in it."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.padding is None) == (self.scale is None):
            raise PydanticCustomError("one_of", "expected exactly one of padding, scale", {})
        if self.scale and self.scale[0] > self.scale[1]:
            raise PydanticCustomError("rising", "expected the least share of 'scale' before the largest", {})
        return self


class Jitter(Spec):
    """Colours, by factors drawn between 1 - strength and 1 + strength, in this order."""

    brightness: Strength = Field(0.0, exclude_if=_says_nothing)
    """Pixels are multiplied."""
    contrast: Strength = Field(0.0, exclude_if=_says_nothing)
    """Their distance from the image's mean grey is multiplied."""
    saturation: Strength = Field(0.0, exclude_if=_says_nothing)
    """Their distance from their own grey is multiplied."""


class Augmentation(Spec):
    """Drawn anew for each image in each epoch, in this order; what comes from beyond the image's edge is black."""

    crop: Crop | None = Field(None, exclude_if=_says_nothing)
    flip: bool = Field(False, exclude_if=_says_nothing)
    """Mirrored left to right with probability one half."""
    rotation: float = Field(0.0, ge=0, le=180, exclude_if=_says_nothing)
    """Turned about its middle by at most so many degrees either way."""
    jitter: Jitter | None = Field(None, exclude_if=_says_nothing)

    @classmethod
    def of(cls, choice: "AugmentationChoice") -> "Augmentation":
        """What a word stands for."""
        return choice if isinstance(choice, Augmentation) else cls(flip=choice == "flip")


def _as_word(choice: "AugmentationChoice") -> "AugmentationChoice":
    """One way to write one thing, so that it has one key."""
    if isinstance(choice, str):
        return choice
    if choice.jitter == Jitter():
        choice = choice.model_copy(update={"jitter": None})
    if choice == Augmentation():
        return "none"
    return "flip" if choice == Augmentation(flip=True) else choice


def _member(written: object) -> str:
    return "union[object]" if isinstance(written, dict | Augmentation) else "literal[word]"


AugmentationChoice = Annotated[
    Annotated[Literal["none", "flip"], Tag("literal[word]")] | Annotated[Augmentation, Tag("union[object]")],
    Discriminator(_member),
    AfterValidator(_as_word),
]
"""Read as what it looks like, so that one mistake is one fault."""
