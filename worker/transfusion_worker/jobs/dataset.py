"""The dataset of a job: its annotations, and its pixels at the job's size, as the training and the probe read them."""

from dataclasses import dataclass
from functools import cached_property

from pydantic import ValidationError
from torch import Tensor

from transfusion_core.errors import DataError
from transfusion_core.science.data.annotations import Annotations
from transfusion_core.specs.dataset import IngestResult, Pixels
from transfusion_core.specs.pixels import PixelsJob
from transfusion_worker.assignment import Need
from transfusion_worker.context import JobContext
from transfusion_worker.pixels import fetch_pixels


@dataclass(frozen=True)
class LoadedDataset:
    """A dataset's annotations and all its images at one size."""

    found: IngestResult
    annotations: Annotations
    images: Tensor
    """uint8 (n, c, h, w), c 1 for grey images and else 3; mapped into memory."""

    @cached_property
    def classes(self) -> int:
        """How many outputs a network for it has."""
        return len(self.annotations.classes)


def load_dataset(context: JobContext, key: str, *, image_size: int) -> LoadedDataset:
    """The dataset behind an ingest job's key, at one size."""
    context.progress("fetch")
    found = IngestResult.model_validate(context.need(key).result)
    made = context.need_of("pixels", PixelsJob(dataset=key, image_size=image_size).model_dump(mode="json"))
    annotations = read_annotations(context, found)
    images = fetch_pixels(context.store, pixels_of(made), annotations.places, key=made.key, settings=context.settings)
    return LoadedDataset(found, annotations, images)


def pixels_of(made: Need) -> Pixels:
    """Where the pixels lie that a job made. Raises DataError where a version of this program made them that kept them
    in another way, whose bytes would pass for these.
    """
    try:
        return Pixels.model_validate(made.result)
    except ValidationError as error:
        told = f"pixels {made.id} were made by another version of Transfusion, which kept them in another way"
        raise DataError(f"{told}: fork the experiment, and they are made anew") from error


def read_annotations(context: JobContext, found: IngestResult) -> Annotations:
    """What an ingest found of its images."""
    return Annotations.read(context.fetch(found.annotations).read_bytes())
