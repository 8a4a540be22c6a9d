"""Experiments: a spec is checked, expanded and written at once; what follows is asked for by its id."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response

from transfusion_api.answers import Cursor, Filter, Id, Limit, Page, StateFilter
from transfusion_api.auth import DRAWN, Scoped, caller_of, needs
from transfusion_api.body import Body, takes
from transfusion_api.planning import beside_the_fleet, combined_of, expansion_of, lost_keys, lost_of, lost_of_results
from transfusion_api.problems import documented
from transfusion_api.removing import removed
from transfusion_api.service import Service, Serving
from transfusion_api.streams import BATCH, STREAM, EventStream, LastEventId, Subject, stream
from transfusion_core.db import events, experiments, idempotency, runs
from transfusion_core.db.records import Created
from transfusion_core.db.scope import Scope
from transfusion_core.errors import Conflict, InvalidRequest, NotFound
from transfusion_core.faultpoints import faultpoint
from transfusion_core.specs.combining import CombineSpec, named_in
from transfusion_core.specs.expand import Expansion
from transfusion_core.specs.expand import plan as plan_of
from transfusion_core.specs.experiment import Experiment, ExperimentSpec, Plan, Run
from transfusion_core.specs.keys import digest
from transfusion_core.specs.patch import merged
from transfusion_core.specs.removal import Removal

router = APIRouter(prefix="/v1/experiments", tags=["experiments"])
IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=200, description="The same key and body: the same answer"),
]
CREATE = "POST /v1/experiments"
_ANY_OBJECT = {"schema": {"type": "object"}}
PATCH = {
    "requestBody": {
        "required": True,
        "content": {"application/merge-patch+json": _ANY_OBJECT, "application/json": _ANY_OBJECT},
    }
}
"""OpenAPI's words for a JSON merge patch."""


@router.post(
    "",
    status_code=201,
    response_model=Experiment,
    dependencies=[needs("write")],
    responses=documented(408, 409, 413),
    openapi_extra=takes(ExperimentSpec),
)
def create_experiment(service: Serving, scope: Scoped, body: Body, idempotency_key: IdempotencyKey = None) -> Response:
    """Check a spec, expand it into jobs, and create the experiment with all of them; every fault is told at once."""
    token = (idempotency_key, CREATE, digest(body)) if idempotency_key else None
    return _created(service, scope, lambda: expansion_of(scope, body), token)


@router.post(
    "/{experiment_id}/fork",
    status_code=201,
    response_model=Experiment,
    dependencies=[needs("write")],
    responses=documented(404, 408, 409, 413),
    openapi_extra=PATCH,
)
def fork_experiment(
    service: Serving,
    scope: Scoped,
    experiment_id: Id,
    body: Body,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create an experiment that differs from this one by a JSON merge patch of its resolved spec.

    What both have in common is shared, so only what is new is computed. Pointers of faults are into the patched spec.
    """
    parent = experiments.get(scope, experiment_id)
    if not isinstance(body, dict):
        raise InvalidRequest(f"expected a JSON merge patch, an object of what differs, got {type(body).__name__}")
    token = (idempotency_key, f"{CREATE}/{parent.id}/fork", digest(body)) if idempotency_key else None
    patched = merged(parent.spec, body)
    return _created(service, scope, lambda: expansion_of(scope, patched), token, parent=parent.id)


@router.post(
    "/combine",
    status_code=201,
    response_model=Experiment,
    dependencies=[needs("write")],
    responses=documented(408, 409, 413),
    openapi_extra=takes(CombineSpec),
)
def combine_experiments(
    service: Serving, scope: Scoped, body: Body, idempotency_key: IdempotencyKey = None
) -> Response:
    """Create an experiment of the runs of several on one dataset: nothing is trained again.

    Comparisons that its sections need between runs of different experiments are new. Where the runs are not a whole
    product of models, inits, train sizes and seeds, its spec has `grids`; a fork by `grids: null` fills that in.
    """
    token = (idempotency_key, f"{CREATE}/combine", digest(body)) if idempotency_key else None
    parent = named_in(body).get(0)
    return _created(service, scope, lambda: combined_of(scope, body), token, parent=parent)


def _created(
    service: Service,
    scope: Scope,
    expanded: Callable[[], Expansion],
    token: idempotency.Request | None,
    parent: str | None = None,
) -> Response:
    remembered = idempotency.look(scope, *token) if token else None
    if remembered:
        return _answer(_made_earlier(scope, remembered.data["id"]))
    created = _create(service, scope, expanded(), token, parent)
    return _answer(created.made or _made_earlier(scope, created.id))


def _made_earlier(scope: Scope, experiment_id: str) -> Experiment:
    try:
        return experiments.get(scope, experiment_id)
    except NotFound as error:
        raise Conflict("the experiment that this Idempotency-Key made was deleted; send another key") from error


def _answer(made: Experiment) -> Response:
    """Written here, in the thread that made it: the framework would look through it in another, and write it slower."""
    where = {"Location": f"/v1/experiments/{made.id}"}
    return Response(made.model_dump_json(), 201, where, media_type="application/json")


def _create(
    service: Service, scope: Scope, expansion: Expansion, token: idempotency.Request | None, parent: str | None
) -> Created:
    created = experiments.create(
        scope,
        expansion,
        name=expansion.spec.name,
        parent=parent,
        lost_of=partial(lost_of_results, service, asked_by=[draft.key for draft in expansion.drafts]),
        idempotency=token,
    )
    faultpoint("created")
    service.ring(created.queues)
    return created


@router.post(
    "/plan", dependencies=[needs("read"), DRAWN], responses=documented(408, 413), openapi_extra=takes(ExperimentSpec)
)
def plan_experiment(service: Serving, scope: Scoped, body: Body) -> Plan:
    """What an experiment of this spec would do; nothing is created."""
    expansion = expansion_of(scope, body)
    keys = [draft.key for draft in expansion.drafts]
    planned = plan_of(expansion, experiments.existing(service.engine, keys) - lost_keys(service, expansion))
    return beside_the_fleet(scope, planned)


@router.get("", dependencies=[needs("read")], responses=documented())
def list_experiments(
    service: Serving,
    scope: Scoped,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: StateFilter = None,
    name: Filter = None,
    dataset: Filter = None,
) -> Page[Experiment]:
    """Experiments, the newest first."""
    page = experiments.page(scope, limit=limit, cursor=cursor, state=state, name=name, dataset=dataset)
    return Page[Experiment](items=page.items, next=page.next)


@router.get("/{experiment_id}", dependencies=[needs("read")], responses=documented(404))
def get_experiment(service: Serving, scope: Scoped, experiment_id: Id) -> Experiment:
    """One experiment: resolved spec, state, counts, progress."""
    return experiments.get(scope, experiment_id)


@router.delete("/{experiment_id}", dependencies=[needs("write")], responses=documented(404, 409))
def delete_experiment(service: Serving, scope: Scoped, experiment_id: Id) -> Removal:
    """Forget an ended experiment, and the runs and files that nobody else uses; what went, or goes from now on."""
    return removed(service, experiments.remove(scope, experiment_id))


@router.post("/{experiment_id}/cancel", dependencies=[needs("write")], responses=documented(404, 409))
def cancel_experiment(service: Serving, scope: Scoped, experiment_id: Id) -> Experiment:
    """Stop what no other experiment needs; running jobs stop at their next step."""
    service.ring(experiments.cancel(scope, experiment_id))
    return experiments.get(scope, experiment_id)


@router.post("/{experiment_id}/resume", dependencies=[needs("write")], responses=documented(404, 409))
def resume_experiment(service: Serving, scope: Scoped, experiment_id: Id) -> Experiment:
    """Go on with a cancelled experiment."""
    service.ring(experiments.resume(scope, experiment_id))
    return experiments.get(scope, experiment_id)


@router.post("/{experiment_id}/retry", dependencies=[needs("write")], responses=documented(404, 409))
def retry_experiment(service: Serving, scope: Scoped, experiment_id: Id) -> Experiment:
    """Try the failed jobs of an experiment again. What the store has lost of its datasets is made again first."""
    missing = lost_of(service, experiments.keys(scope, experiment_id))
    service.ring(experiments.retry(scope, experiment_id, verified_missing=missing))
    return experiments.get(scope, experiment_id)


@router.get("/{experiment_id}/runs", dependencies=[needs("read")], responses=documented(404))
def list_experiment_runs(
    service: Serving,
    scope: Scoped,
    experiment_id: Id,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: StateFilter = None,
) -> Page[Run]:
    """The runs of an experiment."""
    experiments.get(scope, experiment_id)
    page = runs.page(scope, limit=limit, cursor=cursor, experiment=experiment_id, state=state)
    return Page[Run](items=page.items, next=page.next)


def _found(service: Serving, scope: Scoped, experiment_id: Id) -> Experiment:
    return experiments.get(scope, experiment_id)


@router.get(
    "/{experiment_id}/events",
    dependencies=[needs("read")],
    responses=documented(404) | STREAM,
    response_class=EventStream,
)
async def stream_experiment_events(
    service: Serving,
    scope: Scoped,
    request: Request,
    found: Annotated[Experiment, Depends(_found)],
    last_event_id: LastEventId = 0,
) -> EventStream:
    """State moves as they happen, as server-sent events; those of an ended experiment are replayed, then it ends."""

    def read(after: int) -> list[events.Event]:
        return events.after(service.engine, experiment_id=found.id, last_id=after, limit=BATCH)

    def look() -> dict[str, Any]:
        now = experiments.get(scope, found.id)
        return now.model_dump(mode="json", include={"state", "counts", "progress", "eta_seconds"})

    def may_read() -> bool:
        return caller_of(request) is not None

    made = partial(Subject, read, look)
    return stream(service.streams, (scope.project, found.id), made, may_read=may_read, last_id=last_event_id)
