"""The dataset of a job: its pack, its pixels at the job's size, as the training and the probe read them."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from transfusion_core.science.data.pack import Pack, resized
from transfusion_core.specs.dataset import IngestResult
from transfusion_worker.context import JobContext


@dataclass(frozen=True)
class LoadedDataset:
    """A dataset's pack and all its images at one size."""

    found: IngestResult
    pack: Pack
    images: Tensor
    """uint8 (n, 3, h, w), mapped into memory."""

    @cached_property
    def classes(self) -> int:
        """How many outputs a network for it has."""
        return len(self.pack.classes)


def load_dataset(context: JobContext, key: str, *, image_size: int) -> LoadedDataset:
    """The dataset behind an ingest job's key, at one size."""
    context.progress("fetch")
    found = IngestResult.model_validate(context.need(key).result)
    pack = Pack.read(context.fetch(found.pack))
    images = resized(pack, digest=found.digest, size=image_size, cache_dir=context.settings.cache_dir / "pixels")
    return LoadedDataset(found, pack, images)
