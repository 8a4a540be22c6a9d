"""Annotations: what is written is what is read."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save

from transfusion_core.errors import DataError
from transfusion_core.science.data.annotations import Annotations

ROWS = Annotations(
    labels=torch.tensor([[0.0, float("nan")]] * 6),
    split=torch.tensor([0, 1, 2] * 2, dtype=torch.uint8),
    names=[f"ü/{number}" for number in range(6)],
    task="multilabel",
    classes=["x", "y"],
    places=torch.tensor([5, 4, 3, 2, 1, 0]),
)


def test_annotations_come_back_as_they_were() -> None:
    again = Annotations.read(ROWS.write())
    assert torch.equal(again.labels.isnan(), ROWS.labels.isnan())
    assert (again.names, again.task, again.classes) == (ROWS.names, ROWS.task, ROWS.classes)
    assert torch.equal(again.places, ROWS.places)
    assert again.patients is None


def test_patients_come_back() -> None:
    whose = torch.tensor([0, 0, 1, 2, 2, 2])
    patients = Annotations.read(replace(ROWS, patients=whose).write()).patients
    assert patients is not None
    assert torch.equal(patients, whose)


def test_indices_are_those_of_the_split() -> None:
    assert ROWS.indices("val").tolist() == [1, 4]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"text", "no readable annotations"),
        (b"", "no readable annotations"),
        (save({"x": torch.zeros(1)}), "no readable annotations"),
        (save({"x": torch.zeros(1)}, {"about": '{"version": 1}'}), "version 2, found 1"),
    ],
)
def test_what_is_none_is_refused(data: bytes, match: str) -> None:
    with pytest.raises(DataError, match=match):
        Annotations.read(data)
