import pytest
import torch
from torch import nn

from transfusion_core.science.models.build import build_random
from transfusion_core.science.models.prefix import StageUnknown
from transfusion_core.science.training.freezing import freeze, rates_by_depth
from transfusion_core.science.training.hooks import Hooks
from transfusion_core.science.training.loop import train
from transfusion_core.science.training.optimizers import build_optimizer
from transfusion_core.specs.training import TrainingSpec

SPEC = TrainingSpec(steps=4, eval_every=2, batch_size=8, weight_decay=0.1, clip_norm=1.0)


def _moved(model: nn.Module, data, spec: TrainingSpec) -> set[str]:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train(model, data, spec, task="multiclass", seed=0, device=data.mean.device)
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize(
    ("last", "prefixes"),
    [("stage1", ("stage2.", "head.")), ("stage2", ("head.",)), ("all", ("head.",))],
)
@pytest.mark.parametrize("more", [{}, {"ema": 0.5, "layer_decay": 0.5, "optimizer": "adamw"}])
def test_frozen_stages_stay_as_they_are_to_the_bit_and_all_else_learns(
    make_staged, make_data, last: str, prefixes, more
) -> None:
    model = make_staged()
    learning = {name for name in model.state_dict() if name.startswith(prefixes)}
    assert _moved(model, make_data(), SPEC.model_copy(update={"freeze": last, **more})) == learning
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        name for name in learning if name.rpartition(".")[2] in ("weight", "bias")
    }


def test_what_was_not_to_learn_anyway_stays_so(make_staged) -> None:
    model = make_staged()
    model.head.bias.requires_grad_(False)
    freeze(model, "stage1")
    assert not model.head.bias.requires_grad


def test_the_norms_of_frozen_stages_are_in_use_while_the_rest_trains(make_staged, make_data) -> None:
    model, modes = make_staged(), set()

    class Watching(Hooks):
        def on_progress(self, step: int, steps: int, images_per_second: float) -> None:
            modes.add((model.stage1[1].training, model.stage2[1].training, model.stage1[0].training))

    spec, device = SPEC.model_copy(update={"freeze": "stage1"}), torch.device("cpu")
    train(model, make_data(), spec, task="multiclass", seed=0, device=device, hooks=Watching())
    assert modes == {(False, True, True)}


def test_rates_fall_by_stages_from_the_head(make_staged) -> None:
    rates = rates_by_depth(make_staged(), 0.5)
    assert {rates["stage1.0.weight"], rates["stage1.1.running_mean"]} == {0.25}
    assert {rates["stage2.0.weight"], rates["stage2.1.bias"]} == {0.5}
    assert "head.weight" not in rates


def test_one_update_moves_each_stage_by_its_rate(make_staged, make_data) -> None:
    sgd = TrainingSpec(steps=1, batch_size=8, optimizer="sgd", momentum=0.0, lr=0.1)
    start, plain, layered = make_staged(), make_staged(), make_staged()
    _moved(plain, make_data(), sgd)
    _moved(layered, make_data(), sgd.model_copy(update={"layer_decay": 0.5}))
    for (name, p), q, r in zip(start.named_parameters(), plain.parameters(), layered.parameters(), strict=True):
        rate = {"stage1": 0.25, "stage2": 0.5, "head": 1.0}[name.split(".")[0]]
        torch.testing.assert_close(r - p, (q - p) * rate, rtol=1e-3, atol=1e-7)


def test_a_real_networks_stages_are_the_catalogues() -> None:
    model = build_random("resnet18", classes=2, image_size=32, seed=0)
    spec = TrainingSpec(layer_decay=0.5, freeze="layer1")
    assert len(freeze(model, "layer1")) == 5  # of the stem and of two blocks of two
    scales = [group["lr_scale"] for group in build_optimizer(model, spec).param_groups]
    assert scales == [0.125, 0.25, 0.5, 1.0]
    assert {name.split(".")[0] for name, p in model.named_parameters() if not p.requires_grad} == {
        "conv1",
        "bn1",
        "layer1",
    }


def test_stages_that_are_not_there_are_named(make_staged, make_model) -> None:
    with pytest.raises(StageUnknown, match="expected a stage among stage1, stage2, got 'stage9'"):
        freeze(make_staged(), "stage9")
    with pytest.raises(StageUnknown):
        freeze(make_model(), "all")
    with pytest.raises(StageUnknown, match="named stages for 'layer_decay'"):
        rates_by_depth(make_model(), 0.5)
