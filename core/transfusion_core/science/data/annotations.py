"""All that a dataset says of its images: labels, split, names, patients, and where in the pack each image lies.

Patients are in it as numbers alone, so that intervals can be over patients; their names are dropped. File names are
kept, for the dataset's profile.
"""

import json
from dataclasses import dataclass
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from transfusion_core.errors import DataError
from transfusion_core.science.data.samples import SPLITS
from transfusion_core.specs.dataset import Split, Task

VERSION = 2


@dataclass(frozen=True)
class Annotations:
    """One row per image, in the order of the images' content."""

    labels: Tensor
    """int64 (n,) class or grade; float32 (n, l) for a multilabel task, NaN where missing."""
    split: Tensor
    """uint8 (n,): 0 train, 1 val, 2 test."""
    names: list[str]
    """File names, or `split/position` for arrays, (n,)."""
    task: Task
    classes: list[str]
    places: Tensor
    """int64 (n,): which image of the pack, and of its pixels, a row is of."""
    patients: Tensor | None = None
    """int64 (n,): whose image each is, counted from 0; None where patients are not known."""

    def __len__(self) -> int:
        return len(self.split)

    def indices(self, split: Split) -> Tensor:
        """The rows of a split's images, ascending, int64."""
        return torch.nonzero(self.split == SPLITS.index(split)).flatten()

    def write(self) -> bytes:
        """These annotations as a safetensors file."""
        names = torch.frombuffer(bytearray(json.dumps(self.names).encode()), dtype=torch.uint8)
        tensors = {"labels": self.labels, "split": self.split, "places": self.places, "names": names}
        if self.patients is not None:
            tensors["patients"] = self.patients
        # One entry: of several the library shuffles the order.
        about = {"about": json.dumps({"version": VERSION, "task": self.task, "classes": self.classes})}
        return save({name: tensor.contiguous() for name, tensor in tensors.items()}, about)

    @classmethod
    def read(cls, data: bytes) -> "Annotations":
        """Annotations from such a file. Raises DataError for anything else."""
        try:
            tensors = load(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            about = json.loads(header["__metadata__"]["about"])
        except (SafetensorError, LookupError, ValueError) as error:
            raise DataError(f"these are no readable annotations of a dataset: {error}") from error
        if about.get("version") != VERSION:
            raise DataError(f"expected annotations of version {VERSION}, found {about.get('version')}")
        return cls(
            labels=tensors["labels"],
            split=tensors["split"],
            names=json.loads(tensors["names"].numpy().tobytes()),
            task=cast(Task, about["task"]),
            classes=about["classes"],
            places=tensors["places"],
            patients=tensors.get("patients"),
        )
