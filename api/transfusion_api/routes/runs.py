"""Runs: one training each, with its curves, log, checkpoints and provenance."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from transfusion_api.answers import (
    CheckpointLink,
    Cursor,
    Filter,
    Id,
    Limit,
    Manifest,
    Page,
    RunFilters,
    RunLog,
    RunMetrics,
    StateFilter,
)
from transfusion_api.auth import Scoped, caller_of, needs
from transfusion_api.problems import documented
from transfusion_api.reports import stored_json
from transfusion_api.service import Service, Serving
from transfusion_api.streams import BATCH, STREAM, EventStream, LastEventId, Subject, stream
from transfusion_core.db import events, runs, series
from transfusion_core.errors import NotFound
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.specs.experiment import Run
from transfusion_core.specs.training import Filters, Series

router = APIRouter(prefix="/v1/runs", tags=["runs"], dependencies=[needs("read")])
LINK_SECONDS = 900


@router.get("", responses=documented())
def list_runs(
    scope: Scoped,
    limit: Limit = 50,
    cursor: Cursor = None,
    experiment: Filter = None,
    state: StateFilter = None,
    model: Filter = None,
    init: Filter = None,
    dataset: Filter = None,
) -> Page[Run]:
    """Runs, the newest first."""
    page = runs.page(
        scope,
        limit=limit,
        cursor=cursor,
        experiment=experiment,
        state=state,
        model=model,
        init=init,
        dataset=dataset,
    )
    return Page[Run](items=page.items, next=page.next)


@router.get("/{run_id}", responses=documented(404))
def get_run(service: Serving, scope: Scoped, run_id: Id) -> Run:
    """One run, with what became of every tensor at initialisation and where its numbers come from."""
    run = runs.get(scope, run_id)
    report = run.weight_report
    if report and "tensors" not in report:
        run = run.model_copy(update={"weight_report": stored_json(service, report)})
    return run


@router.get("/{run_id}/metrics", responses=documented(404))
def get_run_metrics(service: Serving, scope: Scoped, run_id: Id) -> RunMetrics:
    """The curves of a run, also while it runs."""
    run = runs.get(scope, run_id)
    curves: dict[tuple[str, str], Series] = {}
    for point in series.points(service.engine, run.id):
        empty = Series(name=point.name, split=point.split, steps=[], values=[])
        curve = curves.setdefault((point.name, point.split), empty)
        curve.steps.append(point.step)
        curve.values.append(point.value)
    return RunMetrics(series=list(curves.values()))


@router.get("/{run_id}/log", responses=documented(404))
def get_run_log(service: Serving, scope: Scoped, run_id: Id) -> RunLog:
    """The log of a run."""
    return RunLog(lines=series.log(service.engine, runs.get(scope, run_id).id))


@router.get("/{run_id}/filters", responses=documented(404))
def get_run_filters(service: Serving, scope: Scoped, run_id: Id) -> RunFilters:
    """The filters of a run's first convolution, as pictures of `init` and of `final`."""
    result = runs.result(scope, run_id)
    if not result:
        return RunFilters(filters=None, reason="they are drawn when the run has succeeded")
    if not result.get("filters"):
        return RunFilters(
            filters=None,
            reason="its network begins with no convolution that can be seen, or was trained before filters were kept",
        )
    return RunFilters(filters=Filters.model_validate(stored_json(service, result["filters"])))


@router.get("/{run_id}/manifest", responses=documented(404))
def get_run_manifest(service: Serving, scope: Scoped, run_id: Id) -> Manifest:
    """Spec, seeds, versions and digests behind a run; null until it has succeeded."""
    return Manifest(manifest=runs.get(scope, run_id).manifest)


@router.get("/{run_id}/checkpoints", responses=documented(404))
def list_run_checkpoints(service: Serving, scope: Scoped, run_id: Id, request: Request) -> Page[CheckpointLink]:
    """The checkpoints of a run, with links to download them."""
    run = runs.get(scope, run_id)
    links = [CheckpointLink(**{**kept, "url": _link(service, run, kept, request)}) for kept in run.checkpoints]
    return Page[CheckpointLink](items=links)


def _link(service: Service, run: Run, kept: dict[str, Any], request: Request) -> str:
    here = request.url_for("download_checkpoint", run_id=run.id, checkpoint=kept["name"])
    return _presigned(service, run, kept) or str(here)


def _presigned(service: Service, run: Run, kept: dict[str, Any]) -> str | None:
    filename = f"{run.id}-{kept['name']}.safetensors"
    return service.store.presign_get(kept["key"], seconds=LINK_SECONDS, filename=filename)


@router.get("/{run_id}/checkpoints/{checkpoint}", responses=documented(404), response_class=StreamingResponse)
def download_checkpoint(service: Serving, scope: Scoped, run_id: Id, checkpoint: Id) -> Response:
    """The bytes of a checkpoint (`init`, `final` or a step), or a redirect to where they are."""
    run = runs.get(scope, run_id)
    for kept in run.checkpoints:
        if kept["name"] == checkpoint:
            link = _presigned(service, run, kept)
            return RedirectResponse(link) if link else _download(service, run, kept)
    raise NotFound(f"run {run_id} has no checkpoint {checkpoint!r}")


def _download(service: Service, run: Run, kept: dict[str, Any]) -> Response:
    disposition = f'attachment; filename="{run.id}-{kept["name"]}.safetensors"'
    headers = {"Content-Disposition": disposition, "Content-Length": str(kept["bytes"])}
    stored = StoredObject(key=kept["key"], size_bytes=kept["bytes"], sha256=kept["sha256"])
    pieces = service.store.open_stream(stored)  # where the bytes are not right the download breaks off
    return StreamingResponse(pieces, media_type="application/octet-stream", headers=headers)


def _found(service: Serving, scope: Scoped, run_id: Id) -> Run:
    return runs.get(scope, run_id)


@router.get("/{run_id}/events", responses=documented(404) | STREAM, response_class=EventStream)
async def stream_run_events(
    service: Serving,
    scope: Scoped,
    request: Request,
    found: Annotated[Run, Depends(_found)],
    last_event_id: LastEventId = 0,
) -> EventStream:
    """State moves and progress as they happen, as server-sent events."""

    def read(after: int) -> list[events.Event]:
        return events.after(service.engine, job_id=found.id, last_id=after, limit=BATCH)

    def look() -> dict[str, Any]:
        now = runs.get(scope, found.id)
        return now.model_dump(mode="json", include={"state", "attempt", "progress"})

    def may_read() -> bool:
        return caller_of(request) is not None

    made = partial(Subject, read, look)
    return stream(service.streams, (scope.project, found.id), made, may_read=may_read, last_id=last_event_id)
