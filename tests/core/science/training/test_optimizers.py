from typing import get_args

import pytest
import torch
from torch import nn

from transfusion_core.science.training.optimizers import OPTIMIZERS, build_optimizer
from transfusion_core.specs.training import TrainingSpec


def test_every_name_of_the_spec_has_a_builder_and_no_other() -> None:
    assert set(OPTIMIZERS) == set(get_args(TrainingSpec.model_fields["optimizer"].annotation))


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_the_spec_reaches_the_optimizer(name: str) -> None:
    spec = TrainingSpec.model_validate({"optimizer": name, "lr": 0.25, "weight_decay": 0.5, "momentum": 0.75})
    group = build_optimizer(nn.Linear(2, 2), spec).param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.25, 0.5)
    assert group.get("momentum", 0.75) == 0.75


def test_one_step_of_sgd_is_the_formula() -> None:
    layer = nn.Linear(1, 1, bias=False)
    before = layer.weight.item()
    spec = TrainingSpec(optimizer="sgd", lr=0.1, weight_decay=0.5)
    optimizer = build_optimizer(layer, spec)
    layer.weight.grad = torch.tensor([[2.0]])
    optimizer.step()
    assert layer.weight.item() == pytest.approx(before - 0.1 * (2 + 0.5 * before))


def test_frozen_parameters_are_left_out() -> None:
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    assert len(build_optimizer(layer, TrainingSpec()).param_groups[0]["params"]) == 1


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_norms_and_biases_are_spared_of_decay_where_asked(make_staged, name: str) -> None:
    spec = TrainingSpec.model_validate({"optimizer": name, "weight_decay": 0.5, "decay_norms": False})
    model = make_staged()
    decays = {p: group["weight_decay"] for group in build_optimizer(model, spec).param_groups for p in group["params"]}
    assert {name for name, p in model.named_parameters() if decays[p] == 0.5} == {
        "stage1.0.weight",
        "stage2.0.weight",
        "head.weight",
    }
    assert set(decays.values()) == {0.5, 0.0}


def test_decay_falls_on_all_in_one_group_unless_told_otherwise(make_staged) -> None:
    model = make_staged()
    (group,) = build_optimizer(model, TrainingSpec(weight_decay=0.5)).param_groups
    assert all(p is q for p, q in zip(group["params"], model.parameters(), strict=True))
