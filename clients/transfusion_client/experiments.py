"""Experiments: create, watch, and read what they answer."""

import html
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from transfusion_client.connection import Connection
from transfusion_client.events import Event, follow
from transfusion_client.progress import Display, open_display
from transfusion_client.reports import Report
from transfusion_client.specfile import SpecLike, spec_of
from transfusion_client.waiting import ENDED, wait_until_ended
from transfusion_core.errors import TransfusionError
from transfusion_core.specs.experiment import Experiment as ExperimentRecord
from transfusion_core.specs.experiment import Plan, Run
from transfusion_core.specs.removal import Removal
from transfusion_core.specs.report import ReportSection, ReportVersion

if TYPE_CHECKING:
    import altair
    import pandas as pd


class Experiment:
    """An experiment of the service, as it was when it was last looked at; `refresh()` looks again."""

    def __init__(self, experiments: "Experiments", record: ExperimentRecord) -> None:
        self._experiments = experiments
        self.record = record

    def __repr__(self) -> str:
        return f"<Experiment {self.id} {self.name!r}: {self.state}, {self.progress:.0%}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return f"<b>{html.escape(self.name)}</b> <code>{self.id}</code>: {self.state}, {self.progress:.0%}"

    @property
    def id(self) -> str:
        """The id, for `client.experiments.get`."""
        return self.record.id

    @property
    def name(self) -> str:
        """The spec's name."""
        return self.record.name

    @property
    def state(self) -> str:
        """waiting, queued, running, succeeded, failed or cancelled."""
        return self.record.state

    @property
    def spec(self) -> dict[str, Any]:
        """The resolved spec: defaults filled in, versions pinned."""
        return self.record.spec

    @property
    def counts(self) -> dict[str, int]:
        """Jobs by state."""
        return self.record.counts

    @property
    def progress(self) -> float:
        """From 0 to 1."""
        return self.record.progress

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self.state in ENDED

    @property
    def ok(self) -> bool:
        """Whether every job succeeded."""
        return self.state == "succeeded"

    def refresh(self) -> Self:
        """Look again."""
        self.record = self._experiments.record(self.id)
        return self

    def wait(
        self,
        *,
        progress: bool | Display = False,
        on_event: Callable[[Event], None] | None = None,
        timeout_seconds: float | None = None,
    ) -> Self:
        """Wait until it has ended, well or not: `state` and `ok` tell.

        Cuts and restarts of the service are outlived. Ctrl-C ends the waiting, never the experiment. `progress` shows
        a bar on stderr, or what is given; `on_event` is called with each event of the experiment from its beginning,
        once and in order, and with `progress` where it has changed. TimeoutError after `timeout_seconds`; the
        experiment goes on.
        """
        display = open_display() if progress is True else progress or None
        try:
            if on_event:
                self._follow(display, on_event, timeout_seconds)
            return self._wait(display, timeout_seconds)
        except KeyboardInterrupt:
            if display:
                display.say(f"no longer waiting; the experiment goes on: transfusion watch {self.id}")
            raise
        finally:
            if display:
                display.close()

    def _follow(
        self, display: Display | None, on_event: Callable[[Event], None], timeout_seconds: float | None
    ) -> None:
        events = self._experiments.events(self.id, timeout_seconds=timeout_seconds, on_outage=_telling(display))
        for event in events:
            if event.kind == "progress":
                self.record = self.record.model_copy(update=event.data)
                if display:
                    display.show(self.record)
            on_event(event)

    def _wait(self, display: Display | None, timeout_seconds: float | None) -> Self:
        def on_look(record: ExperimentRecord) -> None:
            self.record = record
            if display:
                display.show(record)

        self.record = wait_until_ended(
            lambda: self._experiments.record(self.id),
            lambda record: record.state,
            clock=self._experiments.connection.clock,
            what=f"experiment {self.id}",
            timeout_seconds=timeout_seconds,
            on_look=on_look,
            on_outage=_telling(display),
        )
        return self

    def report(self) -> Report:
        """What it answers. NotReady until there is a report."""
        return self._experiments.report(self.id)

    def to_frame(self, section: str | None = None) -> "pd.DataFrame":
        """The report's rows as a pandas data frame."""
        return self.report().to_frame(section)

    def chart(self, name: str) -> "altair.Chart":
        """A chart of the report, such as `figure-4`, as Altair has it."""
        return self.report().chart(name)

    def runs(self) -> list[Run]:
        """Its trainings."""
        return list(self._experiments.runs(self.id))

    def events(self, last_event_id: str | None = None) -> Iterator[Event]:
        """What happens to it, until it has ended."""
        return self._experiments.events(self.id, last_event_id)

    def fork(self, patch: SpecLike) -> "Experiment":
        """A new experiment that differs by a JSON merge patch of this one's spec; only what is new is computed."""
        return self._experiments.fork(self.id, patch)

    def extend(
        self,
        *,
        seeds: int | None = None,
        models: Sequence[str] = (),
        inits: Sequence[Any] = (),
        train_sizes: Sequence[int | str] = (),
    ) -> "Experiment":
        """A new experiment with so many seeds in all, and with more models, inits or train sizes.

        Where it is made of grids, as one of several experiments is, each of them grows.
        """
        more = {"models": models, "inits": inits, "train_sizes": train_sizes}

        def grown(grid: Mapping[str, Any]) -> dict[str, Any]:
            lists = {name: [*grid[name], *added] for name, added in more.items() if added}
            return lists | ({} if seeds is None else {"seeds": seeds})

        grids = self.spec.get("grids")
        parts = {"grids": [{**grid, **grown(grid)} for grid in grids]} if grids else {}
        return self.fork(grown(self.spec) | parts)

    def cancel(self) -> Self:
        """Ask its jobs to stop; those that others share go on."""
        self.record = self._experiments.cancel(self.id).record
        return self


def _telling(display: Display | None) -> Callable[[TransfusionError], None]:
    return lambda error: display.say(f"{error.detail}; trying again") if display else None


class Experiments:
    """The experiments of a service."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def create(self, spec: SpecLike, *, idempotency_key: str | None = None) -> Experiment:
        """Create an experiment. InvalidRequest holds every fault of the spec at once.

        `spec` is a dictionary, an ExperimentSpec, or the path of a YAML or JSON file. The request is sent again after
        a cut with the same Idempotency-Key, so that there is one experiment however often it arrives.
        """
        key = idempotency_key or uuid.uuid4().hex
        return self._handle(self.connection.post("/v1/experiments", spec_of(spec), key=key))

    def fork(self, experiment_id: str, patch: SpecLike, *, idempotency_key: str | None = None) -> Experiment:
        """Create an experiment that differs from another by a JSON merge patch of its resolved spec."""
        key = idempotency_key or uuid.uuid4().hex
        return self._handle(self.connection.post(f"/v1/experiments/{experiment_id}/fork", spec_of(patch), key=key))

    def combine(
        self,
        experiment_ids: Sequence[str],
        *,
        name: str | None = None,
        sections: Sequence[str] | None = None,
        similarity: Mapping[str, Any] | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
    ) -> Experiment:
        """Create an experiment of the runs of several on one dataset, reported as one; nothing is trained again.

        They must agree on training, image size and sources, and on `similarity` unless it is given.
        """
        given = {"name": name, "sections": sections, "similarity": similarity, "priority": priority}
        body = {"experiments": [*experiment_ids], **{word: value for word, value in given.items() if value is not None}}
        key = idempotency_key or uuid.uuid4().hex
        return self._handle(self.connection.post("/v1/experiments/combine", body, key=key))

    def plan(self, spec: SpecLike) -> Plan:
        """What an experiment would do: runs, which exist, time, bytes, warnings. Nothing is created."""
        answer = self.connection.post("/v1/experiments/plan", spec_of(spec), repeatable=True)
        return self.connection.read(Plan, answer)

    def get(self, experiment_id: str) -> Experiment:
        """One experiment; NotFound if there is none."""
        return Experiment(self, self.record(experiment_id))

    def record(self, experiment_id: str) -> ExperimentRecord:
        """One experiment's present state, without the handle."""
        return self.connection.read(ExperimentRecord, self.connection.get(f"/v1/experiments/{experiment_id}"))

    def list(self, **filters: object) -> Iterator[Experiment]:
        """Every experiment, the pages fetched as needed; filters are the route's: state, name, dataset."""
        return (self._handle(item) for item in self.connection.pages("/v1/experiments", **filters))

    def delete(self, experiment_id: str) -> Removal:
        """Delete an ended experiment, and the runs and files that nobody else uses; says what went."""
        return self.connection.read(Removal, self.connection.delete(f"/v1/experiments/{experiment_id}"))

    def cancel(self, experiment_id: str) -> Experiment:
        """Ask its jobs to stop; those that others share go on. Conflict where it is stopping or has ended already."""
        return self._act(experiment_id, "cancel")

    def resume(self, experiment_id: str) -> Experiment:
        """Let the cancelled jobs go on."""
        return self._act(experiment_id, "resume")

    def retry(self, experiment_id: str) -> Experiment:
        """Run the failed jobs again."""
        return self._act(experiment_id, "retry")

    def runs(self, experiment_id: str) -> Iterator[Run]:
        """Its trainings, the pages fetched as needed."""
        pages = self.connection.pages(f"/v1/experiments/{experiment_id}/runs")
        return (self.connection.read(Run, item) for item in pages)

    def report(self, experiment_id: str) -> Report:
        """What it answers. NotReady until there is a report."""
        return Report.fetch(self.connection, experiment_id)

    def report_section(self, experiment_id: str, section: str) -> ReportSection:
        """One section of the report."""
        path = f"/v1/experiments/{experiment_id}/report/{section}"
        return self.connection.read(ReportSection, self.connection.get(path))

    def reports(self, experiment_id: str) -> Iterator[ReportVersion]:
        """Every report that it has given, the newest first."""
        pages = self.connection.pages(f"/v1/experiments/{experiment_id}/reports")
        return (self.connection.read(ReportVersion, item) for item in pages)

    def report_version(self, experiment_id: str, digest: str) -> Report:
        """One of them, by its digest."""
        return Report.fetch(self.connection, experiment_id, digest=digest)

    def report_html(self, experiment_id: str) -> str:
        """The report as one offline HTML file."""
        return self.connection.text(f"/v1/experiments/{experiment_id}/report.html")

    def events(
        self,
        experiment_id: str,
        last_event_id: str | None = None,
        *,
        timeout_seconds: float | None = None,
        on_outage: Callable[[TransfusionError], None] | None = None,
    ) -> Iterator[Event]:
        """What happens to an experiment, from the beginning or after an event's id, until it has ended.

        A cut stream is opened again after the last event that arrived. Unavailable after a long outage.
        """
        path = f"/v1/experiments/{experiment_id}/events"
        return follow(
            self.connection,
            path,
            last_event_id=last_event_id,
            timeout_seconds=timeout_seconds,
            on_outage=on_outage,
        )

    def _act(self, experiment_id: str, action: str) -> Experiment:
        return self._handle(self.connection.post(f"/v1/experiments/{experiment_id}/{action}"))

    def _handle(self, answer: Any) -> Experiment:
        return Experiment(self, self.connection.read(ExperimentRecord, answer))
