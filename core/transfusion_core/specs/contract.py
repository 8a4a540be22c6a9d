"""The input contract of weights: what a network was fed with while it learnt them."""

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from transfusion_core.specs.base import Spec

ADAPTABLE = (1, 3)
"""Channels of images: grey ones are repeated in all three channels of a network, whose first convolution takes
weights of one channel as a third in each."""

Channelwise = Annotated[list[float], Field(min_length=1, max_length=1024)]


def _absent(value: object) -> bool:
    return value is None


class InputContract(Spec):
    """What a network expects of its images."""

    channels: int = Field(3, ge=1, le=1024)
    mean: Channelwise
    """One number for each channel, or one for all; subtracted from pixels that are in `range`."""
    std: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1, max_length=1024)]
    """What the difference is then divided by."""
    range: list[float] = Field([0.0, 1.0], min_length=2, max_length=2)
    """What black and white become first: 0 and 1, 0 and 255, -1 and 1."""
    size: int | None = Field(None, ge=1, le=16_384, exclude_if=_absent)
    """Side of the images that the weights were learnt at, in pixels."""
    min_size: int | None = Field(None, ge=1, le=16_384, exclude_if=_absent)
    """The network takes no smaller ones."""
    interpolation: str | None = Field(None, max_length=40, exclude_if=_absent)
    """How images came to that size."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("mean", "std"):
            if (given := len(getattr(self, name))) not in (1, self.channels):
                told = {"name": name, "channels": self.channels, "given": given}
                raise PydanticCustomError(
                    "channels", "expected {channels} numbers or one in '{name}', got {given}", told
                )
        if self.range[0] >= self.range[1]:
            raise PydanticCustomError("rising", "expected black before white in 'range'", {})
        return self

    @property
    def moments(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of three channels whose pixels are in 0..1."""
        black, white = self.range
        mean = [(value - black) / (white - black) for value in self.mean]
        std = [value / (white - black) for value in self.std]
        return mean * (3 // len(mean)), std * (3 // len(std))
