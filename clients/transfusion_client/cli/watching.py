"""A live table of an experiment's runs, on stderr, while somebody waits in a terminal."""

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from transfusion_client.client import Client
from transfusion_client.progress import counts_in_words, in_words
from transfusion_core.errors import TransfusionError
from transfusion_core.specs.experiment import Experiment, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

SHOWN = 40
"""Runs in the table; a screen holds no more."""


class LiveRuns:
    """A display (see `progress.Display`): the experiment in a line, and where each of its runs stands."""

    def __init__(self, client: Client, experiment_id: str, *, console: Console | None = None) -> None:
        self._client, self._experiment_id = client, experiment_id
        self._runs: Sequence[Run] = []
        self._live = Live(console=console or Console(stderr=True), auto_refresh=False)
        self._live.start()

    def show(self, experiment: Experiment) -> None:
        """Show the present state; while the service is away, the runs as they were."""
        with suppress(TransfusionError):
            self._runs = list(islice(self._client.experiments.runs(self._experiment_id), SHOWN + 1))
        left = "" if experiment.eta_seconds is None else f"about {in_words(experiment.eta_seconds)} left, "
        line = f"{experiment.name}: {experiment.state}, {experiment.progress:.0%}, {left}{counts_in_words(experiment)}"
        self._live.update(Group(table_of(self._runs), Text(line)), refresh=True)

    def say(self, message: str) -> None:
        """Show a message above the table."""
        self._live.console.print(message, markup=False, highlight=False)

    def close(self) -> None:
        """Leave the table as it is."""
        self._live.stop()


def table_of(runs: "Sequence[Run]") -> Table:
    """Where each run stands."""
    table = Table("run", "model", "init", "images", "seed", "state", "step", "AUROC")
    for run in runs[:SHOWN]:
        init = f"{run.init} ({run.source})" if run.source else run.init
        auroc = (run.metrics or {}).get("auroc")
        step = f"{run.progress['step']}/{run.progress['steps']}" if run.progress.get("steps") else ""
        score = "" if auroc is None else f"{auroc:.4f}"
        table.add_row(run.id, run.model, init, str(run.train_size), str(run.seed), run.reason or run.state, step, score)
    if len(runs) > SHOWN:
        table.caption = f"the first {SHOWN} runs; transfusion runs --experiment ID shows all"
    return table
