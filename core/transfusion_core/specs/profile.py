"""What a dataset is like before anything is trained on it: the job `profile`, and what it finds."""

from typing import Literal

from transfusion_core.specs.base import Key, Record, Spec
from transfusion_core.specs.dataset import Task
from transfusion_core.specs.job import JobDraft

SAMPLES_PER_CLASS = 6
SAMPLE_SIDE = 64
"""Pixels of a sample."""
MOST_CLASSES = 24
"""So many classes at most are shown by samples."""
MOST_GROUPS = 1000
"""So many groups at most are listed; all are counted."""
MOST_FILES = 50
"""So many files of a group at most are listed."""


INTENSITY_BINS = 32


class ProfileJob(Spec):
    """A look at a dataset; free of names."""

    dataset: Key
    """Key of the ingest job."""


class ImageGroup(Record):
    """Images that are the same, or of the same patient. The lists are parallel."""

    files: list[str]
    splits: list[str]
    labels: list[str]
    kind: Literal["exact", "near", "patient"]
    """`exact`: every pixel is the same; `near`: one picture saved, resized or lit in several ways."""


class GroupCount(Record):
    """How often a kind of group was found."""

    kind: Literal["exact", "near", "patient"]
    groups: int
    files: int
    across_splits: int
    """Of the groups, those with images in more than one split."""
    across_labels: int
    """Of the groups, those whose images are not labelled alike."""


class Patients(Record):
    """Whose images these are."""

    total: int
    splits: dict[str, int]
    """Patients with images in each split."""


class Intensity(Record):
    """How bright a channel is, every image counting alike; values in [0, 1]."""

    channel: Literal["grey", "red", "green", "blue"]
    mean: float
    std: float
    histogram: list[float]
    """Shares of pixels in `INTENSITY_BINS` bins of one width."""


class ClassSamples(Record):
    """A few images of one class."""

    label: str
    files: list[str]
    picture: str
    """The images side by side, as the data URL of a JPEG."""


class DatasetProfile(Record):
    """What a dataset is like."""

    digest: str
    """Of the dataset."""
    task: Task
    classes: list[str]
    splits: dict[str, int]
    """Images in each split."""
    counts: dict[str, dict[str, int]]
    """Split to class to number of images; for multilabel the positives."""
    resolutions: dict[str, int]
    """`WIDTHxHEIGHT` to number of images, the most frequent first, ten at most."""
    intensities: list[Intensity]
    """One of grey images, else three."""
    missing: dict[str, dict[str, int]]
    """Split to label to images that do not say whether they have it; empty unless the task is multilabel."""
    patients: Patients | None
    """None where patients are not known."""
    found: list[GroupCount]
    """How many groups there are of each kind."""
    duplicates: list[ImageGroup]
    """Images that are there more than once, those across splits first."""
    leaks: list[ImageGroup]
    """Duplicates across splits, and patients with images in more than one."""
    samples: list[ClassSamples]


def profile_draft(ingest: str) -> JobDraft:
    """The look at the dataset that the ingest of this key makes."""
    return JobDraft.make("profile", ProfileJob(dataset=ingest).model_dump(mode="json"), needs=(ingest,))
