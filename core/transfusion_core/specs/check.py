"""Checks of an experiment that need more than the spec's own shape: every fault at once, also of a half valid body."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from transfusion_core.specs.check_grids import axes_faults, placed, products
from transfusion_core.specs.check_size import Product, size_faults
from transfusion_core.specs.check_sources import input_faults
from transfusion_core.specs.check_training import NO_STAGES, training_faults
from transfusion_core.specs.comparison import (
    MIN_SAMPLES_PER_DIMENSION,
    PAPER_CHANNELS,
    PAPER_SAMPLES,
    SimilaritySpec,
)
from transfusion_core.specs.experiment import DatasetRef, ExperimentSpec, ModelName, SourceSpec, TrainSize
from transfusion_core.specs.facts import Facts
from transfusion_core.specs.fault import Fault, faults_of, nearest, pointer
from transfusion_core.specs.init import LADDER, InitSpec
from transfusion_core.specs.model import ModelEntry, Stage, catalogue
from transfusion_core.specs.training import Recipe

SAMPLE_HUNGRY = ("cca", "pwcca")
"""Measures that do not exist unless there are more samples than dimensions."""
DEFAULT_PROBE_IMAGES = 1000
IMAGES_PER_PART = 2
"""As many as a shard has: a part of a comparison takes whole shards."""
MAX_ITEMS = 100
"""No list of a spec may be longer; what stands behind is not looked at."""
COMPARING = frozenset({"similarity", "movement", "reuse"})
"""Sections that need comparisons."""


@dataclass(frozen=True)
class Readable:
    """The parts of a body that could be read, by their place in it."""

    dataset: str | None
    models: dict[int, ModelEntry]
    sources: dict[str, SourceSpec]
    inits: dict[int, InitSpec]
    train_sizes: dict[int, Any]
    image_size: int | None
    training: Recipe | None
    similarity: SimilaritySpec | None
    compares: bool
    seeds: int
    known: frozenset[str] = field(default_factory=frozenset)
    """Names that the body gives to sources, readable or not."""

    @property
    def used(self) -> "Readable":
        """The same without the sources that no init names: of one grid, they are others'."""
        named = {init.source for init in self.inits.values()}
        return replace(self, sources={name: source for name, source in self.sources.items() if name in named})

    @property
    def product(self) -> Product:
        """The runs that it asks for."""
        sizes = list(dict.fromkeys(self.train_sizes.values()))
        parts = self.similarity.parts if self.similarity else 1
        return Product(list(self.models.values()), list(self.inits.values()), sizes, self.seeds, parts)


def check(body: Any, facts: Facts) -> list[Fault]:
    """Every fault of a body that is meant to be an ExperimentSpec; none means that it can be expanded."""
    faults: list[Fault] = []
    try:
        ExperimentSpec.model_validate(body)
    except ValidationError as error:
        faults = faults_of(error, ExperimentSpec)
    if isinstance(body, dict):
        found = [*_datasets(readable(body), facts)]
        asked: dict[str, Product] = {}
        for place, part in products(body):
            parts = readable(part).used if place else readable(part)
            found += [placed(fault, place) for rule in _RULES for fault in rule(parts, facts)]
            asked[pointer(place or ["seeds"])] = parts.product
        found += size_faults(asked, _sections(body))
        faults += {(fault.pointer, fault.message): fault for fault in found}.values()
        faults += axes_faults(body)
    return faults


def readable(body: dict[str, Any]) -> Readable:
    """What can be read of a body, field by field."""
    models = _items(ModelName, body.get("models"))
    return Readable(
        dataset=dataset_in(body),
        models={place: catalogue()[name] for place, name in models.items()},
        sources=sources_in(body),
        inits=_items(InitSpec, body.get("inits", ["random"])),
        train_sizes=_items(TrainSize, body.get("train_sizes", ["all"])),
        image_size=_one(int, body.get("image_size", 64)),
        training=_one(Recipe, body.get("training", {})),
        similarity=_one(SimilaritySpec, body.get("similarity", {})),
        compares=bool(_sections(body) & COMPARING),
        seeds=max(0, _one(int, body.get("seeds", ExperimentSpec.model_fields["seeds"].default)) or 0),
        known=frozenset(map(str, _raw_sources(body))),
    )


def dataset_in(body: dict[str, Any]) -> str | None:
    """The dataset that a body names, if that can be read."""
    name: str | None = _one(DatasetRef, body.get("dataset"))
    return name


def sources_in(body: dict[str, Any]) -> dict[str, SourceSpec]:
    """The sources of a body that can be read."""
    return {name: read for name, raw in _raw_sources(body).items() if (read := _one(SourceSpec, raw)) is not None}


def _raw_sources(body: dict[str, Any]) -> dict[str, Any]:
    sources = body.get("sources", {})
    return sources if isinstance(sources, dict) else {}


def _sections(body: dict[str, Any]) -> frozenset[str]:
    sections = body.get("sections", ExperimentSpec.model_fields["sections"].get_default())
    return frozenset(each for each in sections if isinstance(each, str)) if isinstance(sections, list) else frozenset()


def _one(kind: Any, raw: Any) -> Any:
    try:
        return _reader(kind).validate_python(raw)
    except ValidationError:
        return None


@cache
def _reader(kind: Any) -> TypeAdapter[Any]:
    """Making one takes ten times as long as reading with it."""
    return TypeAdapter(kind)


def _items(kind: Any, raw: Any) -> dict[int, Any]:
    items = raw[:MAX_ITEMS] if isinstance(raw, list) else []
    read = {place: _one(kind, item) for place, item in enumerate(items)}
    return {place: item for place, item in read.items() if item is not None}


def _datasets(parts: Readable, facts: Facts) -> Iterator[Fault]:
    named: dict[tuple[str, ...], str] = {("dataset",): parts.dataset} if parts.dataset else {}
    for name, source in parts.sources.items():
        if source.pretrain:
            named[("sources", name, "pretrain", "dataset")] = source.pretrain.dataset
    for place, name in named.items():
        if name not in facts.datasets:
            yield Fault(
                pointer=pointer(place),
                message=f"there is no dataset {name!r}",
                value=name,
                allowed=list(facts.dataset_names),
                nearest=nearest(name, facts.dataset_names),
            )


def _twins(parts: Readable, facts: Facts) -> Iterator[Fault]:
    models = {place: entry.name for place, entry in parts.models.items()}
    for field_name, items in (("models", models), ("train_sizes", parts.train_sizes)):
        seen: list[Any] = []
        for place, item in items.items():
            if item in seen:
                yield Fault(pointer=pointer([field_name, place]), message="is there twice", value=str(item))
            seen.append(item)
    arms: set[tuple[str, str | None]] = set()
    for place, init in parts.inits.items():
        rungs = [rung for entry in parts.models.values() for rung in init.arms(entry.stage_names)]
        ours = {(arm.label, arm.source) for arm in (init, *rungs)}
        if twice := sorted(label for label, _ in ours & arms):
            yield Fault(pointer=pointer(["inits", place]), message="is there twice", value=", ".join(twice))
        arms |= ours


def _inits(parts: Readable, facts: Facts) -> Iterator[Fault]:
    for place, init in parts.inits.items():
        if init.source and init.source not in parts.known:
            allowed = sorted(parts.known)
            yield Fault(
                pointer=pointer(["inits", place, "source"]),
                message=f"there is no source {init.source!r} in this spec",
                value=init.source,
                allowed=allowed,
                nearest=nearest(init.source, allowed),
            )
        why = _WHY_NOT.get(init.kind, "the model has no such tensors")
        for entry in parts.models.values():
            if init.kind not in entry.inits:
                yield Fault(
                    pointer=pointer(["inits", place, "kind"] if init.kind != "random" else ["inits", place]),
                    message=f"init {init.kind!r} does not fit {entry.name} ({why})",
                    value=init.kind,
                    allowed=entry.inits,
                    nearest=nearest(init.kind, entry.inits) or "random",
                )


_WHY_NOT = {
    "gabor": "it needs a first convolution of 5x5 or larger",
    "transfuse": NO_STAGES,
    "slim": "models of the families cbr and resnet can be slim",
}


def _prefixes(parts: Readable, facts: Facts) -> Iterator[Fault]:
    for place, init in parts.inits.items():
        if init.prefix in (None, LADDER):
            continue
        for entry in parts.models.values():
            names = entry.stage_names
            allowed = [*names, LADDER] if init.kind == "transfuse" else names[:-1]
            if init.kind not in entry.inits or init.prefix in allowed:
                continue
            last = init.prefix == names[-1]
            yield Fault(
                pointer=pointer(["inits", place, "prefix"]),
                message=f"{init.prefix!r} is the last stage of {entry.name}: nothing is left to redesign"
                if last
                else f"{entry.name} has no stage {init.prefix!r}; its stages are {', '.join(names)}",
                value=init.prefix,
                allowed=list(allowed),
                nearest=nearest(init.prefix, allowed),
            )


def _sources(parts: Readable, facts: Facts) -> Iterator[Fault]:
    used = {init.source for init in parts.inits.values()}
    for name, source in parts.sources.items():
        here = ["sources", name]
        if source.weights and source.weights not in facts.weights:
            yield Fault(
                pointer=pointer([*here, "weights"]),
                message=f"there are no weights {source.weights!r}",
                value=source.weights,
                allowed=list(facts.weight_names),
                nearest=nearest(source.weights, facts.weight_names),
            )
        if source.timm and name in used:
            yield from _timm(source.timm, parts, here)
        if source.run:
            yield from _run(source.run, parts, facts, here)
        if name in used:
            asked = parts.training is not None and parts.training.normalisation == "source"
            models = parts.models.values()
            yield from input_faults(name, source, models, facts, image_size=parts.image_size, asked=asked)


def _trainings(parts: Readable, facts: Facts) -> Iterator[Fault]:
    models = list(parts.models.values())
    if parts.training:
        dataset = facts.datasets.get(parts.dataset) if parts.dataset else None
        yield from training_faults(["training"], parts.training, models, dataset, parts.image_size)
    for name, source in parts.sources.items():
        if source.pretrain:
            here, dataset = ["sources", name, "pretrain", "training"], facts.datasets.get(source.pretrain.dataset)
            yield from training_faults(here, source.pretrain.training, models, dataset, parts.image_size)
            if source.pretrain.training.normalisation == "source":
                message = "a source run starts at random, from no source"
                yield Fault(pointer=pointer([*here, "normalisation"]), message=message, allowed=["dataset"])


def _timm(tag: str, parts: Readable, here: list[str]) -> Iterator[Fault]:
    for entry in parts.models.values():
        if not entry.sources or (tag != "default" and tag not in entry.sources):
            yield Fault(
                pointer=pointer([*here, "timm"]),
                message=f"timm has no weights {tag!r} for {entry.name}",
                value=tag,
                allowed=["default", *entry.sources] if entry.sources else [],
                nearest=nearest(tag, entry.sources),
            )


def _run(checkpoint: str, parts: Readable, facts: Facts, here: list[str]) -> Iterator[Fault]:
    run_id, _, step = checkpoint.partition("@")
    place = pointer([*here, "run"])
    run = facts.runs.get(run_id)
    if run is None:
        yield Fault(pointer=place, message=f"there is no run {run_id!r}", value=checkpoint)
        return
    if run.steps is not None and step not in run.steps:
        yield Fault(
            pointer=place,
            message=f"run {run_id} has no checkpoint {step!r}",
            value=checkpoint,
            allowed=[f"{run_id}@{name}" for name in sorted(run.steps)],
        )
    for entry in parts.models.values():
        if entry.name != run.model:
            yield Fault(pointer=place, message=f"run {run_id} is of {run.model}, not {entry.name}", value=checkpoint)


def _image_size(parts: Readable, facts: Facts) -> Iterator[Fault]:
    size = parts.image_size
    if size is None:
        return
    for entry in parts.models.values():
        multiple = entry.image_size_multiple
        fitting = max(entry.min_image_size, round(size / multiple) * multiple)
        if size < entry.min_image_size or size % multiple:
            rule = f" in multiples of {multiple}" if multiple > 1 else ""
            yield Fault(
                pointer="/image_size",
                message=f"{entry.name} needs images of {entry.min_image_size} px or more{rule}",
                value=size,
                allowed=[f">= {entry.min_image_size}{rule}"],
                nearest=str(fitting),
            )


def _train_sizes(parts: Readable, facts: Facts) -> Iterator[Fault]:
    splits = facts.datasets[parts.dataset].splits if parts.dataset in facts.datasets else None
    for place, size in parts.train_sizes.items():
        if splits and size != "all" and size > splits["train"]:
            yield Fault(
                pointer=pointer(["train_sizes", place]),
                message=f"the train split has {splits['train']} images",
                value=size,
                allowed=["all", f"1 .. {splits['train']}"],
                nearest=str(splits["train"]),
            )


def probe_images(similarity: SimilaritySpec, splits: dict[str, int] | None) -> int:
    """How many probe images a comparison would use."""
    wanted = similarity.images or DEFAULT_PROBE_IMAGES
    return min(wanted, splits["test"]) if splits else wanted


def _probe_images(parts: Readable, facts: Facts) -> Iterator[Fault]:
    splits = facts.datasets[parts.dataset].splits if parts.dataset in facts.datasets else None
    if parts.similarity and splits and parts.compares and (parts.similarity.images or 0) > splits["test"]:
        yield Fault(
            pointer="/similarity/images",
            message=f"the test split has {splits['test']} images",
            value=parts.similarity.images,
            allowed=[f"1 .. {splits['test']}"],
            nearest=str(splits["test"]),
        )


def parts_fault(similarity: SimilaritySpec, splits: dict[str, int] | None, place: str) -> Fault | None:
    """What is wrong with more parts than a comparison's images, as far as it is known how many there are, are for."""
    most = max(1, probe_images(similarity, splits) // IMAGES_PER_PART)
    if similarity.parts <= most or (splits is None and similarity.images is None):
        return None
    return Fault(
        pointer=place,
        message=f"each part has {IMAGES_PER_PART} images or more; {probe_images(similarity, splits)} images are "
        f"enough for {most}",
        value=similarity.parts,
        allowed=[f"1 .. {most}"],
        nearest=str(most),
    )


def _parts(parts: Readable, facts: Facts) -> Iterator[Fault]:
    splits = facts.datasets[parts.dataset].splits if parts.dataset in facts.datasets else None
    if parts.similarity and parts.compares:
        fault = parts_fault(parts.similarity, splits, "/similarity/parts")
        yield from [fault] if fault else []


def _samples(parts: Readable, facts: Facts) -> Iterator[Fault]:
    if not (parts.compares and parts.similarity and parts.image_size):
        return
    chosen = [m for m in parts.similarity.measures if m in SAMPLE_HUNGRY]
    if not chosen or "measures" not in parts.similarity.model_fields_set:
        return
    splits = facts.datasets[parts.dataset].splits if parts.dataset in facts.datasets else None
    images = probe_images(parts.similarity, splits)
    for entry in parts.models.values():
        needs = {stage.name: _images_for(entry, stage, parts.image_size, parts.similarity) for stage in entry.stages}
        stage = max(entry.stages, key=lambda stage: needs[stage.name], default=None)
        if stage is None or images >= (enough := needs[stage.name]):
            continue
        per_image = samples_per_image(entry, stage, parts.image_size, parts.similarity, images=images)
        possible = splits is None or enough <= splits["test"]
        yield Fault(
            pointer="/similarity/images" if possible else "/similarity/measures",
            message=f"{' and '.join(chosen)} of {entry.name} {stage.name} ({stage.channels} channels) need more "
            f"samples than channels; {images} images x {per_image} positions = {images * per_image}",
            value=images if possible else list(parts.similarity.measures),
            allowed=[f">= {enough}"] if possible else ["svcca", "cka"],
            nearest=str(enough) if possible else "svcca",
        )


def _images_for(entry: ModelEntry, stage: Stage, image_size: int, similarity: SimilaritySpec) -> int:
    """The fewest images that give more samples than the stage has channels."""
    per_image = samples_per_image(entry, stage, image_size, similarity, images=1)
    return compared_channels(stage, similarity) // per_image + 1


def compared_channels(stage: Stage, similarity: SimilaritySpec) -> int:
    """Channels of a stage that are compared at once."""
    return stage.channels if similarity.protocol == "full" else min(stage.channels, PAPER_CHANNELS)


def samples_per_image(
    entry: ModelEntry, stage: Stage, image_size: int, similarity: SimilaritySpec, *, images: int
) -> int:
    """Samples that one of so many images gives at a stage."""
    if similarity.spatial == "averaged":
        return 1
    budget = similarity.positions_per_image
    if similarity.protocol == "paper":
        budget = max(1, round(PAPER_SAMPLES / images))
    return min(budget, entry.positions(stage, image_size))


_RULES = (_twins, _inits, _prefixes, _sources, _trainings, _image_size, _train_sizes, _probe_images, _parts, _samples)
"""What each product is checked by."""


def sample_warnings(spec: ExperimentSpec, splits: dict[str, int] | None) -> list[str]:
    """Stages whose similarity will rest on few samples per dimension."""
    images, found = probe_images(spec.similarity, splits), []
    for name in spec.models:
        entry = catalogue()[name]
        for stage in entry.stages:
            n = images * samples_per_image(entry, stage, spec.image_size, spec.similarity, images=images)
            channels = compared_channels(stage, spec.similarity)
            if n < MIN_SAMPLES_PER_DIMENSION * channels:
                found.append(
                    f"{name} {stage.name}: {n} samples for {channels} channels, fewer than "
                    f"{MIN_SAMPLES_PER_DIMENSION} per channel; read its similarity beside its null"
                )
    return found
