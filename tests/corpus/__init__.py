"""Hostile inputs, made from compact tables: each has a name, how it is made, and what its error must say.

Nothing here is stored as a file, and nothing in it does harm: what would run, were it believed, creates the folder
`MARK` or fails the test.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

MARK = "hostile-input-ran"


@dataclass(frozen=True)
class Case:
    """One hostile input."""

    name: str
    make: Callable[[], Any]
    """The input: bytes of a file, a name, a body."""
    error: str
    """A regular expression that the error's text matches."""


def each(what: str, items: Iterable[Any], make: Callable[[Any], Any], error: str) -> list[Case]:
    """A case for every item of a table."""
    return [Case(f"{what} {item!r}"[:80], lambda item=item: make(item), error) for item in items]
