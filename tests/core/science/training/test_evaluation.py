from dataclasses import replace

import pytest
import torch
from torch import nn

from transfusion_core.science.training.batches import normalise
from transfusion_core.science.training.evaluation import batch_images, evaluate, predict


def test_predictions_are_the_model_in_eval_mode_row_by_row(make_data, make_model, cpu) -> None:
    data, model = make_data(), make_model()
    rows = torch.tensor([5, 3, 70])
    found = predict(model.train(), data, rows=rows, device=cpu)
    assert model.training
    images = normalise(data.images[rows], mean=data.mean, std=data.std)
    torch.testing.assert_close(found, model.eval()(images).detach())


def test_evaluating_leaves_the_weights_and_buffers_alone(make_data, make_model, cpu) -> None:
    data, model = make_data(), make_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model, data, task="multiclass", split="val", device=cpu)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_an_empty_split_is_no_labels_not_an_error(make_data, make_model, cpu) -> None:
    data = replace(make_data(), val=torch.empty(0, dtype=torch.int64))
    metrics = evaluate(make_model(), data, task="multiclass", split="val", device=cpu)
    assert (metrics.auroc, metrics.loss) == (None, None)


def test_a_model_of_other_classes_is_named_and_its_mode_restored(make_data, make_model, cpu) -> None:
    model = make_model(classes=3).train()
    with pytest.raises(ValueError, match=r"logits of shape \(20, 2\) of the model, got \(20, 3\)"):
        evaluate(model, make_data(), task="multiclass", split="val", device=cpu)
    assert model.training


@pytest.mark.parametrize(
    ("device", "side", "expected"),
    [("cuda", 64, 256), ("cuda", 128, 256), ("cuda", 256, 64), ("cuda", 4000, 1), ("cpu", 64, 32), ("cpu", 512, 16)],
)
def test_large_images_come_in_smaller_batches(device: str, side: int, expected: int) -> None:
    images = torch.empty(2, 3, side, side, dtype=torch.uint8, device="meta")
    assert batch_images(images, torch.device(device)) == expected


def test_batches_join_in_order(make_data, cpu) -> None:
    data = make_data()
    big = replace(data, images=data.images.repeat_interleave(32, 2).repeat_interleave(32, 3))
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    rows = torch.arange(79, -1, -1)
    together = predict(model, data, rows=rows, device=cpu)
    torch.testing.assert_close(predict(model, big, rows=rows, device=cpu), together, rtol=1e-4, atol=1e-4)
