"""Runs and their curves in an MLflow tracking server, by its REST API (2.0): no package of MLflow's is needed.

An experiment becomes an experiment, a run a run: what the grid varies and the training's settings as parameters, every
curve as a metric, the provenance as an artifact where the server takes artifacts. A run that is there already, by the
tag `transfusion.run`, is left alone, so that the same export again brings what is new.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Self

import httpx2

from transfusion_client.client import Client
from transfusion_client.experiments import Experiment
from transfusion_core.errors import InvalidRequest, Unavailable
from transfusion_core.specs.experiment import Run
from transfusion_core.specs.training import Series

API = "api/2.0/mlflow"
ARTIFACTS = "api/2.0/mlflow-artifacts/artifacts"
TIMEOUT_SECONDS = 60.0
BATCH = {"metrics": 1000, "params": 100}
"""What MLflow takes in one call."""
VALUE_MAX = 6000
"""Characters of a parameter."""
STATUSES = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}


class Exported(NamedTuple):
    """What an export did."""

    experiment_id: str
    """MLflow's."""
    new: list[str]
    """Our runs that were not there before."""
    known: list[str]


class Tracking:
    """An MLflow tracking server. `transport` is for tests."""

    def __init__(self, url: str, *, transport: httpx2.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        self._http = httpx2.Client(base_url=f"{self.url}/", timeout=TIMEOUT_SECONDS, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def export(self, client: Client, experiment_id: str, *, name: str | None = None) -> Exported:
        """Put the ended runs of an experiment under an MLflow experiment of this name.

        `transfusion/NAME` unless given. Raises Unavailable where the server does not answer, InvalidRequest where it
        refuses.
        """
        experiment = client.experiments.get(experiment_id)
        theirs = self._experiment(name or f"transfusion/{experiment.name}")
        done = Exported(theirs, [], [])
        for run in client.experiments.runs(experiment_id):
            if run.state not in STATUSES:
                continue
            if self._is_known(theirs, run.id):
                done.known.append(run.id)
                continue
            self._run(theirs, experiment, client.runs.get(run.id), client.runs.metrics(run.id))
            done.new.append(run.id)
        return done

    def _experiment(self, name: str) -> str:
        found = self._ask("POST", f"{API}/experiments/search", {"filter": f"name = {_quoted(name)}", "max_results": 1})
        if found.get("experiments"):
            return str(found["experiments"][0]["experiment_id"])
        return str(self._ask("POST", f"{API}/experiments/create", {"name": name})["experiment_id"])

    def _is_known(self, theirs: str, run_id: str) -> bool:
        wanted = {"experiment_ids": [theirs], "filter": f"tags.`transfusion.run` = {_quoted(run_id)}", "max_results": 1}
        return bool(self._ask("POST", f"{API}/runs/search", wanted).get("runs"))

    def _run(self, theirs: str, experiment: Experiment, run: Run, curves: Sequence[Series]) -> None:
        """The tag by which it is known comes last: an export that is cut off begins this run anew."""
        began, ended = _milliseconds(run.created_at), _milliseconds(run.finished_at or run.created_at)
        words = f"{run.model} {run.init} {run.train_size} seed {run.seed}"
        named = {"experiment_id": theirs, "start_time": began, "run_name": words}
        made = self._ask("POST", f"{API}/runs/create", named)["run"]["info"]
        run_id = made["run_id"]
        for kind, entries in (("metrics", _metrics(run, curves, began, ended)), ("params", _params(experiment, run))):
            for first in range(0, len(entries), BATCH[kind]):
                batch = entries[first : first + BATCH[kind]]
                self._ask("POST", f"{API}/runs/log-batch", {"run_id": run_id, kind: batch})
        self._keep(str(made.get("artifact_uri", "")), "manifest.json", run.manifest or {})
        self._ask("POST", f"{API}/runs/update", {"run_id": run_id, "status": STATUSES[run.state], "end_time": ended})
        tags = {"transfusion.experiment": experiment.id, "transfusion.key": run.key, "transfusion.run": run.id}
        told = [{"key": key, "value": value} for key, value in tags.items()]
        self._ask("POST", f"{API}/runs/log-batch", {"run_id": run_id, "tags": told})

    def _keep(self, place: str, file: str, content: Any) -> None:
        """An artifact, where the server itself takes them; others lie in a store whose credentials are not ours."""
        scheme, _, path = place.partition(":")
        if scheme == "mlflow-artifacts":
            self._send("PUT", f"{ARTIFACTS}/{path.lstrip('/')}/{file}", json.dumps(content, indent=1).encode())

    def _ask(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = self._send(method, path, json.dumps(body, allow_nan=False).encode())
        try:
            found: dict[str, Any] = answer.json()
        except ValueError as error:
            raise InvalidRequest(f"expected an MLflow tracking server at {self.url}, got no JSON from it") from error
        return found

    def _send(self, method: str, path: str, content: bytes) -> httpx2.Response:
        try:
            answer = self._http.request(method, path, content=content, headers={"Content-Type": "application/json"})
        except httpx2.HTTPError as error:
            raise Unavailable(f"the MLflow server {self.url} does not answer: {error}") from error
        if answer.status_code >= 400:
            told = f"{answer.status_code} {answer.text[:500]}"
            raise InvalidRequest(f"the MLflow server {self.url} refuses {path}: {told}")
        return answer


def _metrics(run: Run, curves: Sequence[Series], began: int, ended: int) -> list[dict[str, Any]]:
    """Every value of every curve; those that are no number are left out. Times are spread evenly over the run."""
    last = max((step for series in curves for step in series.steps), default=0)
    found = []
    for series in curves:
        for step, value in zip(series.steps, series.values, strict=True):
            if value is not None:
                at = began + (ended - began) * step // max(1, last)
                found.append({"key": f"{series.split}/{series.name}", "value": value, "timestamp": at, "step": step})
    for name, value in ((run.metrics or {}).get("test") or {}).items():
        if isinstance(value, int | float):
            found.append({"key": f"final/test/{name}", "value": value, "timestamp": ended, "step": last})
    return found


def _params(experiment: Experiment, run: Run) -> list[dict[str, str]]:
    grid = {word: getattr(run, word) for word in ("model", "init", "source", "train_size", "seed", "dataset")}
    spec = experiment.spec
    rest = {"image_size": spec.get("image_size"), **dict(_flat("training", spec.get("training") or {}))}
    told = {key: value for key, value in {**grid, **rest}.items() if value is not None}
    return [{"key": key, "value": str(value)[:VALUE_MAX]} for key, value in told.items()]


def _flat(name: str, words: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in words.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{name}.{key}", value)
        else:
            yield f"{name}.{key}", value


def _milliseconds(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp() * 1000)


def _quoted(text: str) -> str:
    """A string of MLflow's filters; they know no escape, so that a name may hold one kind of quote."""
    if "'" not in text:
        return f"'{text}'"
    if '"' not in text:
        return f'"{text}"'
    raise InvalidRequest(f"MLflow cannot look for a name with both kinds of quotes: {text!r}; give another")
