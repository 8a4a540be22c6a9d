"""The job `pixels`: all images of a dataset at one size, made once for every job that looks at them."""

from transfusion_core.specs.base import Key, Spec
from transfusion_core.specs.job import JobDraft


class PixelsJob(Spec):
    """A dataset at one size; free of names."""

    dataset: Key
    """Key of the ingest job."""
    image_size: int


def pixels_draft(ingest: str, image_size: int, *, dataset: str | None = None) -> JobDraft:
    """The pixels at this size of what the ingest of this key finds; `dataset` is its name in an experiment."""
    job = PixelsJob(dataset=ingest, image_size=image_size)
    labels = {} if dataset is None else {"dataset": dataset}
    return JobDraft.make("pixels", job.model_dump(mode="json"), needs=(ingest,), labels=labels)
