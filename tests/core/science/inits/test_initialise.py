from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor

from transfusion_core.errors import DataError
from transfusion_core.science.inits.initialise import INITS
from transfusion_core.specs.init import InitKind, InitSpec

PRETRAINED = InitSpec(kind="pretrained", source="s")
MEAN_VAR = InitSpec(kind="mean_var", source="s")


def test_torch_and_spec_name_the_same_inits() -> None:
    assert set(INITS) == set(get_args(InitKind))


@pytest.mark.parametrize("name", ["cbr-tiny", "test_resnet", "test_vit"])
@pytest.mark.parametrize("init", [InitSpec(kind="random"), PRETRAINED, MEAN_VAR], ids=str)
def test_the_report_tells_of_every_tensor_once_with_its_shape(start, trained, name: str, init: InitSpec) -> None:
    state, report = start(init, source=trained(name) if init.source else None, name=name)
    assert [(row.name, row.shape) for row in report.tensors] == [
        (key, list(value.shape)) for key, value in state.items()
    ]
    assert report.init == init.kind
    assert report.source_digest == ("d" * 64 if init.source else None)


@pytest.mark.parametrize("init", [InitSpec(kind="random"), PRETRAINED, MEAN_VAR, InitSpec(kind="gabor")], ids=str)
def test_the_same_seed_starts_the_same_and_the_head_is_the_same_for_every_init(start, trained, init: InitSpec) -> None:
    def begun(wanted: InitSpec, seed: int) -> dict[str, Tensor]:
        return start(wanted, source=trained() if wanted.source else None, seed=seed)[0]

    one, same, other = begun(init, 3), begun(init, 3), begun(init, 4)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert torch.equal(one["head.weight"], begun(InitSpec(kind="random"), 3)["head.weight"])
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_random_changes_nothing_and_says_so(start: Callable) -> None:
    _, report = start(InitSpec(kind="random"))
    assert {row.action for row in report.tensors} == {"random"}


@pytest.mark.parametrize("init", [PRETRAINED, MEAN_VAR], ids=str)
def test_an_init_without_the_source_that_it_needs_is_an_error(start: Callable, init: InitSpec) -> None:
    with pytest.raises(DataError, match="needs the tensors of its source 's'; none were given"):
        start(init)


def test_the_label_tells_arms_of_batch_norm_apart(start, trained) -> None:
    _, report = start(MEAN_VAR.model_copy(update={"bn": "copy"}), source=trained())
    assert report.init == "mean_var(copy)"
