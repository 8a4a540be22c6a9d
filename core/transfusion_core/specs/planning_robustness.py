"""The jobs of the section `robustness`: each trained network by itself, and a few lines between two."""

from collections.abc import Iterator, Sequence

from transfusion_core.specs.experiment import ExperimentSpec
from transfusion_core.specs.init import Init
from transfusion_core.specs.job import JobDraft
from transfusion_core.specs.pixels import pixels_draft
from transfusion_core.specs.robustness import (
    BLOCKS,
    MIN_BLOCK_PIXELS,
    NEIGHBOURS,
    POINTS,
    PROBE_C,
    TRAIN_IMAGES,
    BarrierJob,
    ProbeJob,
)

ARM = ("model", "init", "source", "train_size")


def robustness_jobs(spec: ExperimentSpec, cells: Sequence[JobDraft], ingest: JobDraft) -> list[JobDraft]:
    """A probe of each cell and a barrier for each line; none where the section is not asked for."""
    if "robustness" not in spec.sections:
        return []
    probes = [probe_job(spec, cell, ingest) for cell in cells]
    return [*probes, *(_barrier(spec, a, b, ingest) for a, b in lines(cells))]


def lines(cells: Sequence[JobDraft]) -> Iterator[tuple[JobDraft, JobDraft]]:
    """Pairs of one model and train size: neighbouring seeds of an arm, and each arm with random of the same seed.

    A slim network has other shapes than the random one: there is no line between them.
    """
    places = {tuple(cell.labels[word] for word in (*ARM, "seed")): place for place, cell in enumerate(cells)}
    for a in cells:
        model, init, source, size, seed = (a.labels[word] for word in (*ARM, "seed"))
        found = [places.get((model, init, source, size, seed + 1))]
        if init != "random" and Init.read(a.spec["init"]).slim is None:
            found.append(places.get((model, "random", None, size, seed)))
        yield from ((a, cells[place]) for place in sorted(place for place in found if place is not None))


def probe_job(spec: ExperimentSpec, cell: JobDraft, ingest: JobDraft, *, stages: bool = True) -> JobDraft:
    """The probe of one cell; without `stages` it shuffles blocks and does nothing else."""
    job = ProbeJob(
        run=cell.key,
        dataset=ingest.key,
        image_size=spec.image_size,
        images=TRAIN_IMAGES,
        neighbours=NEIGHBOURS,
        c=PROBE_C,
        blocks=[count for count in BLOCKS if spec.image_size // count >= MIN_BLOCK_PIXELS],
        seed=spec.similarity.seed,
        stages=stages,
    )
    labels = {"role": "probe", **{word: cell.labels[word] for word in (*ARM, "seed")}}
    needs = (ingest.key, pixels_draft(ingest.key, spec.image_size).key, cell.key)
    return JobDraft.make("probe", job.model_dump(mode="json"), needs=needs, labels=labels)


def _barrier(spec: ExperimentSpec, a: JobDraft, b: JobDraft, ingest: JobDraft) -> JobDraft:
    job = BarrierJob(
        a=a.key,
        b=b.key,
        dataset=ingest.key,
        image_size=spec.image_size,
        images=TRAIN_IMAGES,
        points=POINTS,
        seed=spec.similarity.seed,
    )
    words = ("init", "source", "seed")
    labels = {
        "role": "barrier",
        "model": a.labels["model"],
        "train_size": a.labels["train_size"],
        "pair": f"{a.labels['init']}-{b.labels['init']}",
        "a": {word: a.labels[word] for word in words},
        "b": {word: b.labels[word] for word in words},
    }
    needs = (ingest.key, pixels_draft(ingest.key, spec.image_size).key, a.key, b.key)
    return JobDraft.make("barrier", job.model_dump(mode="json"), needs=needs, labels=labels)
