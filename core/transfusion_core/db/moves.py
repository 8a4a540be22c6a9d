"""The one table of legal state moves; every change of a job's state is checked against it."""

from typing import get_args

from transfusion_core.errors import Conflict
from transfusion_core.specs.job import State

MOVES: dict[tuple[State, State], str] = {
    ("waiting", "queued"): "all that it needs has ended well",
    ("waiting", "failed"): "something that it needs failed",
    ("waiting", "cancelled"): "nobody wants it any more",
    ("queued", "running"): "a worker claimed it",
    ("queued", "cancelled"): "nobody wants it any more",
    ("running", "succeeded"): "its result is applied",
    ("running", "failed"): "it cannot be done, or crashed too often",
    ("running", "cancelled"): "its worker stopped when asked to",
    ("running", "queued"): "lease lost, crashed, or released at shutdown",
    ("failed", "waiting"): "retry",
    ("cancelled", "waiting"): "resume",
}
"""Every legal move and when it is made. A retry or resume passes through `waiting`, in the same transaction."""
STATES: tuple[State, ...] = get_args(State)
ENDED: tuple[State, ...] = ("succeeded", "failed", "cancelled")
UNENDED: tuple[State, ...] = ("waiting", "queued", "running")


def check_move(from_state: State, to_state: State) -> None:
    """Raise Conflict unless the move is legal."""
    if (from_state, to_state) not in MOVES:
        raise Conflict(f"a job cannot go from {from_state} to {to_state}")
