"""What a dataset is like: counts, patients, images that are there twice or in two splits, samples of each class."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from transfusion_core.errors import DataError
from transfusion_core.science.data.ahead import ahead
from transfusion_core.science.data.annotations import Annotations
from transfusion_core.science.data.data_url import data_url
from transfusion_core.science.data.decoders import Decoders
from transfusion_core.science.data.duplicates import Fingerprint, exact_groups, fingerprint, near_groups
from transfusion_core.science.data.images import UnreadableImage, image_of
from transfusion_core.science.data.intensities import intensities, shares
from transfusion_core.science.data.pack import Kept, pixels_in
from transfusion_core.science.data.resizing import squared
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


def profile(
    rows: Annotations, images: Iterable[Kept], found: IngestResult, *, threads: int, progress: Progress
) -> DatasetProfile:
    """Look at every image of a pack, once, in the pack's order; `found` is what its ingest says of it."""
    drawn = _drawn(rows)
    looks = _looks(rows, images, {row for each in drawn for row in each.rows}, threads, progress)
    prints = [look.fingerprint for look in looks.of_rows]
    groups: dict[Literal["exact", "near", "patient"], list[list[int]]] = {
        "exact": exact_groups(prints),
        "near": near_groups(prints, on_block=lambda done, blocks: progress("compare", done, blocks)),
        "patient": _patients_across(rows),
    }
    labels, splits = labels_of(rows), [SPLITS[code] for code in rows.split.tolist()]

    def across(group: list[int]) -> bool:
        return len({splits[place] for place in group}) > 1

    def told(kind: Literal["exact", "near", "patient"], group: list[int]) -> ImageGroup:
        places = group[:MOST_FILES]
        parts = {"files": rows.names, "splits": splits, "labels": labels}
        return ImageGroup(kind=kind, **{name: [part[place] for place in places] for name, part in parts.items()})

    listed = [(kind, group) for kind, several in groups.items() for group in several]
    listed.sort(key=lambda each: not across(each[1]))
    leaks = [each for each in listed if across(each[1])]
    return DatasetProfile(
        digest=found.digest,
        task=rows.task,
        classes=rows.classes,
        splits=found.splits,
        counts=found.class_counts,
        resolutions=found.resolutions,
        intensities=intensities(looks.mean_shares, channels=found.channels),
        missing=_missing(rows),
        patients=_patients(rows),
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
        samples=[
            ClassSamples(
                label=each.label,
                files=[rows.names[row] for row in each.rows],
                picture=_side_by_side([looks.of_rows[row].tile for row in each.rows]),
            )
            for each in drawn
        ],
    )


def labels_of(rows: Annotations) -> list[str]:
    """The label of each image in words; of a multilabel dataset the present ones, joined by a comma."""
    if rows.labels.ndim == 1:
        return [rows.classes[label] for label in rows.labels.tolist()]
    present = (rows.labels == 1).tolist()
    return [", ".join(name for name, has in zip(rows.classes, row, strict=True) if has) or NONE for row in present]


@dataclass(frozen=True)
class _Look:
    """What is kept of an image."""

    fingerprint: Fingerprint
    tile: NDArray[np.uint8] | None
    """Of a sample, (c, side, side)."""


@dataclass(frozen=True)
class _Looks:
    """A look at each image, in the order of the rows, and the mean of their `shares`."""

    of_rows: list[_Look]
    mean_shares: NDArray[np.float64]


def _looks(rows: Annotations, images: Iterable[Kept], shown: set[int], threads: int, progress: Progress) -> _Looks:
    row_of = torch.argsort(rows.places).tolist()
    found: list[_Look] = []
    total = np.zeros((3, 256))
    with Decoders() as decoders:

        def look(each: tuple[int, Kept]) -> tuple[_Look, NDArray[np.float64]]:
            row, image = each
            try:
                pixels = pixels_in(image, decoders)
            except UnreadableImage as error:
                raise DataError(f"{rows.names[row]}: {error}") from error
            tile = squared(pixels, SAMPLE_SIDE) if row in shown else None
            whole = image_of(pixels).convert("RGB")
            return _Look(fingerprint(whole), tile), shares(whole)

        for one, part in ahead(look, zip(row_of, images, strict=True), threads=threads):
            found.append(one)
            total += part
            if len(found) % _EVERY == 0 or len(found) == len(rows):
                progress("look", len(found), len(rows))
    return _Looks([found[place] for place in rows.places.tolist()], total / len(rows))


def _missing(rows: Annotations) -> dict[str, dict[str, int]]:
    if rows.labels.ndim == 1:
        return {}
    absent = rows.labels.isnan()
    return {
        split: dict(zip(rows.classes, absent[rows.indices(split)].sum(0).tolist(), strict=True)) for split in SPLITS
    }


def _patients_across(rows: Annotations) -> list[list[int]]:
    """Images of each patient who is in more than one split."""
    if rows.patients is None:
        return []
    images: dict[int, list[int]] = defaultdict(list)
    for row, patient in enumerate(rows.patients.tolist()):
        images[patient].append(row)
    return [group for group in images.values() if len(set(rows.split[group].tolist())) > 1]


def _patients(rows: Annotations) -> Patients | None:
    if rows.patients is None:
        return None
    splits = {name: len(set(rows.patients[rows.indices(name)].tolist())) for name in SPLITS}
    return Patients(total=len(set(rows.patients.tolist())), splits=splits)


@dataclass(frozen=True)
class _Drawn:
    """Samples of one class."""

    label: str
    rows: list[int]


def _drawn(rows: Annotations) -> list[_Drawn]:
    """A few train images of each class, drawn at random but alike every time."""
    train, found = rows.indices("train"), []
    for number, name in enumerate(rows.classes[:MOST_CLASSES]):
        labels = rows.labels[train]
        places = train[labels == number if labels.ndim == 1 else labels[:, number] == 1]
        drawn = places[torch.randperm(len(places), generator=generator(0, "samples", name))][:SAMPLES_PER_CLASS]
        if len(drawn):
            found.append(_Drawn(name, drawn.tolist()))
    return found


def _side_by_side(tiles: list[NDArray[np.uint8] | None]) -> str:
    shown = [tile.repeat(3 // tile.shape[2], axis=2) for tile in tiles if tile is not None]
    return data_url(image_of(np.ascontiguousarray(np.concatenate(shown, axis=1))), "jpeg")
