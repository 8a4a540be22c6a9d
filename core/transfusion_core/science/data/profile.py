"""What a dataset is like: counts, patients, images that are there twice or in two splits, samples of each class."""

import os
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from transfusion_core.science.data.data_url import data_url
from transfusion_core.science.data.decoders import Decoders
from transfusion_core.science.data.duplicates import Fingerprint, exact_groups, fingerprint, near_groups
from transfusion_core.science.data.images import square
from transfusion_core.science.data.intensities import intensities, shares
from transfusion_core.science.data.pack import Pack
from transfusion_core.science.data.samples import SPLITS
from transfusion_core.science.seeds import generator
from transfusion_core.specs.dataset import IngestResult
from transfusion_core.specs.profile import (
    MOST_CLASSES,
    MOST_FILES,
    MOST_GROUPS,
    SAMPLE_SIDE,
    SAMPLES_PER_CLASS,
    ClassSamples,
    DatasetProfile,
    GroupCount,
    ImageGroup,
    Patients,
)

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is, and of how much."""
NONE = "none"
"""The label of an image of a multilabel dataset that has none of them."""
_EVERY = 50


def profile(pack: Pack, found: IngestResult, *, progress: Progress) -> DatasetProfile:
    """Look at every image of a pack; `found` is what its ingest says of it."""
    with Decoders() as decoders:
        (prints, mean_shares), samples = _looks(pack, decoders, progress), _samples(pack, decoders)
    groups: dict[Literal["exact", "near", "patient"], list[list[int]]] = {
        "exact": exact_groups(prints),
        "near": near_groups(prints, on_block=lambda done, blocks: progress("compare", done, blocks)),
        "patient": _patients_across(pack),
    }
    labels, splits = labels_of(pack), [SPLITS[code] for code in pack.split.tolist()]

    def across(group: list[int]) -> bool:
        return len({splits[place] for place in group}) > 1

    def told(kind: Literal["exact", "near", "patient"], group: list[int]) -> ImageGroup:
        places = group[:MOST_FILES]
        parts = {"files": pack.names, "splits": splits, "labels": labels}
        return ImageGroup(kind=kind, **{name: [part[place] for place in places] for name, part in parts.items()})

    listed = [(kind, group) for kind, several in groups.items() for group in several]
    listed.sort(key=lambda each: not across(each[1]))
    leaks = [each for each in listed if across(each[1])]
    return DatasetProfile(
        digest=found.digest,
        task=pack.task,
        classes=pack.classes,
        splits=found.splits,
        counts=found.class_counts,
        resolutions=found.resolutions,
        intensities=intensities(mean_shares, channels=pack.channels),
        missing=_missing(pack),
        patients=_patients(pack),
        found=[
            GroupCount(
                kind=kind,
                groups=len(several),
                files=sum(map(len, several)),
                across_splits=sum(map(across, several)),
                across_labels=sum(len({labels[place] for place in group}) > 1 for group in several),
            )
            for kind, several in groups.items()
        ],
        duplicates=[told(*each) for each in [each for each in listed if each[0] != "patient"][:MOST_GROUPS]],
        leaks=[told(*each) for each in leaks[:MOST_GROUPS]],
        samples=samples,
    )


def labels_of(pack: Pack) -> list[str]:
    """The label of each image in words; of a multilabel dataset the present ones, joined by a comma."""
    if pack.labels.ndim == 1:
        return [pack.classes[label] for label in pack.labels.tolist()]
    present = (pack.labels == 1).tolist()
    return [", ".join(name for name, has in zip(pack.classes, row, strict=True) if has) or NONE for row in present]


def _looks(pack: Pack, decoders: Decoders, progress: Progress) -> tuple[list[Fingerprint], NDArray[np.float64]]:
    """The fingerprint of each image, and the mean of their `shares`."""

    def look(place: int) -> tuple[Fingerprint, NDArray[np.float64]]:
        image = pack.image(place, decoders)
        return fingerprint(image), shares(image)

    prints: list[Fingerprint] = []
    total = np.zeros((3, 256))
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:  # Pillow lets other threads run
        for one, part in pool.map(look, range(len(pack))):
            prints.append(one)
            total += part
            if len(prints) % _EVERY == 0 or len(prints) == len(pack):
                progress("look", len(prints), len(pack))
    return prints, total / len(pack)


def _missing(pack: Pack) -> dict[str, dict[str, int]]:
    if pack.labels.ndim == 1:
        return {}
    absent = pack.labels.isnan()
    return {
        split: dict(zip(pack.classes, absent[pack.indices(split)].sum(0).tolist(), strict=True)) for split in SPLITS
    }


def _patients_across(pack: Pack) -> list[list[int]]:
    """Images of each patient who is in more than one split."""
    if pack.patients is None:
        return []
    images: dict[int, list[int]] = defaultdict(list)
    for place, patient in enumerate(pack.patients.tolist()):
        images[patient].append(place)
    return [places for places in images.values() if len(set(pack.split[places].tolist())) > 1]


def _patients(pack: Pack) -> Patients | None:
    if pack.patients is None:
        return None
    splits = {name: len(set(pack.patients[pack.indices(name)].tolist())) for name in SPLITS}
    return Patients(total=len(set(pack.patients.tolist())), splits=splits)


def _samples(pack: Pack, decoders: Decoders) -> list[ClassSamples]:
    """A few train images of each class, drawn at random but alike every time."""
    train, found = pack.indices("train"), []
    for number, name in enumerate(pack.classes[:MOST_CLASSES]):
        labels = pack.labels[train]
        places = train[labels == number if labels.ndim == 1 else labels[:, number] == 1]
        drawn = places[torch.randperm(len(places), generator=generator(0, "samples", name))][:SAMPLES_PER_CLASS]
        if len(drawn):
            files = [pack.names[place] for place in drawn.tolist()]
            found.append(ClassSamples(label=name, files=files, picture=_side_by_side(pack, drawn, decoders)))
    return found


def _side_by_side(pack: Pack, places: Tensor, decoders: Decoders) -> str:
    tiles = [square(pack.image(place, decoders), SAMPLE_SIDE) for place in places.tolist()]
    return data_url(Image.fromarray(np.ascontiguousarray(np.concatenate(tiles, axis=2).transpose(1, 2, 0))), "jpeg")
