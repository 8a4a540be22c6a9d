"""Facts: what the names in a spec stand for here, looked up before it is checked and expanded."""

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, select

from transfusion_core.db.datasets import named, newest_named
from transfusion_core.db.engine import glance
from transfusion_core.db.moves import ENDED
from transfusion_core.db.scope import Scope, is_reached
from transfusion_core.db.tables import Dataset, Job, Weights
from transfusion_core.db.weights import contract_of
from transfusion_core.errors import NotFound
from transfusion_core.specs.check import dataset_in, sources_in
from transfusion_core.specs.dataset import RECIPE_TASKS, DatasetSpec, demo_dataset
from transfusion_core.specs.experiment import SourceSpec
from transfusion_core.specs.facts import DatasetFacts, Facts, RunFacts, foretold_splits, ingest_draft, placed_ingest
from transfusion_core.specs.job import TrainJob

T = TypeVar("T")


def facts_for(scope: Scope, body: Any) -> Facts:
    """Facts on every dataset, weight file and run that a body names, valid or not; unknown names are absent.

    All names that there are come along where one was not found, for the nearest.
    """
    words = body if isinstance(body, dict) else {}
    sources = list(sources_in(words).values())
    named_datasets, named_weights = _named(dataset_in(words), sources)
    with glance(scope.engine) as connection:
        datasets = _known({name: _dataset(connection, scope, name) for name in named_datasets})
        weights = _weights(connection, scope, named_weights) if named_weights else {}
        return Facts(
            datasets=datasets,
            weights={name: row.object["sha256"] for name, row in weights.items()},
            weight_inputs=_known({name: contract_of(row) for name, row in weights.items()}),
            runs=_runs(connection, scope, sources),
            dataset_names=_dataset_names(connection, scope) if named_datasets - set(datasets) else (),
            weight_names=_weight_names(connection, scope) if named_weights - set(weights) else (),
        )


def run_facts(scope: Scope, run_id: str) -> RunFacts:
    """Facts on one run. Raises NotFound."""
    with glance(scope.engine) as connection:
        facts = _run(connection, scope, run_id)
        if facts is None:
            raise NotFound(f"there is no run {run_id!r}")
        return facts


def dataset_facts(scope: Scope, name: str) -> DatasetFacts:
    """Facts on one dataset, `name` or `name@n`. Raises NotFound."""
    with glance(scope.engine) as connection:
        facts = _dataset(connection, scope, name)
        if facts is None:
            raise NotFound(f"there is no dataset {name!r}")
        return facts


def _named(dataset: str | None, sources: Sequence[SourceSpec]) -> tuple[set[str], set[str]]:
    """Names of datasets, and of weights."""
    datasets = {source.pretrain.dataset for source in sources if source.pretrain}
    own = {dataset} if dataset else set()
    return datasets | own, {source.weights for source in sources if source.weights}


def _known(found: dict[str, T | None]) -> dict[str, T]:
    return {name: facts for name, facts in found.items() if facts is not None}


def _dataset(connection: Connection, scope: Scope, name: str) -> DatasetFacts | None:
    words = named(name)
    row = connection.execute(_with_ingest(), {"project": scope.project, **words}).one_or_none() if words else None
    if row is None:
        return _demo(name)
    spec = DatasetSpec.read(row.spec)
    return DatasetFacts(
        name=f"{row.name}@{row.version}",
        spec=spec,
        ingest=placed_ingest(row.ingest, row.key),
        registered=True,
        # The foretold ones first: keys must be the same before and after a drawn dataset is ingested.
        splits=foretold_splits(spec) or (row.result["splits"] if row.result else None),
        classes=len(row.result["classes"]) if row.result else None,
        channels=row.result["channels"] if row.result else None,
        resolutions=row.result.get("resolutions", {}) if row.result else {},
    )


@cache
def _with_ingest() -> Select[Any]:
    told = (Dataset.name, Dataset.version, Dataset.spec, Dataset.result, Job.spec.label("ingest"), Job.key)
    return newest_named().join(Job, Job.id == Dataset.job_id).with_only_columns(*told)


def _demo(name: str) -> DatasetFacts | None:
    bare, _, version = name.partition("@")
    spec = demo_dataset(bare)
    if spec is None or version not in ("", "1"):
        return None
    splits = foretold_splits(spec)
    return DatasetFacts(name=f"{bare}@1", spec=spec, ingest=ingest_draft(spec), registered=False, splits=splits)


def _weights(connection: Connection, scope: Scope, names: set[str]) -> dict[str, Any]:
    rows = connection.execute(select(Weights).where(Weights.project == scope.project, Weights.name.in_(names)))
    return {row.name: row for row in rows}


def _runs(connection: Connection, scope: Scope, sources: Sequence[SourceSpec]) -> dict[str, RunFacts]:
    ids = {source.run.partition("@")[0] for source in sources if source.run}
    return _known({run_id: _run(connection, scope, run_id) for run_id in ids})


def _run(connection: Connection, scope: Scope, run_id: str) -> RunFacts | None:
    query = select(Job.key, Job.spec, Job.state, Job.result)
    job = connection.execute(query.where(Job.id == run_id, Job.kind == "train", is_reached(scope))).one_or_none()
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


def _weight_names(connection: Connection, scope: Scope) -> tuple[str, ...]:
    mine = select(Weights.name).where(Weights.project == scope.project)
    return tuple(connection.scalars(mine.order_by(Weights.name)))


def _dataset_names(connection: Connection, scope: Scope) -> tuple[str, ...]:
    mine = select(Dataset.name, Dataset.version).where(Dataset.project == scope.project)
    rows = connection.execute(mine.order_by(Dataset.name, Dataset.version))
    names = dict.fromkeys(f"{name}@{version}" for name, version in rows)
    return tuple(names | dict.fromkeys(RECIPE_TASKS) | dict.fromkeys(f"{name}@1" for name in RECIPE_TASKS))
