"""Named places in the code at which a test can make a process die, fail or wait. Inert unless the environment asks.

`FAULT=name:kill9`, `name:raise` or `name:sleep:SECONDS`, several with commas between them. With `FAULT_ONCE=FOLDER`
each of them happens once among all processes, and leaves a file of its name there. They are no settings: no file, spec
or request can set them, and nothing but this module reads them.
"""

import os
import signal
import time
from pathlib import Path
from typing import Literal, assert_never, get_args

FaultPoint = Literal[
    "before-claim",  # a worker has a free slot and has not asked for a job yet
    "claimed",  # the claim is committed, no child was started
    "begin",  # a child knows its job and has done nothing of it
    "step",  # a training has made an update, an ingest or the making of pixels has gone on
    "checkpoint",  # a checkpoint's file is written, and has not gone to the store
    "upload",  # an object is about to go to the store
    "uploaded",  # the bytes are in the store, the supervisor does not know of it
    "pointer",  # the supervisor knows of a bundle, and no row points at it
    "pointed",  # a row points at a new bundle, and those that it replaces are still there
    "done",  # a child has its result, and has not told it
    "result",  # the supervisor knows the result, and no row has it
    "applied",  # the result is committed, and nobody was told
    "cancel",  # a job stopped because it was asked to, and its row does not say so
    "memory",  # after memory ran out: the next attempt's smaller parts are written, the job not given back
    "release",  # a worker that stops is about to give its job back
    "sweep",  # a worker is about to look for leases that have ended
    "created",  # an experiment is committed, and its request not answered
]
Action = Literal["kill9", "raise", "sleep"]


class InjectedFault(OSError):
    """A fault that the environment asked for."""


def faultpoint(name: FaultPoint) -> None:
    """Do what the environment asks for at this place; mostly nothing."""
    asked = os.environ.get("FAULT")
    if asked:
        _pass(name, asked)


def _pass(name: FaultPoint, asked: str) -> None:
    for fault in asked.split(","):
        place, action, seconds = _read(fault)
        if place == name and _is_due(name):
            _act(name, action, seconds)


def _read(fault: str) -> tuple[str, Action, float]:
    place, _, what = fault.strip().partition(":")
    action, _, seconds = what.partition(":")
    if place not in get_args(FaultPoint) or action not in get_args(Action):
        known = ", ".join(get_args(FaultPoint))
        raise ValueError(f"expected FAULT=NAME:kill9|raise|sleep:SECONDS with a name among {known}; got {fault!r}")
    checked: Action = next(each for each in get_args(Action) if each == action)
    return place, checked, float(seconds or 0)


def _is_due(name: str) -> bool:
    """Whether it is to happen; where once is enough, the process that makes the file is the one."""
    folder = os.environ.get("FAULT_ONCE")
    if not folder:
        return True
    try:
        (Path(folder) / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _act(name: str, action: Action, seconds: float) -> None:
    match action:
        case "kill9":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise InjectedFault(f"the fault {name!r} that was asked for")
        case "sleep":
            time.sleep(seconds)
        case _:
            assert_never(action)
