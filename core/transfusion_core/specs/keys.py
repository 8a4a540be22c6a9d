"""Content addresses: the same work has the same key, wherever and whenever it is asked for."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

EPOCHS = {
    "ingest": 3, "pixels": 2, "train": 2, "moments": 7, "compare": 15, "profile": 3, "probe": 2, "barrier": 1,
    "report": 6,
}  # fmt: skip
"""Raised when a kind's code may give other numbers for the same spec."""


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces; floats as Python's shortest exact form."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """sha256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def job_key(kind: str, spec: dict[str, Any], needs: Sequence[str]) -> str:
    """The key of a job: kind, canonical spec, the keys of what it needs, the code epoch."""
    return digest({"kind": kind, "spec": spec, "needs": sorted(needs), "epoch": EPOCHS[kind]})
