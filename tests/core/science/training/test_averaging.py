import pytest
import torch
from torch import nn

from transfusion_core.errors import DataError
from transfusion_core.science.training.averaging import Average
from transfusion_core.science.training.hooks import Hooks
from transfusion_core.science.training.loop import train
from transfusion_core.specs.training import TrainingSpec

SPEC = TrainingSpec(steps=3, eval_every=1, batch_size=8, checkpoints=2, lr=0.05)


class Keeper(Hooks):
    """Keeps every checkpoint's weights by name."""

    def __init__(self) -> None:
        self.weights = {}

    def on_checkpoint(self, step, name, state_dict) -> None:
        self.weights[name] = {key: tensor.clone() for key, tensor in state_dict.items()}


def _trained(make_model, data, spec: TrainingSpec):
    keeper, model = Keeper(), make_model()
    result = train(model, data, spec, task="multiclass", seed=0, device=torch.device("cpu"), hooks=keeper)
    return keeper.weights, model.state_dict(), result


def test_three_updates_average_to_the_weighted_mean(make_model, make_data) -> None:
    plain, _, _ = _trained(make_model, make_data(), SPEC)
    averaged, final, _ = _trained(make_model, make_data(), SPEC.model_copy(update={"ema": 0.6}))
    w1, w2, w3 = plain["1"], plain["2"], plain["final"]
    for name in final:
        if not final[name].is_floating_point():
            assert final[name] == w3[name] == 3
            continue
        assert torch.equal(averaged["init"][name], plain["init"][name])
        assert torch.equal(averaged["1"][name], w1[name])
        torch.testing.assert_close(averaged["2"][name], (0.6 * w1[name] + w2[name]) / 1.6)
        expected = (0.36 * w1[name] + 0.6 * w2[name] + w3[name]) / 1.96
        torch.testing.assert_close(averaged["final"][name], expected)
        assert torch.equal(final[name], averaged["final"][name])


def test_evaluations_are_of_the_average_and_learning_is_not(make_model, make_data) -> None:
    data = make_data()
    _, _, plain = _trained(make_model, data, SPEC)
    weights, _, averaged = _trained(make_model, data, SPEC.model_copy(update={"ema": 0.9}))
    losses = {
        run: {series.split: series.values for series in result.series if series.name == "loss"}
        for run, result in (("plain", plain), ("averaged", averaged))
    }
    assert losses["averaged"]["train"] == losses["plain"]["train"]
    assert losses["averaged"]["val"][:2] == losses["plain"]["val"][:2]
    assert losses["averaged"]["val"][2:] != losses["plain"]["val"][2:]
    model = make_model()
    model.load_state_dict(weights["final"])
    again = train(
        model, data, SPEC.model_copy(update={"lr": 1e-30}), task="multiclass", seed=0, device=data.mean.device
    )
    assert again.series[1].values[0] == averaged.metrics["val"].loss


def test_what_never_moves_is_its_own_average() -> None:
    model = nn.Linear(3, 3)
    average = Average(model, decay=0.999)
    for step in range(1, 50):
        average.update(model, step=step)
    assert torch.equal(average.tensors["weight"], model.weight)


def test_in_use_the_average_is_the_model_and_afterwards_it_was_never_there() -> None:
    model = nn.Linear(2, 2)
    average = Average(model, decay=0.5)
    before = model.weight.detach().clone()
    average.restore({"weight": torch.zeros(2, 2), "bias": torch.ones(2)})
    seen = []

    def fail() -> None:
        with average.in_use(model):
            seen.append(model.weight.detach().clone())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(seen[0], torch.zeros(2, 2))
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize("tensors", [{}, {"weight": torch.zeros(3), "bias": torch.zeros(2)}])
def test_another_networks_average_is_refused(tensors) -> None:
    with pytest.raises(DataError, match="another average"):
        Average(nn.Linear(2, 2), decay=0.5).restore(tensors)
