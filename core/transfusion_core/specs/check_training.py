"""Checks of a recipe against the models and the data that it is for."""

from collections.abc import Iterable, Iterator

from transfusion_core.specs.augmentation import Augmentation
from transfusion_core.specs.facts import DatasetFacts
from transfusion_core.specs.fault import Fault, nearest, pointer
from transfusion_core.specs.model import ModelEntry
from transfusion_core.specs.training import EVERY_STAGE, Recipe

NO_STAGES = "the model is not a chain of named stages that can be told apart by their tensors"


def training_faults(
    here: list[str],
    training: Recipe,
    models: Iterable[ModelEntry],
    dataset: DatasetFacts | None,
    image_size: int | None = None,
) -> Iterator[Fault]:
    """What keeps the recipe at the place `here` from being done; a dataset that nobody knows is not looked at."""
    for entry in models:
        yield from _stage_faults(here, training, entry)
    if dataset and dataset.splits and not dataset.splits["val"]:
        for field, chosen in (("early_stopping", training.early_stopping), ("schedule", training.plateau_patience)):
            if chosen:
                yield Fault(pointer=pointer([*here, field]), message="the val split has no images to go by")
    crop = Augmentation.of(training.augmentation).crop
    if crop and crop.padding and image_size and crop.padding > image_size // 2:
        yield Fault(
            pointer=pointer([*here, "augmentation", "crop", "padding"]),
            message=f"images have {image_size} px: of some, less than a quarter would be left",
            value=crop.padding,
            allowed=[f"1 .. {image_size // 2}"],
            nearest=str(image_size // 2),
        )
    weights, classes = training.class_weights, dataset.classes if dataset else None
    if isinstance(weights, list) and classes is not None and len(weights) != classes:
        yield Fault(
            pointer=pointer([*here, "class_weights"]),
            message=f"the dataset has {classes} classes",
            value=len(weights),
            allowed=["balanced", f"{classes} numbers"],
        )


def _stage_faults(here: list[str], training: Recipe, entry: ModelEntry) -> Iterator[Fault]:
    if "transfuse" not in entry.inits:
        for field in ("freeze", "layer_decay"):
            if value := getattr(training, field):
                message = f"{field!r} does not fit {entry.name} ({NO_STAGES})"
                yield Fault(pointer=pointer([*here, field]), message=message, value=value)
    elif training.freeze not in (None, EVERY_STAGE, *entry.stage_names):
        allowed = [*entry.stage_names, EVERY_STAGE]
        yield Fault(
            pointer=pointer([*here, "freeze"]),
            message=f"{entry.name} has no stage {training.freeze!r}; its stages are {', '.join(entry.stage_names)}",
            value=training.freeze,
            allowed=list(allowed),
            nearest=nearest(training.freeze, allowed),
        )
