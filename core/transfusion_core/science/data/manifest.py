"""Writes a version's manifest; what it is, and how it is read: `specs.manifest`."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from transfusion_core.science.data.pack import Pack
from transfusion_core.science.data.samples import SPLITS
from transfusion_core.specs.cells import inert
from transfusion_core.specs.manifest import header


def write_manifest(
    path: Path,
    pack: Pack,
    *,
    hashes: Sequence[bytes],
    sizes: Sequence[tuple[int, int]],
    patients: Sequence[str] | None,
) -> None:
    """A row per image of the pack, sorted by sha256; `patients` are what stands for them, sizes (width, height)."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header(pack.task, pack.classes))
        for row in sorted(range(len(pack)), key=hashes.__getitem__):
            table.writerow(
                [
                    inert(pack.names[row]),
                    hashes[row].hex(),
                    *_labels(pack, row),
                    SPLITS[int(pack.split[row])],
                    patients[row] if patients else "",
                    *sizes[row],
                ]
            )


def _labels(pack: Pack, row: int) -> list[str]:
    if pack.labels.ndim == 1:
        return [inert(pack.classes[int(pack.labels[row])])]
    return ["" if math.isnan(value) else str(int(value)) for value in np.asarray(pack.labels[row]).tolist()]
