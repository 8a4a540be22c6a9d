import pytest
import torch

from transfusion_core.science.inits.matching import WeightsDoNotFit
from transfusion_core.science.models.prefix import StageUnknown
from transfusion_core.specs.init import InitSpec

RANDOM = InitSpec(kind="random")
PRETRAINED = InitSpec(kind="pretrained", source="s")
CASES = [
    ("cbr-tiny", 32, "stage2", ("stage1.", "stage2.")),
    ("resnet18", 48, "act1", ("conv1.", "bn1.")),
    ("resnet18", 48, "layer2", ("conv1.", "bn1.", "layer1.", "layer2.")),
    ("test_vit", 160, "blocks.1", ("cls_token", "pos_embed", "patch_embed.", "blocks.0.", "blocks.1.")),
    ("test_convnext", 64, "stages.1", ("stem.", "stages.0.", "stages.1.")),
]


def until(stage: str, rest: str | None = None) -> InitSpec:
    return InitSpec.model_validate({"kind": "transfuse", "source": "s", "prefix": stage, "rest": rest})


@pytest.mark.parametrize(("name", "size", "stage", "starts"), CASES, ids=str)
def test_the_prefix_is_the_source_bit_for_bit_and_the_rest_what_random_gives(
    start, trained, name: str, size: int, stage: str, starts: tuple[str, ...]
) -> None:
    source = trained(name, size=size)
    state, report = start(until(stage), source=source, name=name, size=size)
    plain, _ = start(RANDOM, name=name, size=size)
    actions = {row.name: row.action for row in report.tensors}
    assert actions.keys() == state.keys()
    for key, tensor in state.items():
        inside = key.startswith(starts)
        assert torch.equal(tensor, source[key] if inside else plain[key]), key
        assert actions[key] == ("copied" if inside else "random"), key
    assert report.init == f"transfuse({stage})"


def test_the_rest_is_drawn_as_mean_var_draws_it(start, trained) -> None:
    source = trained()
    state, report = start(until("stage2", "mean_var"), source=source)
    drawn, _ = start(InitSpec(kind="mean_var", source="s"), source=source)
    plain, _ = start(RANDOM)
    for key, tensor in state.items():
        expected = source if key.startswith(("stage1.", "stage2.")) else plain if key.startswith("head.") else drawn
        assert torch.equal(tensor, expected[key]), key
    weight = state["stage4.conv.weight"]
    assert weight.mean().item() == pytest.approx(source["stage4.conv.weight"].mean().item(), abs=1e-3)
    assert weight.std().item() == pytest.approx(source["stage4.conv.weight"].std().item(), rel=0.01)
    assert {row.action for row in report.tensors if row.name.startswith("stage3.bn")} == {"reset"}
    assert report.init == "transfuse(stage2,mean_var)"


@pytest.mark.parametrize(
    ("name", "size", "last"),
    [
        ("cbr-tiny", 32, "stage4"),
        ("resnet18", 48, "layer4"),
        ("test_vit", 160, "blocks.5"),
        ("test_convnext", 64, "stages.3"),
    ],
)
@pytest.mark.parametrize("rest", ["random", "mean_var"])
def test_the_last_rung_is_pretrained(start, trained, name: str, size: int, last: str, rest: str) -> None:
    source = trained(name, size=size)
    rung, _ = start(until(last, rest), source=source, name=name, size=size)
    whole, _ = start(PRETRAINED, source=source, name=name, size=size)
    assert all(torch.equal(rung[key], whole[key]) for key in whole)


def test_why_a_tensor_stays_random_is_told(start, trained) -> None:
    _, report = start(until("stage3"), source=trained())
    reasons = {row.name: row.reason for row in report.tensors if row.action == "random"}
    assert reasons.pop("head.weight") == reasons.pop("head.bias") == "new head"
    assert set(reasons.values()) == {"after the prefix"}


def test_a_tensor_that_the_source_may_lack_is_skipped(start, trained) -> None:
    source = trained()
    del source["stage1.bn.bias"]
    with pytest.raises(WeightsDoNotFit, match=r"missing: stage1\.bn\.bias"):
        start(until("stage2"), source=source)
    init = until("stage2").model_copy(update={"skip": ["stage1.bn.bias"]})
    _, report = start(init, source=source)
    assert [row.name for row in report.tensors if row.action == "skipped"] == ["stage1.bn.bias"]


def test_an_unknown_stage_is_an_error_that_names_those_there_are(start, trained) -> None:
    with pytest.raises(StageUnknown, match="expected a stage among stage1, stage2, stage3, stage4, got 'layer1'"):
        start(until("layer1"), source=trained())
