"""Stages put back, on networks of which it is known which stage matters."""

import pytest
import torch

from transfusion_core.science.models.build import build_random
from transfusion_core.science.robustness.resetting import NO_STAGES, reset_stages, tensors_by_stage
from transfusion_core.science.training.evaluation import evaluate


@pytest.fixture
def planted(make_staged, bright):
    """A network in which stage 2 alone moved: it turns brightness into the answer, and at the start gave nothing on."""
    model = make_staged()
    with torch.no_grad():
        for stage in (model.stage1, model.stage2, model.stage3):
            stage.conv.weight.fill_(0.01)  # brightness is handed on
        model.head.weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 8))
        model.head.bias.zero_()
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    start["stage2.conv.weight"].zero_()
    return model.eval(), start


def test_a_network_of_which_only_stage_2_matters_loses_by_that_stage_alone(planted, bright, cpu):
    model, start = planted
    trained = evaluate(model, bright, task="multiclass", split="test", device=cpu).auroc
    scores = list(reset_stages(model, start, bright, trial="reinit", task="multiclass", device=cpu))
    assert trained == 1.0
    assert [(s.trial, s.layer, s.stage, s.auroc) for s in scores] == [
        ("reinit", "stage1", 1, 1.0),
        ("reinit", "stage2", 2, 0.5),
        ("reinit", "stage3", 3, 1.0),
    ]


def test_the_network_ends_as_it_came_even_if_nobody_asks_for_the_rest(planted, bright, cpu):
    model, start = planted
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trials = reset_stages(model, start, bright, trial="rerand", task="multiclass", device=cpu)
    next(trials), next(trials)
    trials.close()
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())


def test_running_statistics_go_with_their_stage_and_the_head_with_none(make_staged):
    groups = tensors_by_stage(make_staged(), image_size=8)
    assert groups["stage2"] == [
        "stage2.conv.weight",
        *(f"stage2.bn.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
    ]
    assert not any(name.startswith("head") for names in groups.values() for name in names)


@pytest.mark.parametrize("name", ["cbr-tiny", "resnet18", "test_vit"])
def test_every_tensor_but_the_heads_belongs_to_one_stage_of_real_networks(name):
    model = build_random(name, classes=2, image_size=32, seed=0)
    names = [each for group in tensors_by_stage(model, image_size=32).values() for each in group]
    assert len(names) == len(set(names))
    assert len(names) == len([each for each in model.state_dict() if not each.startswith(("head.", "fc."))])


def test_a_network_that_lists_its_modules_in_another_order_says_why_it_has_no_values(make_staged, bright, cpu):
    model = make_staged()
    model.feature_info = [{"module": "stage2"}, {"module": "stage1"}]
    (score,) = reset_stages(model, {}, bright, trial="reinit", task="multiclass", device=cpu)
    assert (score.layer, score.auroc, score.reason) == (None, None, NO_STAGES)


def test_scores_that_are_not_finite_keep_their_reason(planted, bright, cpu):
    model, start = planted
    start["stage1.conv.weight"].fill_(float("inf"))
    scores = list(reset_stages(model, start, bright, trial="reinit", task="multiclass", device=cpu))
    assert scores[0].auroc is None
    assert "not finite" in scores[0].reason
