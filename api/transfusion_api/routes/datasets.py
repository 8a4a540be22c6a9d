"""Datasets: named versions of labelled images, registered from a recipe, an upload or a location."""

from fastapi import APIRouter, Response

from transfusion_api.answers import Cursor, Filter, Id, Limit, Page, StateFilter
from transfusion_api.auth import Scoped, needs
from transfusion_api.body import Body, read, takes
from transfusion_api.locations import fingerprint
from transfusion_api.planning import lost_among
from transfusion_api.problems import documented
from transfusion_api.removing import removed
from transfusion_api.reports import stored_json
from transfusion_api.service import Service, Serving
from transfusion_core.db import datasets
from transfusion_core.db.scope import Scope
from transfusion_core.errors import Conflict, NotReady
from transfusion_core.specs.dataset import Dataset, DatasetSpec
from transfusion_core.specs.facts import ingest_draft
from transfusion_core.specs.profile import ClassSamples, DatasetProfile, profile_draft
from transfusion_core.specs.removal import Removal

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])


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
    draft = ingest_draft(spec, fingerprint(service, scope, spec.location))
    missing = lost_among(service, [draft.key, profile_draft(draft.key).key])
    dataset, is_new, queues = datasets.register(scope, spec, draft, verified_missing=missing)
    service.ring(queues)
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/v1/datasets/{dataset.name}"
    return dataset


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


@router.get("/{name}/profile", dependencies=[needs("read")], responses=documented(404, 409))
def get_dataset_profile(service: Serving, scope: Scoped, name: Id) -> DatasetProfile:
    """What a dataset is like: counts, patients, duplicates, leaks, samples.

    It is made when a dataset is registered, or else when it is first asked for: `not_ready` until it is there.
    """
    return _profile(service, scope, name)


@router.get("/{name}/samples", dependencies=[needs("read")], responses=documented(404, 409))
def list_dataset_samples(service: Serving, scope: Scoped, name: Id) -> Page[ClassSamples]:
    """A few train images of each class, as pictures."""
    return Page[ClassSamples](items=_profile(service, scope, name).samples, next=None)


def _profile(service: Service, scope: Scope, name: str) -> DatasetProfile:
    job, queues = datasets.profile_job(scope, name)
    service.ring(queues)
    if job.state in ("failed", "cancelled"):
        why = datasets.get(scope, name).error or job.error
        ended = "failed" if job.state == "failed" else "been cancelled"
        raise Conflict(f"the profile of {name} has {ended}" + (f": {why}" if why else ""))
    if job.state != "succeeded" or job.result is None:
        raise NotReady(f"the profile of {name} is {job.state}; ask again in a moment")
    return DatasetProfile.model_validate(stored_json(service, job.result["profile"]))
