"""What became of the objects of something that was deleted, and what in a result points at objects."""

from collections.abc import Iterator
from typing import Any, Literal

from transfusion_core.specs.base import Record

RemovalKind = Literal["experiment", "dataset", "upload", "unpointed"]


class RemovedObject(Record):
    """An object that went, or is about to go."""

    key: str
    size_bytes: int


class Removal(Record):
    """The account of a deletion: nothing points at its objects any more, and their bytes go."""

    id: str
    kind: RemovalKind
    """`unpointed`: objects that no row named, found by the sweep."""
    name: str
    """Of what was deleted: an experiment's or upload's id, a dataset's `name@version`."""
    state: Literal["removing", "done"]
    """`removing` goes on by itself, whatever is interrupted; `done` says that the store has none of them."""
    objects: int
    """Removed so far."""
    size_bytes: int
    """Of these objects together."""
    created_at: str
    finished_at: str | None = None


def object_keys(result: Any) -> Iterator[str]:
    """The keys of all stored objects that a job's result points at."""
    return (found["key"] for found in _objects(result))


def object_digests(result: Any) -> Iterator[tuple[str, str]]:
    """Key and sha256 of all stored objects that a job's result points at."""
    return ((found["key"], found["sha256"]) for found in _objects(result))


def object_bytes(result: Any) -> int:
    """Bytes of all stored objects that a job's result points at, each once."""
    sizes = {found["key"]: found.get("size_bytes", found.get("bytes", 0)) for found in _objects(result)}
    return sum(size for size in sizes.values() if isinstance(size, int))


def _objects(result: Any) -> Iterator[dict[str, Any]]:
    """Whatever has a key and a sha256."""
    waiting = [result]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(value.get("key"), str) and "sha256" in value:
                yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
