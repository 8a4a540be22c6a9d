"""From an experiment's spec to its jobs: pure, in a stable order, the same spec always giving the same keys."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from transfusion_core.specs.check import (
    COMPARING,
    SAMPLE_HUNGRY,
    compared_channels,
    probe_images,
    sample_warnings,
    samples_per_image,
)
from transfusion_core.specs.check_sources import contract_of, input_warnings
from transfusion_core.specs.comparing import comparisons
from transfusion_core.specs.comparison import Measure
from transfusion_core.specs.dataset import DatasetSpec
from transfusion_core.specs.estimating import images_of, job_seconds
from transfusion_core.specs.experiment import ExperimentSpec, Plan, PlannedRun, SourceSpec, largest
from transfusion_core.specs.facts import DatasetFacts, Facts
from transfusion_core.specs.fitting import demands_of
from transfusion_core.specs.grid import Cell
from transfusion_core.specs.grid import cells as cells_of
from transfusion_core.specs.init import Init, SourceRef
from transfusion_core.specs.job import PARTS, JobDraft, TrainJob, without_idle_parts
from transfusion_core.specs.keys import digest
from transfusion_core.specs.model import catalogue
from transfusion_core.specs.pixels import PixelsJob, pixels_draft
from transfusion_core.specs.planning_dataset import dataset_jobs
from transfusion_core.specs.planning_robustness import robustness_jobs
from transfusion_core.specs.rates import RateGrid
from transfusion_core.specs.sections import lacking

TUNING_SEED = 0
"""The seed that learning rates are tried with: the first of every experiment."""


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """An experiment as jobs, those that others need first."""

    spec: ExperimentSpec
    """Resolved: defaults filled in, versions pinned."""
    digest: str
    drafts: list[JobDraft]
    new_datasets: list[DatasetSpec]
    """Demo datasets that this experiment is the first to name."""
    warnings: list[str]
    splits: Mapping[str, int] | None
    """Images per split of the dataset, where that is known before it is read."""

    def of_kind(self, kind: str) -> list[JobDraft]:
        """The drafts of one kind."""
        return [draft for draft in self.drafts if draft.kind == kind]

    @property
    def cells(self) -> list[JobDraft]:
        """The runs of the grid, without source runs."""
        return [draft for draft in self.of_kind("train") if draft.labels["role"] == "cell"]


def expand(spec: ExperimentSpec, facts: Facts) -> Expansion:
    """Expand a spec that has been checked against the same facts."""
    spec, warnings = resolve(spec, facts)
    used = {name: source for name, source in spec.sources.items() if any(init.source == name for init in spec.inits)}
    models = [catalogue()[model] for model in spec.models]
    warnings = [*warnings, *input_warnings(spec, used, models, facts)]
    datasets = _datasets(spec, facts)
    ingests = {facts_.name: replace(facts_.ingest, labels={"dataset": facts_.name}) for facts_ in datasets}
    pixels = {name: pixels_draft(ingest.key, spec.image_size, dataset=name) for name, ingest in ingests.items()}
    sources = {
        (name, model): _source_run(spec, model, source, ingests)
        for name, source in spec.sources.items()
        for model in spec.models
        if source.pretrain and any(init.source == name for init in spec.inits)
    }
    runs = [_cell(spec, facts, cell, ingests[spec.dataset], sources) for cell in cells_of(spec)]
    trials = {trial.key: trial for run in runs for trial in run.trials}
    cells = [run.cell for run in runs]
    compares = comparisons(spec, cells, ingests[spec.dataset])
    probes = [
        draft for plan_of in (dataset_jobs, robustness_jobs) for draft in plan_of(spec, cells, ingests[spec.dataset])
    ]
    taken = {key for cell in cells for key in cell.needs}
    begun = [run for run in sources.values() if run.key in taken]
    needed = [*ingests.values(), *pixels.values(), *begun, *trials.values(), *cells, *compares, *probes]
    answering = [draft for draft in needed if draft.kind not in PARTS]  # those end before their comparison does
    unique = {draft.key: draft for draft in [*needed, _report(spec, answering)]}.values()
    drafts = [replace(draft, seconds=job_seconds(draft, _splits(draft, spec, datasets))) for draft in unique]
    return Expansion(
        spec=spec,
        digest=digest(spec.model_dump(mode="json", exclude={"name", "cache", "priority"})),
        drafts=drafts,
        new_datasets=[facts_.spec for facts_ in datasets if not facts_.registered],
        warnings=[*warnings, *(f"{section} lacks {words}" for section, words in lacking(spec).items())],
        splits=datasets[0].splits,
    )


def resolve(spec: ExperimentSpec, facts: Facts) -> tuple[ExperimentSpec, list[str]]:
    """The spec with its defaults filled in and its versions pinned, and what there is to warn of."""
    dataset = facts.datasets[spec.dataset]
    sources = {name: _resolve_source(source, facts) for name, source in spec.sources.items()}
    images = probe_images(spec.similarity, dataset.splits) if dataset.splits else spec.similarity.images
    similarity = spec.similarity.model_copy(update={"images": images})
    resolved = spec.model_copy(
        update={
            "dataset": dataset.name,
            "sources": sources,
            "inits": [init.resolved() for init in spec.inits],
            "grids": spec.grids and [grid.resolved() for grid in spec.grids],
            "similarity": similarity,
        }
    )
    if not COMPARING.intersection(spec.sections):
        return resolved, []
    if "measures" in spec.similarity.model_fields_set:
        return resolved, sample_warnings(resolved, dataset.splits)
    measures, dropped = _possible_measures(resolved, probe_images(similarity, dataset.splits))
    resolved = resolved.model_copy(update={"similarity": similarity.model_copy(update={"measures": measures})})
    return resolved, [*dropped, *sample_warnings(resolved, dataset.splits)]


def _resolve_source(source: SourceSpec, facts: Facts) -> SourceSpec:
    if source.pretrain is None:
        return source
    pinned = facts.datasets[source.pretrain.dataset].name
    return source.model_copy(update={"pretrain": source.pretrain.model_copy(update={"dataset": pinned})})


def _possible_measures(spec: ExperimentSpec, images: int) -> tuple[list[Measure], list[str]]:
    """The default measures without those that the probe set is too small for, and why."""
    for name in spec.models:
        for stage in catalogue()[name].stages:
            n = images * samples_per_image(catalogue()[name], stage, spec.image_size, spec.similarity, images=images)
            channels = compared_channels(stage, spec.similarity)
            if n <= channels:
                kept = [m for m in spec.similarity.measures if m not in SAMPLE_HUNGRY]
                return kept, [f"cca is left out: {name} {stage.name} has {channels} channels for {n} samples"]
    return list(spec.similarity.measures), []


def _datasets(spec: ExperimentSpec, facts: Facts) -> list[DatasetFacts]:
    """The datasets an experiment needs, each once: its own first."""
    by_name = {facts_.name: facts_ for facts_ in facts.datasets.values()}
    used = {init.source for init in spec.inits}
    pretrains = [source.pretrain for name, source in spec.sources.items() if name in used]
    names = dict.fromkeys([spec.dataset, *(pretrain.dataset for pretrain in pretrains if pretrain)])
    return [by_name[name] for name in names]


class _Run(NamedTuple):
    """A cell's job, and the tuning runs that it waits for."""

    cell: JobDraft
    trials: list[JobDraft]


def _source_run(spec: ExperimentSpec, model: str, source: SourceSpec, ingests: dict[str, JobDraft]) -> JobDraft:
    pretrain = source.pretrain
    assert pretrain is not None
    job = TrainJob(
        dataset=ingests[pretrain.dataset].key,
        model=model,
        init=Init(kind="random"),
        train_size="all",
        seed=pretrain.seed,
        image_size=spec.image_size,
        training=pretrain.training,
    )
    labels = {"role": "source", "model": model, "init": "random", "source": None, "train_size": "all"}
    return JobDraft.make(
        "train",
        job.model_dump(mode="json"),
        needs=(job.dataset, pixels_draft(job.dataset, spec.image_size).key),
        labels={**labels, "seed": pretrain.seed, "dataset": pretrain.dataset},
    )


def _cell(
    spec: ExperimentSpec,
    facts: Facts,
    cell: Cell,
    ingest: JobDraft,
    sources: dict[tuple[str, str], JobDraft],
) -> _Run:
    ref = _source_ref(spec, facts, cell, sources)
    job = TrainJob(
        dataset=ingest.key,
        model=cell.model,
        init=Init(**cell.init.model_dump(exclude={"source"})),
        source=ref,
        train_size=cell.train_size,
        seed=cell.seed,
        image_size=spec.image_size,
        training=spec.training,
    )
    data = (ingest.key, pixels_draft(ingest.key, spec.image_size).key)
    needs = (*data, ref.run) if ref and ref.run else data
    arm = {"model": cell.model, "init": cell.init.label, "source": cell.init.source, "dataset": spec.dataset}
    trials = list(_trials(job, spec, needs=needs, arm=arm))
    job = job.model_copy(update={"tuned_by": [trial.key for trial in trials]})
    labels = {"role": "cell", **arm, "train_size": cell.train_size, "seed": cell.seed}
    needs = (*needs, *job.tuned_by)
    return _Run(JobDraft.make("train", job.model_dump(mode="json"), needs=needs, labels=labels), trials)


def _trials(job: TrainJob, spec: ExperimentSpec, *, needs: tuple[str, ...], arm: dict[str, Any]) -> Iterator[JobDraft]:
    """The tuning runs of a cell, the same for every seed and train size of its arm."""
    if not isinstance(spec.training.lr, RateGrid):
        return
    words = {"train_size": largest(spec.train_sizes), "seed": TUNING_SEED}
    for lr in spec.training.lr.grid:
        trial = job.trial(lr).model_copy(update=words)
        labels = {"role": "tuning", **arm, **words, "lr": lr}
        yield JobDraft.make("train", trial.model_dump(mode="json"), needs=needs, labels=labels)


def _source_ref(
    spec: ExperimentSpec, facts: Facts, cell: Cell, sources: dict[tuple[str, str], JobDraft]
) -> SourceRef | None:
    if cell.init.source is None:
        return None
    source = spec.sources[cell.init.source]
    if source.pretrain:
        return SourceRef(run=sources[cell.init.source, cell.model].key)
    if source.run:
        run_id, _, checkpoint = source.run.partition("@")
        return SourceRef(run=facts.runs[run_id].key, checkpoint=checkpoint)
    asked = spec.training.normalisation == "source"  # else it is nothing that the run depends on
    contract = contract_of(source, catalogue()[cell.model], facts) if asked else None
    if source.weights:
        return SourceRef(weights=facts.weights[source.weights], input=contract)
    tag = catalogue()[cell.model].sources[0] if source.timm == "default" else source.timm
    return SourceRef(timm=tag, input=contract)


def _report(spec: ExperimentSpec, needed: Sequence[JobDraft]) -> JobDraft:
    cells = [{"key": draft.key, "kind": draft.kind, "labels": draft.labels} for draft in needed]
    content = {
        "experiment": spec.model_dump(mode="json", exclude={"name", "cache", "priority"}),
        "jobs": cells,
    }
    return JobDraft.make(
        "report",
        content,
        needs=tuple(draft.key for draft in needed),
        needs_success=False,
        labels={"role": "report"},
    )


def plan(expansion: Expansion, existing: frozenset[str]) -> Plan:
    """What the expansion would do, where the jobs of `existing` keys are there already."""
    drafts = without_idle_parts(expansion.drafts, existing)
    new = [draft for draft in drafts if draft.key not in existing]
    working = [draft for draft in new if draft.kind != "train" or not _is_adopted(draft, expansion)]
    trainings = [TrainJob.read(draft.spec) for draft in working if draft.kind == "train"]
    images = sum(job.training.steps * job.training.batch_size for job in trainings)
    return Plan(
        runs=[
            PlannedRun(
                **{word: draft.labels[word] for word in ("model", "init", "source", "train_size", "seed")},
                key=draft.key,
                exists=draft.key in existing,
            )
            for draft in expansion.cells
        ],
        jobs_by_kind=dict(Counter(draft.kind for draft in drafts)),
        new_jobs=len(new),
        tuning_runs=sum(draft.labels["role"] == "tuning" for draft in expansion.of_kind("train")),
        images_to_train=images,
        estimated_seconds=round(sum(draft.seconds for draft in working), 1),
        estimated_bytes=sum(_training_bytes(job) for job in trainings)
        + sum(_pixel_bytes(draft, expansion) for draft in new if draft.kind == "pixels"),
        demands=demands_of(working),
        warnings=expansion.warnings,
        digest=expansion.digest,
        spec=expansion.spec.model_dump(mode="json"),
    )


def _is_adopted(draft: JobDraft, expansion: Expansion) -> bool:
    """Whether one of the tuning runs is this very run, whose result is then taken over."""
    first = (largest(expansion.spec.train_sizes), TUNING_SEED)
    return bool(draft.spec.get("tuned_by")) and (draft.labels["train_size"], draft.labels["seed"]) == first


def _splits(draft: JobDraft, spec: ExperimentSpec, datasets: Sequence[DatasetFacts]) -> Mapping[str, int] | None:
    """Images of the dataset that a job works on: source runs have another than the experiment."""
    name = draft.labels.get("dataset", spec.dataset)
    return next((facts.splits for facts in datasets if facts.name == name), None)


def _pixel_bytes(draft: JobDraft, expansion: Expansion) -> int:
    """Of pixels in the store, in colour."""
    splits = expansion.splits if draft.labels.get("dataset") == expansion.spec.dataset else None
    return 3 * PixelsJob.read(draft.spec).image_size ** 2 * images_of(splits)


def _training_bytes(job: TrainJob) -> int:
    return 4 * catalogue()[job.model].parameters * (job.training.checkpoints + 2)
