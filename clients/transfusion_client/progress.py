"""Progress on stderr while somebody waits: a bar where rich and a terminal are there, else plain lines."""

import importlib.util
import sys
from typing import Protocol, TextIO

from transfusion_core.specs.experiment import Experiment


class Display(Protocol):
    """Where progress is shown."""

    def show(self, experiment: Experiment) -> None:
        """Show the present state."""

    def say(self, message: str) -> None:
        """Show a message that stays."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def open_display(stream: TextIO | None = None) -> Display:
    """The best display that this process has."""
    stream = stream or sys.stderr
    return _Bar(stream) if has_bar(stream) else _Lines(stream)


def has_bar(stream: TextIO) -> bool:
    """Whether a bar can be drawn: rich and a terminal are there."""
    return stream.isatty() and importlib.util.find_spec("rich") is not None


class _Lines:
    """A line whenever the state or a whole tenth of the progress has changed: logs stay short."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown: tuple[str, int] | None = None

    def show(self, experiment: Experiment) -> None:
        now = (experiment.state, int(experiment.progress * 10))
        if now != self._shown:
            self._shown = now
            self.say(f"{experiment.progress:4.0%} {experiment.state}: {counts_in_words(experiment)}")

    def say(self, message: str) -> None:
        print(message, file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing to restore."""


class _Bar:
    """rich's bar, with the counts by state and the time that is left."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[more]}"),
        )
        self._progress = Progress(*columns, console=Console(file=stream))
        self._task = self._progress.add_task("", total=1.0, more="")
        self._progress.start()

    def show(self, experiment: Experiment) -> None:
        left = "" if experiment.eta_seconds is None else f"about {in_words(experiment.eta_seconds)} left, "
        more = left + counts_in_words(experiment)
        self._progress.update(
            self._task, completed=experiment.progress, description=f"{experiment.name}: {experiment.state}", more=more
        )

    def say(self, message: str) -> None:
        self._progress.console.print(message, markup=False, highlight=False)

    def close(self) -> None:
        self._progress.stop()


def counts_in_words(experiment: Experiment) -> str:
    """Jobs by state: `3 succeeded, 1 running`."""
    return ", ".join(f"{count} {state}" for state, count in experiment.counts.items() if count) or "no jobs"


def in_words(seconds: float) -> str:
    """A duration to read: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
