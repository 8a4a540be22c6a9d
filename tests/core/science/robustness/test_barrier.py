"""Lines between networks of which it is known what lies between them."""

from dataclasses import replace

import pytest
import torch

from transfusion_core.errors import DataError
from transfusion_core.science.robustness.barrier import End, between, crossed, settle, walk
from transfusion_core.specs.robustness import LinePoint


def end(model, data) -> End:
    return End({name: tensor.clone() for name, tensor in model.state_dict().items()}, data.mean, data.std)


def line(a, b, data, cpu, make_staged, points=7):
    return list(walk(make_staged(9), (end(a, data), end(b, data)), data, points=points, task="multiclass", device=cpu))


def test_between_a_run_and_itself_there_is_no_barrier(make_staged, bright, taught, cpu):
    model = taught(make_staged(), bright, steps=5)
    points = line(model, model, bright, cpu, make_staged)
    assert [point.at for point in points] == pytest.approx([place / 6 for place in range(7)])
    found = crossed(points)
    assert (found.loss.value, found.auroc.value) == (0, 0)


def swapped(model):
    """The same function by other weights: the neurons of stage 1 and 2 in another order."""
    twin = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    order = torch.arange(7, -1, -1)
    for stage in ("stage1", "stage2"):
        for name in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"):
            twin[f"{stage}.{name}"] = twin[f"{stage}.{name}"][order]
    for stage in ("stage2", "stage3"):
        twin[f"{stage}.conv.weight"] = twin[f"{stage}.conv.weight"][:, order]
    return twin


def test_between_equal_functions_of_swapped_neurons_there_is_one(make_staged, bright, taught, cpu):
    # Stripes, not brightness: it takes more than one neuron to tell them.
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 2
    images = torch.randint(0, 120, (300, 3, 8, 8), generator=draw)
    images[:, :, ::2] += (labels * 60)[:, None, None, None]
    images[:, :, 1::2] += ((1 - labels) * 60)[:, None, None, None]
    data = replace(
        bright, images=images.to(torch.uint8), labels=labels, train=torch.arange(200), test=torch.arange(200, 300)
    )
    model = taught(make_staged(), data, steps=60)
    twin = make_staged()
    twin.load_state_dict(swapped(model))
    points = line(model, twin, data, cpu, make_staged)
    assert points[0].loss == pytest.approx(points[-1].loss, abs=1e-4)
    assert crossed(points).loss.value > 0.05


def test_the_ends_are_the_networks_with_settled_statistics(make_staged, bright, cpu):
    a, b = make_staged(0), make_staged(1)
    points = line(a, b, bright, cpu, make_staged, points=3)
    alone = [line(model, model, bright, cpu, make_staged, points=2)[0] for model in (a, b)]
    assert [points[0].loss, points[-1].loss] == [alone[0].loss, alone[1].loss]


def test_a_barrier_is_the_most_by_which_the_line_is_worse_than_its_ends():
    values = [(0.0, 1.0, 0.9), (0.5, 3.0, 0.6), (1.0, 2.0, 0.8)]
    found = crossed([LinePoint(at=at, loss=loss, auroc=auroc) for at, loss, auroc in values])
    assert found.loss.value == pytest.approx(1.5)
    assert found.auroc.value == pytest.approx(0.25)
    assert len(found.points) == 3


def test_a_line_that_is_better_than_its_ends_has_no_barrier():
    found = crossed([LinePoint(at=at, loss=loss, auroc=0.9) for at, loss in ((0, 1.0), (0.5, 0.2), (1, 1.0))])
    assert (found.loss.value, found.auroc.value) == (0, 0)


def test_a_point_without_a_number_is_told_with_its_reason():
    points = [LinePoint(at=0, loss=1.0), LinePoint(at=0.5, reason="scores not finite"), LinePoint(at=1, loss=1.0)]
    found = crossed(points)
    assert (found.loss.value, found.loss.reason) == (None, "no loss at 0.50 of the way: scores not finite")
    assert found.auroc.reason == "no auroc at 0.00 of the way: no labels"


def test_normalisation_goes_along_with_the_weights(make_staged, bright, cpu):
    a, b = make_staged(0), make_staged(1)
    other = replace(bright, mean=torch.full((3,), 0.2), std=torch.full((3,), 0.4))
    ends = End(a.state_dict(), bright.mean, bright.std), End(b.state_dict(), other.mean, other.std)
    points = list(walk(make_staged(9), ends, bright, points=2, task="multiclass", device=cpu))
    assert points[1].loss == line(b, b, other, cpu, make_staged, points=2)[0].loss


def test_weights_are_mixed_and_counts_are_not():
    a, b = {"w": torch.zeros(2), "n": torch.tensor(3)}, {"w": torch.ones(2), "n": torch.tensor(9)}
    mixed = between(a, b, at=0.25)
    assert (mixed["w"].tolist(), mixed["n"].item()) == ([0.25, 0.25], 3)
    assert between(a, b, at=1.0)["w"].equal(b["w"])


def test_networks_of_other_shapes_have_no_line():
    with pytest.raises(DataError, match=r"got \(2,\) and \(3,\) for 'w'"):
        between({"w": torch.zeros(2)}, {"w": torch.zeros(3)}, at=0.5)
    with pytest.raises(DataError, match=r"got none and \(3,\) for 'w'"):
        between({}, {"w": torch.zeros(3)}, at=0.5)


def test_settled_statistics_are_those_of_the_train_images_and_nothing_else_changes(make_staged, bright, cpu):
    model = make_staged().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    settle(model, bright, device=cpu)
    pixels = (bright.images[bright.train].float() / 255 - 0.5) / 0.25
    with torch.no_grad():
        seen = model.stage1.conv(pixels)
    assert torch.allclose(model.stage1.bn.running_mean, seen.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(model.stage1.bn.running_var, seen.var((0, 2, 3)), rtol=1e-4)
    assert model.stage1.bn.momentum == 0.1
    assert not any(module.training for module in model.modules())
    for name, tensor in model.state_dict().items():
        assert tensor.equal(before[name]) or "running" in name or "tracked" in name


def test_one_image_has_no_variance_and_a_network_without_batch_norm_needs_none(make_staged, bright, cpu):
    one = replace(bright, train=torch.arange(1))
    with pytest.raises(DataError, match="at least 2 train images"):
        settle(make_staged(), one, device=cpu)
    settle(torch.nn.Linear(2, 2), one, device=cpu)
