"""The comparisons that an experiment's sections need, and those that a user asks for by themselves."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from heapq import merge
from typing import Any

from transfusion_core.specs.comparison import ComparisonSpec, Layers, Pairs, SimilaritySpec
from transfusion_core.specs.experiment import ExperimentSpec
from transfusion_core.specs.facts import RunFacts
from transfusion_core.specs.job import CheckpointRef, CompareJob, JobDraft
from transfusion_core.specs.pixels import pixels_draft
from transfusion_core.specs.sections import PARTIAL

Cells = tuple[JobDraft, JobDraft]
BLOCK = ("model", "train_size")
"""In what runs agree that are compared."""
LAYERS = {"measures": ["cka"], "nulls": False}
"""What every layer is compared with every other by: the measure that works for layers of any widths."""


def comparisons(spec: ExperimentSpec, cells: Sequence[JobDraft], ingest: JobDraft) -> list[JobDraft]:
    """The comparisons between the runs of a grid; `cells` are their jobs, `ingest` that of the dataset."""
    drafts: list[JobDraft] = []
    sections = set(spec.sections)
    if sections & {"movement", "reuse"}:
        drafts += [_compare(spec, (cell, cell), ("init", "final"), ingest, "movement") for cell in cells]
    if "movement" in sections:
        drafts += [_compare(spec, pair, ("init", "init"), ingest, "start") for pair in _starts(cells)]
        drafts += [_compare(spec, pair, ("final", "final"), ingest, "similarity") for pair in _starts(cells)]
    if "similarity" in sections:
        drafts += [_compare(spec, pair, ("final", "final"), ingest, "similarity") for pair in _pairs(cells)]
        drafts += [_compare(spec, pair, ("final", "final"), ingest, "layers") for pair in _firsts(cells)]
    unique = {draft.key: draft for draft in drafts}.values()
    return [part for draft in unique for part in in_parts(draft, spec.similarity.parts)]


def _pairs(cells: Sequence[JobDraft]) -> Iterator[Cells]:
    """Pairs of trained networks of one model and train size: within each arm, and each arm against random.

    Arms with a part of the source's stages, of which a ladder has many, are compared with random of the next seed
    alone: what does not come from the source they draw as random of their own seed does.
    """
    for a, b in _met(cells):
        if _same_arm(a, b):
            yield a, b
        elif "random" in (a.labels["init"], b.labels["init"]):
            arm, random = (b, a) if a.labels["init"] == "random" else (a, b)
            if not _is_partial(arm) or random.labels["seed"] == arm.labels["seed"] + 1:
                yield arm, random


def _met(cells: Sequence[JobDraft]) -> Iterator[Cells]:
    """Pairs of one model and train size, of one arm or one of them random, in the order of the cells.

    Others are not looked at: of ten thousand cells there are fifty million pairs.
    """
    blocks: dict[Any, list[int]] = defaultdict(list)
    arms: dict[Any, list[int]] = defaultdict(list)
    for place, cell in enumerate(cells):
        blocks[_words(cell, *BLOCK)].append(place)
        arms[_words(cell, *BLOCK, "init", "source")].append(place)
    for place, cell in enumerate(cells):
        block = _words(cell, *BLOCK)
        ours, random = arms[*block, *_words(cell, "init", "source")], arms.get((*block, "random", None), [])
        near = blocks[block] if ours is random else merge(ours, random)
        yield from ((cell, cells[other]) for other in near if other > place)


def _words(cell: JobDraft, *words: str) -> tuple[Any, ...]:
    return tuple(cell.labels[word] for word in words)


def _starts(cells: Sequence[JobDraft]) -> Iterator[Cells]:
    """The pairs that Figure 3 draws: random networks with each other, every other arm with random of its seed.

    Arms with a part of the source's stages with random of the next seed, as above.
    """
    for a, b in _pairs(cells):
        if _same_arm(a, b):
            if a.labels["init"] == "random":
                yield a, b
        elif _is_partial(a) or a.labels["seed"] == b.labels["seed"]:
            yield a, b


def _firsts(cells: Sequence[JobDraft]) -> Iterator[Cells]:
    """The pairs of which every layer is compared with every other: the first seeds of Figure 3's."""
    for a, b in _starts(cells):
        if a.labels["seed"] == 0 and b.labels["seed"] < 2:
            yield a, b


def _is_partial(cell: JobDraft) -> bool:
    return str(cell.labels["init"]).partition("(")[0] in PARTIAL


def _same_arm(a: JobDraft, b: JobDraft) -> bool:
    return all(a.labels[word] == b.labels[word] for word in ("init", "source"))


def _compare(spec: ExperimentSpec, runs: Cells, checkpoints: tuple[str, str], ingest: JobDraft, role: str) -> JobDraft:
    a, b = (CheckpointRef(run=run.key, checkpoint=name) for run, name in zip(runs, checkpoints, strict=True))
    words = ("init", "source", "seed")
    labels = {
        "role": role,
        "model": runs[0].labels["model"],
        "train_size": runs[0].labels["train_size"],
        "pair": f"{runs[0].labels['init']}-{runs[1].labels['init']}",
        "a": {word: runs[0].labels[word] for word in words} | {"checkpoint": checkpoints[0]},
        "b": {word: runs[1].labels[word] for word in words} | {"checkpoint": checkpoints[1]},
    }
    job = compare_job(
        a,
        b,
        ingest.key,
        image_size=spec.image_size,
        similarity=spec.similarity.model_copy(update=LAYERS) if role == "layers" else spec.similarity,
        pairs="all" if role == "layers" else "diagonal",
        through=role == "movement" and "movement" in spec.sections,
    )
    needs = (ingest.key, pixels_draft(ingest.key, spec.image_size).key, runs[0].key, runs[1].key)
    return JobDraft.make("compare", job.model_dump(mode="json"), needs=needs, labels=labels)


def compare_job(
    a: CheckpointRef,
    b: CheckpointRef,
    dataset: str,
    *,
    image_size: int,
    similarity: SimilaritySpec,
    layers: Layers = "stages",
    layers_b: Layers | None = None,
    pairs: Pairs = "diagonal",
    through: bool = False,
) -> CompareJob:
    """The job that measures two checkpoints on a dataset's probe images."""
    return CompareJob(
        a=a,
        b=b,
        dataset=dataset,
        image_size=image_size,
        layers=layers,
        layers_b=layers_b,
        pairs=pairs,
        measures=similarity.measures,
        images=similarity.images,
        seed=similarity.seed,
        positions_per_image=similarity.positions_per_image,
        variance=similarity.variance,
        protocol=similarity.protocol,
        spatial=similarity.spatial,
        precision=similarity.precision,
        nulls=similarity.nulls,
        spectra=similarity.spectra,
        through=through,
    )


def in_parts(draft: JobDraft, parts: int) -> list[JobDraft]:
    """A comparison as so many jobs that sum over a part of the images each, and itself, which needs them; or alone."""
    if parts == 1:
        return [draft]
    made = [
        JobDraft.make(
            "moments",
            {**draft.spec, "part": part, "of": parts},
            needs=draft.needs,
            labels={**draft.labels, "role": "moments", "part": part},
        )
        for part in range(parts)
    ]
    return [*made, draft.split(made)]


def comparison_draft(spec: ComparisonSpec, a: RunFacts, b: RunFacts, dataset: str) -> JobDraft:
    """A comparison that a user asked for by itself; `dataset` is an ingest job's key."""
    refs = [CheckpointRef(run=run.key, checkpoint=name.partition("@")[2]) for run, name in ((a, spec.a), (b, spec.b))]
    job = compare_job(
        refs[0],
        refs[1],
        dataset,
        image_size=a.image_size,
        similarity=spec,
        layers=spec.layers,
        layers_b=spec.layers_b,
        pairs=spec.pairs,
    )
    labels = {"role": "asked", "a": spec.a, "b": spec.b}
    needs = (dataset, pixels_draft(dataset, a.image_size).key, a.key, b.key)
    return JobDraft.make("compare", job.model_dump(mode="json"), needs=needs, labels=labels)
