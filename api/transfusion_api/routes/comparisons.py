"""Comparisons: any two checkpoints, layer by layer; the answer is the similarity report."""

from typing import Any

from fastapi import APIRouter, Response

from transfusion_api.answers import Cursor, Id, Limit, Page, StateFilter
from transfusion_api.auth import Scoped, needs
from transfusion_api.body import Body, read, takes
from transfusion_api.pairs import pair_of
from transfusion_api.problems import documented
from transfusion_api.reports import stored_json
from transfusion_api.routes.experiments import IdempotencyKey
from transfusion_api.service import Service, Serving
from transfusion_core.db import comparisons, idempotency
from transfusion_core.db.clock import rfc3339
from transfusion_core.db.scope import Scope
from transfusion_core.specs.comparing import comparison_draft, in_parts
from transfusion_core.specs.comparison import Comparison, ComparisonSpec, ProbeSet
from transfusion_core.specs.keys import digest
from transfusion_core.specs.pixels import pixels_draft

router = APIRouter(prefix="/v1/comparisons", tags=["comparisons"])
CREATE = "POST /v1/comparisons"


@router.post(
    "",
    status_code=201,
    dependencies=[needs("write")],
    responses=documented(408, 409, 413),
    openapi_extra=takes(ComparisonSpec),
)
def create_comparison(
    service: Serving, scope: Scoped, body: Body, response: Response, idempotency_key: IdempotencyKey = None
) -> Comparison:
    """Compare two checkpoints `RUN@init | RUN@final | RUN@STEP`; runs that have not ended are waited for."""
    token = (idempotency_key, CREATE, digest(body)) if idempotency_key else None
    remembered = idempotency.look(scope, *token) if token else None
    comparison_id = remembered.data["id"] if remembered else _create(service, scope, body, token)
    response.headers["Location"] = f"/v1/comparisons/{comparison_id}"
    return similarity_report(service, comparisons.get(scope, comparison_id))


def _create(service: Service, scope: Scope, body: Any, token: idempotency.Request | None) -> str:
    spec = read(ComparisonSpec, body)
    pair = pair_of(scope, spec)
    *parts, draft = in_parts(comparison_draft(spec, pair.a, pair.b, pair.dataset), spec.parts)
    needs = [pixels_draft(pair.dataset, pair.a.image_size), *parts]
    created = comparisons.create(scope, draft, spec.a, spec.b, needs=needs, priority=spec.priority, idempotency=token)
    service.ring(created.queues)
    return created.id


@router.get("", dependencies=[needs("read")], responses=documented())
def list_comparisons(
    service: Serving, scope: Scoped, limit: Limit = 50, cursor: Cursor = None, state: StateFilter = None
) -> Page[Comparison]:
    """Comparisons, the newest first, those that experiments made among them; without their results."""
    page = comparisons.page(scope, limit=limit, cursor=cursor, state=state)
    return Page[Comparison](items=[_summary(row) for row in page.items], next=page.next)


@router.get("/{comparison_id}", dependencies=[needs("read")], responses=documented(404))
def get_comparison(service: Serving, scope: Scoped, comparison_id: Id) -> Comparison:
    """The similarity report; its results are empty until the comparison has succeeded."""
    return similarity_report(service, comparisons.get(scope, comparison_id))


def similarity_report(service: Service, row: comparisons.Comparison) -> Comparison:
    """A comparison with its numbers from the store, where there are any yet."""
    summary = _summary(row)
    if row.state != "succeeded" or row.result is None:
        return summary
    content = stored_json(service, row.result["report"])
    return Comparison.model_validate({**content, **summary.model_dump(include=_OWN)})


_OWN = {"id", "key", "state", "reason", "a", "b", "created_at"}
"""What the database says; the numbers lie in the store."""


def _summary(row: comparisons.Comparison) -> Comparison:
    own = {word: getattr(row, word) for word in _OWN} | {"created_at": rfc3339(row.created_at)}
    return Comparison(**own, probe_set=ProbeSet(digest="", images=0), layers_a=[], layers_b=[], results=[])
