"""Turns a `.pt` or `.pth` file into safetensors without opening it in this process: `unpickle.py` does, shut in.

The child has an environment of its own without credentials, no network, and limits on time, memory and what it
writes; `science.isolation` says what holds on which system. However it ends, nothing of the file has been run here.
"""

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from transfusion_core.science.apart import environment
from transfusion_core.science.inits.source_errors import SourceUnreadable

CHILD = "transfusion_core.science.inits.unpickle"
REFUSED = 3
"""As in `unpickle`, which is not imported here: it is run."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long the child may take: reading weights is a matter of seconds, even gigabytes of them."""

    wall_seconds: float = 300.0
    cpu_seconds: float = 120.0


def convert(path: Path, *, to: Path, patience: Patience | None = None) -> None:
    """Write the tensors of `path` to `to` as safetensors.

    Raises `SourceUnreadable` where the child refuses the file, dies of it or takes too long; no file is left then.
    """
    patience = patience or Patience()
    said = to.with_name(to.name + ".said")
    try:
        with path.open("rb") as source, to.open("wb") as target, said.open("wb") as words:
            ended = subprocess.run(
                [sys.executable, "-P", "-m", CHILD, str(patience.cpu_seconds)],
                stdin=source,
                stdout=target,
                stderr=words,
                env=environment(),
                cwd=to.parent,
                timeout=patience.wall_seconds,
                check=False,
            )
        fault = _fault(ended.returncode, said)
    except subprocess.TimeoutExpired:
        fault = f"expected tensors within {patience.wall_seconds:g} seconds, got none: reading was given up"
    except OSError as error:
        fault = f"it cannot be opened: {error}"
    finally:
        said.unlink(missing_ok=True)
    if fault is not None:
        to.unlink(missing_ok=True)
        raise SourceUnreadable(f"{path.name}: {fault}")


def _fault(code: int, said: Path) -> str | None:
    if code == 0:
        return None
    lines = said.read_bytes()[-2000:].decode(errors="replace").splitlines() or ["it said nothing"]
    if code == REFUSED:
        return f"expected tensors that load without running code: {lines[-1]}"
    if -code == signal.SIGXCPU:
        return "expected tensors in seconds, but reading the file took too much processor time"
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return f"expected tensors, but the process that reads the file {how} ({lines[-1]})"
