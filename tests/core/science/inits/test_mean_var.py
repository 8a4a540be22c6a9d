import math

import pytest
import torch
from torch import nn

from transfusion_core.science.inits.initialise import initialise
from transfusion_core.science.inits.mean_var import draw_like, is_norm
from transfusion_core.specs.init import InitSpec

INIT = InitSpec(kind="mean_var", source="s")


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]).double())[0, 1])


@pytest.mark.parametrize("name", ["cbr-tiny", "test_resnet", "test_vit"])
def test_each_drawn_tensor_has_the_sources_mean_and_variance_within_sampling_error(start, trained, name: str) -> None:
    source = trained(name)
    state, report = start(INIT, source=source, name=name)
    drawn = [row.name for row in report.tensors if row.action == "drawn" and source[row.name].numel() > 100]
    assert len(drawn) > 3
    for key in drawn:
        mine, theirs = state[key].double(), source[key].double()
        deviation, count = float(theirs.std(correction=0)), theirs.numel()
        # Five standard errors of a mean and of a normal sample's standard deviation.
        assert abs(float(mine.mean() - theirs.mean())) <= 5 * deviation / math.sqrt(count) + 1e-6
        assert abs(float(mine.std()) - deviation) <= 5 * deviation / math.sqrt(2 * count) + 1e-6


def test_draws_are_unlike_the_source_and_unlike_one_another(start, trained) -> None:
    source = trained()
    one, two = (start(INIT, source=source, seed=seed)[0] for seed in (1, 2))
    for key in ("stage2.conv.weight", "stage4.conv.weight"):
        limit = 5 / math.sqrt(source[key].numel())
        assert abs(correlation(one[key], source[key])) < limit
        assert abs(correlation(one[key], two[key])) < limit


def test_tensors_of_one_shape_have_streams_of_their_own() -> None:
    source = torch.randn(1000)
    a, again, b = (draw_like(source, seed=0, name=name) for name in ("a", "a", "b"))
    assert torch.equal(a, again)
    assert abs(correlation(a, b)) < 0.2


def test_a_tensor_of_one_value_is_drawn_as_that_value() -> None:
    assert torch.equal(draw_like(torch.full((5,), 2.5), seed=0, name="x"), torch.full((5,), 2.5))
    assert draw_like(torch.tensor([3.0]), seed=0, name="x").item() == 3.0


@pytest.mark.parametrize("name", ["cbr-tiny", "test_resnet", "test_vit"])
def test_normalisation_is_reset_unless_told_otherwise(start, trained, name: str) -> None:
    state, report = start(INIT, source=trained(name), name=name)
    reset = [row.name for row in report.tensors if row.action == "reset"]
    assert {row.reason for row in report.tensors if row.action == "reset"} == {"normalisation"}
    for key in reset:
        assert (state[key] == (1 if key.endswith((".weight", "running_var")) else 0)).all(), key
    assert len(reset) >= 20


def test_copied_batch_norm_keeps_everything_of_the_source(start, trained) -> None:
    source = trained()
    state, report = start(INIT.model_copy(update={"bn": "copy"}), source=source)
    copied = [row.name for row in report.tensors if row.action == "copied"]
    assert copied == [key for key in state if ".bn." in key]
    assert all(torch.equal(state[key], source[key]) for key in copied)


def test_drawn_batch_norm_draws_scale_and_shift_but_never_the_running_variance(start, trained) -> None:
    source = trained()
    source["stage1.bn.weight"].uniform_(0, 2, generator=torch.Generator().manual_seed(0))
    state, report = start(INIT.model_copy(update={"bn": "draw_affine"}), source=source)
    actions = {row.name: row.action for row in report.tensors if row.name.startswith("stage1.bn.")}
    assert actions == {
        "stage1.bn.weight": "drawn",
        "stage1.bn.bias": "drawn",
        "stage1.bn.running_mean": "reset",
        "stage1.bn.running_var": "reset",
        "stage1.bn.num_batches_tracked": "reset",
    }
    assert state["stage1.bn.weight"].std() > 0.1
    assert (state["stage1.bn.running_var"] == 1).all()


def test_copying_batch_norm_of_an_old_source_resets_the_count_that_it_lacks(start, trained) -> None:
    source = {key: tensor for key, tensor in trained().items() if not key.endswith("num_batches_tracked")}
    _, report = start(INIT.model_copy(update={"bn": "copy"}), source=source)
    assert {row.action for row in report.tensors if row.name.endswith("tracked")} == {"reset"}


def test_listed_tensors_stay_random_and_are_told(start, trained) -> None:
    source = trained()
    del source["stage1.conv.weight"]
    source["aux"] = torch.zeros(2)
    _, report = start(INIT.model_copy(update={"skip": ["stage1.conv.weight", "aux"]}), source=source)
    told = {row.name: row.reason for row in report.tensors if row.action == "skipped"}
    assert told == {"stage1.conv.weight": "the source has none", "aux": "not in the network"}


def test_tokens_and_positions_are_drawn_like_weights(start, trained) -> None:
    _, report = start(INIT, source=trained("test_vit"), name="test_vit")
    actions = {row.name: row.action for row in report.tensors}
    assert actions["cls_token"] == actions["pos_embed"] == actions["blocks.0.attn.qkv.bias"] == "drawn"


def test_constants_of_the_architecture_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model.register_buffer("index", torch.arange(3))
    source = {"0.weight": torch.ones(2, 2), "0.bias": torch.ones(2), "index": torch.zeros(3, dtype=torch.int64)}
    report = initialise(model, INIT, source=source, source_digest=None, head=(), seed=0)
    told = {row.name: (row.action, row.reason) for row in report.tensors}
    assert told["index"] == ("reset", "a constant of the architecture")
    assert model.state_dict()["index"].tolist() == [0, 1, 2]


class GlobalResponseNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))


@pytest.mark.parametrize(
    ("module", "norm"),
    [
        (nn.BatchNorm2d(4), True),
        (nn.LayerNorm(4), True),
        (nn.GroupNorm(2, 4), True),
        (nn.RMSNorm(4), True),
        (GlobalResponseNorm(), False),
        (nn.BatchNorm2d(4, affine=False, track_running_stats=False), False),  # holds nothing
        (nn.Linear(4, 4), False),
    ],
    ids=str,
)
def test_normalisation_layers_are_told_from_others(module: nn.Module, norm: bool) -> None:
    assert is_norm(module) is norm
