"""Datasets: named versions of labelled images, registered from a recipe, an upload or a location."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse

from transfusion_api.answers import Cursor, Filter, Id, Limit, Page, StateFilter
from transfusion_api.auth import DRAWN, Scoped, needs
from transfusion_api.body import Body, read, takes
from transfusion_api.locations import fingerprint
from transfusion_api.planning import lost_among
from transfusion_api.problems import documented
from transfusion_api.removing import removed
from transfusion_api.reports import stored_json
from transfusion_api.service import Service, Serving
from transfusion_core.db import datasets
from transfusion_core.db.facts import facts_for
from transfusion_core.db.scope import Scope
from transfusion_core.errors import Conflict, InvalidRequest, NotFound, NotReady
from transfusion_core.specs.dataset import Dataset, DatasetSpec
from transfusion_core.specs.facts import DatasetFacts, ingest_draft
from transfusion_core.specs.fault import Fault, nearest
from transfusion_core.specs.manifest import DatasetDiff, PatientSalt, changes, read_manifest
from transfusion_core.specs.profile import ClassSamples, DatasetProfile, profile_draft
from transfusion_core.specs.removal import Removal

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])
ChartName = Annotated[str, Path(max_length=128)]
Against = Annotated[
    str | None, Query(max_length=200, description="`name@version`; by default the parent's, or the one before")
]


@router.post(
    "",
    status_code=201,
    dependencies=[needs("write")],
    responses={**documented(408, 413), 200: {"description": "There already", "model": Dataset}},
    openapi_extra=takes(DatasetSpec),
)
def register_dataset(service: Serving, scope: Scoped, body: Body, response: Response) -> Dataset:
    """Register a dataset; the same content under the same name is the version there is, other content a new one."""
    spec = read(DatasetSpec, body).resolved()
    parent = _parent(scope, spec)
    before = parent.ingest if parent else None
    draft = ingest_draft(
        spec,
        fingerprint(service, scope, spec.location),
        parent=before.key if before else None,
        project=scope.project,
    )
    missing = lost_among(service, [*([before.key] if before else []), draft.key, profile_draft(draft.key).key])
    dataset, is_new, queues = datasets.register(scope, spec, draft, parent=before, verified_missing=missing)
    service.ring(queues)
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/v1/datasets/{dataset.name}"
    return dataset


def _parent(scope: Scope, spec: DatasetSpec) -> DatasetFacts | None:
    """The version that is extended; InvalidRequest where that cannot be."""
    if spec.extends is None:
        return None
    facts = facts_for(scope, {"dataset": spec.extends})
    parent = facts.datasets.get(spec.extends)
    if parent is None or not parent.registered:
        close = nearest(spec.extends, facts.dataset_names)
        fault = Fault(pointer="/extends", message="there is no such version", value=spec.extends, nearest=close)
        raise InvalidRequest(faults=[fault])
    if (kind := parent.spec.kind) == "recipe" or (kind == "npz") != (spec.kind == "npz"):
        why = "its images are drawn" if kind == "recipe" else "files extend files, and arrays arrays"
        message = f"a version of kind {kind!r} cannot be extended by one of kind {spec.kind!r}: {why}"
        raise InvalidRequest(faults=[Fault(pointer="/extends", message=message, value=spec.extends)])
    if parent.spec.task != spec.task:
        fault = Fault(pointer="/task", message="expected that of the version that is extended", value=spec.task)
        raise InvalidRequest(faults=[fault.model_copy(update={"allowed": [parent.spec.task]})])
    return parent


@router.get("", dependencies=[needs("read")], responses=documented())
def list_datasets(
    service: Serving,
    scope: Scoped,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: StateFilter = None,
    name: Filter = None,
) -> Page[Dataset]:
    """Dataset versions, the newest first."""
    page = datasets.page(scope, limit=limit, cursor=cursor, state=state, name=name)
    return Page[Dataset](items=page.items, next=page.next)


@router.get("/{name}", dependencies=[needs("read")], responses=documented(404))
def get_dataset(service: Serving, scope: Scoped, name: Id) -> Dataset:
    """One dataset version, `name@version`, or the newest of a name."""
    return datasets.get(scope, name)


@router.delete("/{name}", dependencies=[needs("write")], responses=documented(404, 409))
def delete_dataset(service: Serving, scope: Scoped, name: Id) -> Removal:
    """Forget a dataset version that nothing is made of, with its files; what went, or goes from now on.

    A version that is gone is never given again: the next registration under the name has a higher one.
    """
    return removed(service, datasets.remove(scope, name))


@router.get("/{name}/manifest", dependencies=[needs("read")], responses=documented(404, 409), response_class=Response)
def get_dataset_manifest(service: Serving, scope: Scoped, name: Id) -> StreamingResponse:
    """A version's images one by one, as CSV: file, sha256, label, split, patient, width, height.

    A multilabel dataset has a column `label:NAME` for each label. Patients are hashed: HMAC-SHA-256, see `salt`.
    """
    pieces = service.store.open_stream(datasets.ingested(scope, name).manifest)
    named = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return StreamingResponse(pieces, media_type="text/csv; charset=utf-8", headers=named)


@router.get("/{name}/salt", dependencies=[needs("write")], responses=documented(404, 409))
def get_dataset_salt(service: Serving, scope: Scoped, name: Id) -> PatientSalt:
    """What a version's patients are hashed with, for a team that checks its own split: whoever has it can try ids."""
    return PatientSalt(salt=datasets.ingested(scope, name).salt)


@router.get("/{name}/diff", dependencies=[needs("read"), DRAWN], responses=documented(404, 409))
def get_dataset_diff(service: Serving, scope: Scoped, name: Id, against: Against = None) -> DatasetDiff:
    """What a version has otherwise than its parent, or than `against`: added, removed, relabelled, moved."""
    mine = datasets.get(scope, name)
    other = datasets.get(scope, against or mine.parent or _before(mine.name))
    found, held = (datasets.ingested(scope, each.name) for each in (mine, other))
    told = changes(*(read_manifest(service.store.open_stream(each.manifest)) for each in (found, held)))
    return DatasetDiff(
        name=mine.name,
        against=other.name,
        digest=found.digest,
        against_digest=held.digest,
        same=found.digest == held.digest,
        **vars(told),
    )


def _before(name: str) -> str:
    bare, _, version = name.partition("@")
    if version == "1":
        raise NotFound(f"{name} extends nothing and has no version before it; name one by 'against'")
    return f"{bare}@{int(version) - 1}"


@router.get("/{name}/profile", dependencies=[needs("read")], responses=documented(404, 409))
def get_dataset_profile(service: Serving, scope: Scoped, name: Id) -> DatasetProfile:
    """What a dataset is like: counts, patients, duplicates, leaks, samples.

    It is made when a dataset is registered, or else when a key that may write first asks for it, and until then is not
    found by a key that may only read: `not_ready` until it is there.
    """
    return profile_of(service, scope, name)


@router.get("/{name}/samples", dependencies=[needs("read")], responses=documented(404, 409))
def list_dataset_samples(service: Serving, scope: Scoped, name: Id) -> Page[ClassSamples]:
    """A few train images of each class, as pictures."""
    return Page[ClassSamples](items=profile_of(service, scope, name).samples, next=None)


@router.get("/{name}/charts/{chart}.json", dependencies=[needs("read")], responses=documented(404, 409))
def get_dataset_chart_json(service: Serving, scope: Scoped, name: Id, chart: ChartName) -> dict[str, Any]:
    """A chart of the profile (figure-1, classes, resolutions, intensities) as a Vega-Lite specification."""
    return _chart(service, scope, name, chart)


@router.get(
    "/{name}/charts/{chart}.svg",
    dependencies=[needs("read"), DRAWN],
    responses=documented(404, 409),
    response_class=Response,
)
def get_dataset_chart_svg(service: Serving, scope: Scoped, name: Id, chart: ChartName) -> Response:
    """A chart of the profile as SVG."""
    from transfusion_core.reporting.pictures import svg

    return Response(svg(_chart(service, scope, name, chart)), media_type="image/svg+xml")


@router.get(
    "/{name}/charts/{chart}.png",
    dependencies=[needs("read"), DRAWN],
    responses=documented(404, 409),
    response_class=Response,
)
def get_dataset_chart_png(service: Serving, scope: Scoped, name: Id, chart: ChartName) -> Response:
    """A chart of the profile as PNG, at twice its size."""
    from transfusion_core.reporting.pictures import png

    return Response(png(_chart(service, scope, name, chart)), media_type="image/png")


def _chart(service: Service, scope: Scope, name: str, chart: str) -> dict[str, Any]:
    charts: dict[str, dict[str, Any]] = stored_json(service, _profile_result(service, scope, name)["charts"])
    if chart not in charts:
        raise NotFound(f"a profile has no chart {chart!r}; it has {', '.join(charts)}")
    return charts[chart]


def profile_of(service: Service, scope: Scope, name: str) -> DatasetProfile:
    """The profile of a dataset. Raises NotFound, NotReady, and Conflict where there will be none.

    Where nobody has looked at the dataset yet, whoever may start work has it done by asking; others get NotFound.
    """
    return DatasetProfile.model_validate(stored_json(service, _profile_result(service, scope, name)["profile"]))


def _profile_result(service: Service, scope: Scope, name: str) -> dict[str, Any]:
    """What the look at a dataset came to: raises as `profile_of`."""
    job, queues = datasets.profile_job(scope, name)
    service.ring(queues)
    if job.state in ("failed", "cancelled"):
        why = datasets.get(scope, name).error or job.error
        ended = "failed" if job.state == "failed" else "been cancelled"
        raise Conflict(f"the profile of {name} has {ended}" + (f": {why}" if why else ""))
    if job.state != "succeeded" or job.result is None:
        raise NotReady(f"the profile of {name} is {job.state}; ask again in a moment")
    return job.result
