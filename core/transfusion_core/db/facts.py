"""Facts: what the names in a spec stand for here, looked up before it is checked and expanded."""

from collections.abc import Iterable
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from transfusion_core.db.datasets import find_row
from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.moves import ENDED
from transfusion_core.db.scope import Scope, is_reached
from transfusion_core.db.tables import Dataset, Job, Weights
from transfusion_core.db.weights import contract_of
from transfusion_core.errors import NotFound
from transfusion_core.specs.check import Readable, readable
from transfusion_core.specs.dataset import RECIPE_TASKS, DatasetSpec, demo_dataset
from transfusion_core.specs.facts import DatasetFacts, Facts, RunFacts, foretold_splits, ingest_draft, placed_ingest
from transfusion_core.specs.job import TrainJob

T = TypeVar("T")


def facts_for(scope: Scope, body: Any) -> Facts:
    """Facts on every dataset, weight file and run that a body names, valid or not; unknown names are absent.

    All names that there are come along where one was not found, for the nearest.
    """
    parts = readable(body if isinstance(body, dict) else {})
    named_datasets, named_weights = _named(parts)
    with unit_of_work(scope.engine, write=False) as session:
        datasets = _known({name: _dataset(session, scope, name) for name in named_datasets})
        weights = _weights(session, scope, named_weights) if named_weights else {}
        return Facts(
            datasets=datasets,
            weights={name: row.object["sha256"] for name, row in weights.items()},
            weight_inputs=_known({name: contract_of(row) for name, row in weights.items()}),
            runs=_runs(session, scope, parts),
            dataset_names=_dataset_names(session, scope) if named_datasets - set(datasets) else (),
            weight_names=_weight_names(session, scope) if named_weights - set(weights) else (),
        )


def run_facts(scope: Scope, run_id: str) -> RunFacts:
    """Facts on one run. Raises NotFound."""
    with unit_of_work(scope.engine, write=False) as session:
        facts = _run(session, scope, run_id)
        if facts is None:
            raise NotFound(f"there is no run {run_id!r}")
        return facts


def dataset_facts(scope: Scope, name: str) -> DatasetFacts:
    """Facts on one dataset, `name` or `name@n`. Raises NotFound."""
    with unit_of_work(scope.engine, write=False) as session:
        facts = _dataset(session, scope, name)
        if facts is None:
            raise NotFound(f"there is no dataset {name!r}")
        return facts


def _named(parts: Readable) -> tuple[set[str], set[str]]:
    """Names of datasets, and of weights."""
    sources = parts.sources.values()
    datasets = {source.pretrain.dataset for source in sources if source.pretrain}
    own = {parts.dataset} if parts.dataset else set()
    return datasets | own, {source.weights for source in sources if source.weights}


def _known(found: dict[str, T | None]) -> dict[str, T]:
    return {name: facts for name, facts in found.items() if facts is not None}


def _dataset(session: Session, scope: Scope, name: str) -> DatasetFacts | None:
    row = find_row(session, scope, name)
    if row is None:
        return _demo(name)
    job = session.execute(select(Job.spec, Job.key).where(Job.id == row.job_id)).one()
    spec = DatasetSpec.read(row.spec)
    return DatasetFacts(
        name=f"{row.name}@{row.version}",
        spec=spec,
        ingest=placed_ingest(job.spec, job.key),
        registered=True,
        # The foretold ones first: keys must be the same before and after a drawn dataset is ingested.
        splits=foretold_splits(spec) or (row.result["splits"] if row.result else None),
        classes=len(row.result["classes"]) if row.result else None,
        channels=row.result["channels"] if row.result else None,
        resolutions=row.result.get("resolutions", {}) if row.result else {},
    )


def _demo(name: str) -> DatasetFacts | None:
    bare, _, version = name.partition("@")
    spec = demo_dataset(bare)
    if spec is None or version not in ("", "1"):
        return None
    splits = foretold_splits(spec)
    return DatasetFacts(name=f"{bare}@1", spec=spec, ingest=ingest_draft(spec), registered=False, splits=splits)


def _weights(session: Session, scope: Scope, names: set[str]) -> dict[str, Weights]:
    rows = session.scalars(select(Weights).where(Weights.project == scope.project, Weights.name.in_(names)))
    return {row.name: row for row in rows}


def _runs(session: Session, scope: Scope, parts: Readable) -> dict[str, RunFacts]:
    ids: Iterable[str] = {source.run.partition("@")[0] for source in parts.sources.values() if source.run}
    return _known({run_id: _run(session, scope, run_id) for run_id in ids})


def _run(session: Session, scope: Scope, run_id: str) -> RunFacts | None:
    job = session.scalars(select(Job).where(Job.id == run_id, Job.kind == "train", is_reached(scope))).one_or_none()
    if job is None:
        return None
    train = TrainJob.read(job.spec)
    kept = frozenset(checkpoint["name"] for checkpoint in (job.result or {}).get("checkpoints", []))
    return RunFacts(
        key=job.key,
        model=train.model,
        dataset=train.dataset,
        image_size=train.image_size,
        steps=kept if job.state in ENDED else None,
    )


def _weight_names(session: Session, scope: Scope) -> tuple[str, ...]:
    mine = select(Weights.name).where(Weights.project == scope.project)
    return tuple(session.scalars(mine.order_by(Weights.name)))


def _dataset_names(session: Session, scope: Scope) -> tuple[str, ...]:
    mine = select(Dataset.name, Dataset.version).where(Dataset.project == scope.project)
    rows = session.execute(mine.order_by(Dataset.name, Dataset.version))
    names = dict.fromkeys(f"{name}@{version}" for name, version in rows)
    return tuple(names | dict.fromkeys(RECIPE_TASKS) | dict.fromkeys(f"{name}@1" for name in RECIPE_TASKS))
