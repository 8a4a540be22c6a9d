"""Learning rates: one, or a grid of them to choose from on validation."""

from typing import Annotated

from pydantic import AfterValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from transfusion_core.specs.base import Spec

MOST_RATES = 10

Rate = Annotated[float, Field(gt=0, le=100)]


def _rising(rates: list[float]) -> list[float]:
    twice = sorted({rate for rate in rates if rates.count(rate) > 1})
    if twice:
        raise PydanticCustomError("twins", "expected each rate once, got {rate} twice", {"rate": twice[0]})
    return sorted(rates)


class RateGrid(Spec):
    """For each model and init, the rate of the grid that does best on validation: one training decides for all seeds
    and train sizes.
    """

    grid: Annotated[list[Rate], Field(min_length=1, max_length=MOST_RATES), AfterValidator(_rising)]
    """They are kept rising: the same rates in another order are the same grid."""


def _member(written: object) -> str:
    return "union[grid]" if isinstance(written, dict | RateGrid) else "union[rate]"


RateChoice = Annotated[
    Annotated[Rate, Tag("union[rate]")] | Annotated[RateGrid, Tag("union[grid]")], Discriminator(_member)
]
"""Told apart before they are read, so that a bad rate is one fault and not one for each that it might have been."""
