from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from transfusion_core.science.models import catalogue as made
from transfusion_core.science.models.layers import stages
from transfusion_core.science.models.prefix import prefix_tensors, stage_of_tensors, stages_in_order


@pytest.mark.parametrize("name", ["inception_v3", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"])
def test_prefixes_grow_to_all_but_the_head(name: str) -> None:
    model = made.on_meta(name, made.default_image_size(name))
    grown = [prefix_tensors(model, stage) for stage in stages(model)]
    assert all(small < large for small, large in pairwise(grown))
    head = {"fc", "head"}
    assert grown[-1] == {key for key in model.state_dict() if key.split(".")[0] not in head}


def test_what_no_stage_holds_goes_with_the_stage_that_follows_and_the_final_norm_with_the_last() -> None:
    vit = stage_of_tensors(made.on_meta("vit_tiny_patch16_224", 224))
    assert {vit[name] for name in ("cls_token", "pos_embed", "patch_embed.proj.weight")} == {0}
    assert vit["norm.weight"] == 11
    inception = stage_of_tensors(made.on_meta("inception_v3", 299))
    names = stages(made.on_meta("inception_v3", 299))
    assert names[inception["Conv2d_1a_3x3.conv.weight"]] == "Conv2d_2b_3x3"
    assert names[inception["Mixed_5b.branch1x1.conv.weight"]] == "Mixed_5d"


class Turned(nn.Module):
    """Uses its stages in another order than it lists them."""

    feature_info = [{"module": "late"}, {"module": "early"}]

    def __init__(self) -> None:
        super().__init__()
        self.late, self.early = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.between = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        return self.late(self.early(images)) * self.between


class Stageless(nn.Conv2d):
    pass


def test_a_network_that_lists_its_modules_in_another_order_has_no_prefixes() -> None:
    with torch.device("meta"):
        turned, straight, stageless = Turned(), Turned(), Stageless(3, 3, 1)
        straight.feature_info = [{"module": "early"}, {"module": "late"}]
    assert not any(stages_in_order(model, image_size=8) for model in (turned, straight, stageless))


def test_the_order_of_use_is_seen_in_real_networks() -> None:
    assert stages_in_order(made.on_meta("test_vit", 160), image_size=160)
    # its class token is listed first but joins after the blocks
    assert not stages_in_order(made.on_meta("cait_xxs24_224", 224), image_size=224)
