from dataclasses import replace

import pytest
import torch
from torch import nn

from transfusion_core.errors import DataError
from transfusion_core.science.training.batches import check_data, normalise, to_device


def test_normalised_pixels_are_the_formula() -> None:
    images = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    mean, std = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.2, 0.3, 0.4])
    found = normalise(images, mean=mean, std=std)
    expected = (images / 255 - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(found, expected)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_normalising_rounds_as_two_plain_steps_do(dtype: torch.dtype) -> None:
    images = torch.randint(0, 256, (3, 3, 7, 9), dtype=torch.uint8).to(dtype)
    mean, std = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.2, 0.3, 0.4])
    before = images.clone()
    scale, shift = (1 / (255 * std.double())).float(), (-mean.double() / std.double()).float()
    expected = images.float() * scale[:, None, None] + shift[:, None, None]
    assert torch.equal(normalise(images, mean=mean, std=std), expected)
    assert torch.equal(images, before)


def test_a_grey_image_stands_in_all_three_channels() -> None:
    grey = torch.randint(0, 256, (2, 1, 4, 5), dtype=torch.uint8)
    moments = {"mean": torch.tensor([0.1, 0.5, 0.9]), "std": torch.tensor([0.2, 0.3, 0.4])}
    assert torch.equal(normalise(grey, **moments), normalise(grey.expand(-1, 3, -1, -1), **moments))


def test_moving_a_model_changes_no_value_and_no_parameter_object() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    before, held = {k: v.clone() for k, v in model.state_dict().items()}, list(model.parameters())
    to_device(model, torch.device("cpu"))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(a is b for a, b in zip(held, model.parameters(), strict=True))
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("task", ["multiclass", "ordinal", "multilabel"])
def test_good_data_pass(make_data, task: str) -> None:
    check_data(make_data(task, 3), task)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(80, 3, 8, 8)}, r"images uint8 \(n, 3 or 1, h, w\), got torch.float32 \(80, 3, 8, 8\)"),
        ({"images": torch.zeros(80, 2, 8, 8, dtype=torch.uint8)}, r"got torch.uint8 \(80, 2, 8, 8\)"),
        ({"labels": torch.zeros(79)}, r"labels of shape \(80,\) for a multiclass task, got \(79,\)"),
        ({"train": torch.empty(0, dtype=torch.int64)}, "at least one image to train on"),
        ({"std": torch.tensor([0.5, 0.0, 0.5])}, r"pixels that differ in every channel, got .* \[0.5, 0.0, 0.5\]"),
        ({"val": torch.tensor([3, 80])}, r"rows 0..79 in the val split, got 3..80"),
        ({"test": torch.tensor([-1])}, r"rows 0..79 in the test split, got -1..-1"),
        ({"labels": torch.full((80,), 2)}, r"labels 0..1 in the train split, got 2..2"),
    ],
)
def test_data_that_do_not_fit_are_named(make_data, change: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_data(replace(make_data(), **change), "multiclass")


def test_a_multilabel_label_is_zero_one_or_missing(make_data) -> None:
    data = make_data("multilabel")
    data.labels[0] = torch.tensor([float("nan"), 1])
    check_data(data, "multilabel")
    data.labels[1, 0] = 0.5
    with pytest.raises(DataError, match="0, 1 or NaN as labels in the train split"):
        check_data(data, "multilabel")


def test_labels_outside_the_splits_are_nobodys_business(make_data) -> None:
    data = make_data()
    data.labels[0] = -1
    check_data(replace(data, train=data.train[1:]), "multiclass")
