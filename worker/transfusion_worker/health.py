"""Whether a worker is well: when it last looked at, or while it is busy swept, the jobs table and was answered.

`python -m transfusion_worker.health` ends with 0 where a worker of this machine and cache folder is well, with 1 and a
sentence where none is. A process that runs and does not get to its jobs is not well.
"""

import sys
import time
from pathlib import Path

from transfusion_core.settings import Settings
from transfusion_worker.liveness import is_alive, scratch_folder

POLLS = 4
"""Polls that may be missed in a row."""
SLACK_SECONDS = 20.0
"""For a database that takes its time to answer."""


class Pulse:
    """A file in the worker's scratch folder, touched at each answered look or sweep."""

    def __init__(self, cache_dir: Path) -> None:
        self._path = scratch_folder(cache_dir) / "pulse"

    def beat(self) -> None:
        """The jobs table was looked at just now."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch()

    def stop(self) -> None:
        """The worker ends."""
        self._path.unlink(missing_ok=True)


def silent_seconds(cache_dir: Path) -> float | None:
    """Since when the liveliest worker here has not got to its jobs; None where there is no worker."""
    living = [folder for folder in (cache_dir / "scratch").glob("*:*:*") if is_alive(folder.name)]
    beats = [pulse.stat().st_mtime for folder in living if (pulse := folder / "pulse").exists()]
    return time.time() - max(beats) if beats else None


def verdict(settings: Settings) -> str | None:
    """What is wrong, for a person; None where all is well."""
    silent, most = silent_seconds(settings.cache_dir), POLLS * settings.poll_seconds + SLACK_SECONDS
    if silent is None:
        return f"no worker that has ever looked at its jobs is alive with the cache {settings.cache_dir}"
    if silent > most:
        return f"the last answered look at the jobs table was {silent:.0f} s ago, {most:.0f} s are allowed"
    return None


if __name__ == "__main__":
    sys.exit(verdict(Settings()))
