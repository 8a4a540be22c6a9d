import re

import pytest
import torch

from transfusion_core.science.inits.matching import WeightsDoNotFit, fit_channels
from transfusion_core.specs.init import InitSpec

INIT = InitSpec(kind="pretrained", source="s")


@pytest.mark.parametrize("name", ["cbr-tiny", "test_resnet", "test_vit"])
def test_every_tensor_but_the_head_is_the_sources_bit_for_bit(start, trained, name: str) -> None:
    source = trained(name)
    state, report = start(INIT, source=source, name=name)
    heads = {row.name for row in report.tensors if row.reason == "new head"}
    assert len(heads) == 2
    for row in report.tensors:
        assert row.action == ("random" if row.name in heads else "copied")
        assert row.source_name == (None if row.name in heads else row.name)
        assert row.name in heads or torch.equal(state[row.name], source[row.name])


def test_a_source_of_the_same_classes_gives_no_head_either(start, trained) -> None:
    source = trained(classes=2)
    state, _ = start(INIT, source=source)
    assert not torch.equal(state["head.weight"], source["head.weight"])


def test_missing_unexpected_and_misshapen_tensors_are_listed_together(start, trained) -> None:
    source = trained()
    del source["stage1.conv.weight"]
    source["extra.weight"] = torch.zeros(3)
    source["stage2.bn.bias"] = torch.zeros(5)
    told = "missing: stage1.conv.weight; unexpected: extra.weight; misshapen: stage2.bn.bias [5] for [64]"
    with pytest.raises(WeightsDoNotFit, match=re.escape(told)):
        start(INIT, source=source)


def test_a_long_list_is_cut_with_its_count(start) -> None:
    with pytest.raises(WeightsDoNotFit, match="and 10 more"):
        start(INIT, source={f"layer{number}": torch.zeros(1) for number in range(30)})


def test_long_names_of_a_strange_file_are_cut(start, trained) -> None:
    with pytest.raises(WeightsDoNotFit, match=r"unexpected: a{200}$"):
        start(INIT, source=trained() | {"a" * 100_000: torch.zeros(1)})


def test_tensors_that_the_spec_lists_may_be_missing_misshapen_or_too_many(start, trained) -> None:
    source = trained()
    del source["stage1.conv.weight"]
    source["stage2.bn.bias"] = torch.zeros(5)
    source["aux.fc.weight"] = torch.zeros(3)
    init = INIT.model_copy(update={"skip": ["stage1.conv.weight", "stage2.bn", "aux"]})
    state, report = start(init, source=source)
    reasons = {row.name: row.reason for row in report.tensors if row.action == "skipped"}
    assert reasons == {
        "stage1.conv.weight": "the source has none",
        "stage2.bn.bias": "the source's shape is [5]",
        "aux.fc.weight": "not in the network",
    }
    plain, _ = start(InitSpec(kind="random"))
    assert torch.equal(state["stage1.conv.weight"], plain["stage1.conv.weight"])


def test_a_source_from_before_batches_were_counted_fits(start, trained) -> None:
    source = {key: tensor for key, tensor in trained().items() if not key.endswith("num_batches_tracked")}
    state, report = start(INIT, source=source)
    assert state["stage1.bn.num_batches_tracked"] == 0
    assert {row.action for row in report.tensors if row.name.endswith("tracked")} == {"skipped"}


@pytest.mark.parametrize(("theirs", "ours"), [(3, 1), (1, 3), (4, 3), (3, 5), (2, 1)])
def test_a_grey_image_has_the_same_response_whatever_the_input_channels(start, trained, theirs: int, ours: int) -> None:
    source = trained(channels=theirs)
    state, report = start(INIT, source=source, channels=ours)
    row = next(row for row in report.tensors if row.name == "stage1.conv.weight")
    assert (row.action, row.reason) == ("copied", f"input channels {theirs} to {ours}")
    grey = torch.rand(2, 1, 16, 16)
    before = torch.nn.functional.conv2d(grey.expand(-1, theirs, -1, -1), source[row.name])
    after = torch.nn.functional.conv2d(grey.expand(-1, ours, -1, -1), state[row.name])
    torch.testing.assert_close(before, after, atol=1e-4, rtol=1e-4)


def test_only_the_first_convolution_adapts_its_channels(start, trained) -> None:
    assert fit_channels(torch.zeros(8, 3), 1) is None
    source = trained()
    source["stage2.conv.weight"] = source["stage2.conv.weight"][:, :5]
    with pytest.raises(WeightsDoNotFit, match=r"misshapen: stage2\.conv\.weight"):
        start(INIT, source=source)


def test_a_transformers_positions_are_resampled_to_the_new_grid(start, trained) -> None:
    source = trained("test_vit", size=64)
    state, report = start(INIT, source=source, name="test_vit", size=32)
    assert state["pos_embed"].shape == (1, 1 + 4, 64)
    assert torch.equal(state["pos_embed"][:, 0], source["pos_embed"][:, 0])
    assert next(row.reason for row in report.tensors if row.name == "pos_embed") == "positions resampled from 17 to 5"


def test_positions_of_no_square_grid_do_not_fit(start, trained) -> None:
    source = trained("test_vit", size=64)
    source["pos_embed"] = source["pos_embed"][:, :-1]
    with pytest.raises(WeightsDoNotFit, match="misshapen: pos_embed"):
        start(INIT, source=source, name="test_vit", size=32)
