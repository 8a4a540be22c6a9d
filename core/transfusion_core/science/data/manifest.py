"""Writes a version's manifest; what it is, and how it is read: `specs.manifest`."""

import csv
import io
import math
from collections.abc import Sequence

import numpy as np

from transfusion_core.science.data.annotations import Annotations
from transfusion_core.science.data.samples import SPLITS
from transfusion_core.specs.cells import inert
from transfusion_core.specs.manifest import header


def manifest_of(
    rows: Annotations,
    *,
    hashes: Sequence[bytes],
    sizes: Sequence[tuple[int, int]],
    patients: Sequence[str] | None,
) -> bytes:
    """A line per image, sorted by sha256; `patients` are what stands for them, sizes (width, height)."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header(rows.task, rows.classes))
    for row in sorted(range(len(rows)), key=hashes.__getitem__):
        table.writerow(
            [
                inert(rows.names[row]),
                hashes[row].hex(),
                *_labels(rows, row),
                SPLITS[int(rows.split[row])],
                patients[row] if patients else "",
                *sizes[row],
            ]
        )
    return text.getvalue().encode()


def _labels(rows: Annotations, row: int) -> list[str]:
    if rows.labels.ndim == 1:
        return [inert(rows.classes[int(rows.labels[row])])]
    return ["" if math.isnan(value) else str(int(value)) for value in np.asarray(rows.labels[row]).tolist()]
