"""Kind `pixels`: all images of a dataset at one size, once for all jobs that look at them."""

from collections.abc import Iterator
from typing import Any

from transfusion_core.errors import JobCancelled
from transfusion_core.faultpoints import faultpoint
from transfusion_core.science.data.ahead import ahead
from transfusion_core.science.data.pack import Kept, images_in
from transfusion_core.science.data.pixels import PixelsWriter, squares
from transfusion_core.specs.dataset import IngestResult
from transfusion_core.specs.pixels import PixelsJob
from transfusion_worker.context import JobContext


def run(context: JobContext) -> dict[str, Any]:
    """Pixels. Where the ingest made them as it opened the files, they are those."""
    job = PixelsJob.read(context.spec)
    found = IngestResult.model_validate(context.need(job.dataset).result)
    for made in found.pixels:
        if made.size == job.image_size:
            return made.model_dump(mode="json")
    with context.keeping() as keep, PixelsWriter(job.image_size, keep) as writer:
        images = pack_images(context, found)
        for done, square in enumerate(squares(images, size=job.image_size, threads=context.threads), start=1):
            faultpoint("step")
            writer.add_image(square)
            context.progress("resize", step=done, steps=found.images)
            if context.should_stop():
                raise JobCancelled
        return writer.pixels().model_dump(mode="json")


def pack_images(context: JobContext, found: IngestResult) -> Iterator[Kept]:
    """The images of a dataset in the order of its pack; a few of its pieces are in memory at a time."""
    for images in ahead(lambda piece: images_in(context.store.get_bytes(piece)), found.pack, threads=1):
        yield from images
