import pytest
import torch

from transfusion_core.science.models.build import build
from transfusion_core.science.models.cbr import CBR

# science.md section 2: trainable totals at 3 input channels.
TOTALS = {
    "cbr-large-t": (8_539_173, 9_049_608),
    "cbr-large-w": (8_443_461, 8_953_896),
    "cbr-small": (2_114_341, 2_370_056),
    "cbr-tiny": (1_079_845, 1_335_560),
    "cbr-tiny-appendix": (4_310_085, 4_820_520),
}
# Counts printed in the paper, which leave out the first convolution and batch norm.
PRINTED = {"cbr-large-t": 8_532_480, "cbr-large-w": 8_432_128, "cbr-small": 2_108_672, "cbr-tiny": 1_076_480}


def trainable(model: torch.nn.Module) -> int:
    return sum(tensor.numel() for tensor in model.parameters() if tensor.requires_grad)


@pytest.mark.parametrize("name", CBR)
def test_it_has_exactly_the_parameters_of_the_paper(name: str) -> None:
    with torch.device("meta"):
        five, thousand = (build(name, classes=classes, image_size=224) for classes in (5, 1000))
    assert (trainable(five), trainable(thousand)) == TOTALS[name]


@pytest.mark.parametrize("name", PRINTED)
def test_the_printed_count_leaves_out_the_first_convolution_and_batch_norm(name: str) -> None:
    with torch.device("meta"):
        model = build(name, classes=5, image_size=224)
    counted = sum(
        weight.numel()
        for path, weight in model.named_parameters()
        if (path.endswith("conv.weight") and not path.startswith("stage1.")) or path == "head.weight"
    )
    assert counted == PRINTED[name]


@pytest.mark.parametrize(("name", "sides"), [("cbr-large-t", [32, 16, 8, 4, 4]), ("cbr-tiny", [32, 16, 8, 4])])
def test_each_stage_halves_the_image_but_for_the_fifth_of_large_t(name: str, sides: list[int]) -> None:
    model = build(name, classes=2, channels=1, image_size=64).eval()
    x, found = torch.zeros(1, 1, 64, 64), []
    for stage in model.stage_names:
        x = model.get_submodule(stage)(x)
        found.append(x.shape[-1])
    assert found == sides


def test_convolutions_keep_the_size_and_have_no_bias() -> None:
    conv = build("cbr-small", classes=2, image_size=32).get_submodule("stage2.conv")
    assert conv(torch.zeros(1, 32, 9, 9)).shape == (1, 64, 9, 9)
    assert conv.bias is None


def test_it_gives_logits_for_any_size_and_for_one_channel() -> None:
    model = build("cbr-tiny", classes=7, channels=1, image_size=50)
    assert model(torch.zeros(2, 1, 50, 37)).shape == (2, 7)
