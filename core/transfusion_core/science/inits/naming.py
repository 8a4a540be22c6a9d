"""From the names in a published file to those of the network.

Two things differ between files of the same network: what training scripts put before every name (`PREFIXES`), and
torchvision's own words for transformers and ConvNeXt (`DIALECTS`), where the platform's networks are timm's. ResNet,
DenseNet and their kin have the same names in both. A name is changed only where that makes more names the network's;
what then still does not fit is for `matching` to list.
"""

import re
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor, nn

from transfusion_core.science.inits.source_errors import SourceUnreadable

PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "encoder_q.", "net.", "student.", "teacher.")
"""What data parallelism, torch.compile, Lightning, downstream tasks and self-supervised methods put before names."""
DERIVED = ("relative_position_index", "attn_mask")
"""Constants that files of Swin keep and timm works out: left out where the network has none."""
Words = Mapping[str, str | Callable[[re.Match[str]], str]]
DIALECTS: tuple[Words, ...] = (
    {},
    {  # torchvision's VisionTransformer
        r"^class_token$": "cls_token",
        r"^conv_proj\.": "patch_embed.proj.",
        r"^encoder\.pos_embedding$": "pos_embed",
        r"^encoder\.ln\.": "norm.",
        r"^encoder\.layers\.encoder_layer_(\d+)\.": r"blocks.\1.",
        r"\.ln_([12])\.": r".norm\1.",
        r"\.self_attention\.in_proj_": ".attn.qkv.",
        r"\.self_attention\.out_proj\.": ".attn.proj.",
        r"\.mlp\.(0|linear_1)\.": ".mlp.fc1.",
        r"\.mlp\.(3|linear_2)\.": ".mlp.fc2.",
        r"^heads\.head\.": "head.",
    },
    {  # torchvision's SwinTransformer: blocks have odd places, mergers of patches the even ones after them
        r"^features\.0\.0\.": "patch_embed.proj.",
        r"^features\.0\.2\.": "patch_embed.norm.",
        r"^features\.([1357])\.(\d+)\.": lambda found: f"layers.{int(found[1]) // 2}.blocks.{found[2]}.",
        r"^features\.([246])\.(norm|reduction)\.": lambda found: f"layers.{int(found[1]) // 2}.downsample.{found[2]}.",
        r"\.mlp\.0\.": ".mlp.fc1.",
        r"\.mlp\.3\.": ".mlp.fc2.",
        r"^head\.": "head.fc.",
    },
    {  # torchvision's ConvNeXt
        r"^features\.0\.": "stem.",
        r"^features\.([1357])\.(\d+)\.": lambda found: f"stages.{int(found[1]) // 2}.blocks.{found[2]}.",
        r"^features\.([246])\.": lambda found: f"stages.{int(found[1]) // 2}.downsample.",
        r"\.block\.0\.": ".conv_dw.",
        r"\.block\.2\.": ".norm.",
        r"\.block\.3\.": ".mlp.fc1.",
        r"\.block\.5\.": ".mlp.fc2.",
        r"\.layer_scale$": ".gamma",
        r"^classifier\.0\.": "head.norm.",
        r"^classifier\.2\.": "head.fc.",
    },
)
"""Patterns and what stands for them in timm, in the order in which they are replaced."""


def map_keys(source: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The source by the network's names.

    Of all prefixes and dialects those are taken that make the most names the network's, and none where none does.
    Names without that prefix stay as they are. Raises `SourceUnreadable` where two tensors come to the same name.
    """
    own = set(model.state_dict())
    readings = [(prefix, words) for prefix in _prefixes(source) for words in DIALECTS]
    prefix, words = max(readings, key=lambda reading: sum(_renamed(name, *reading) in own for name in source))
    mapped: dict[str, Tensor] = {}
    for name, tensor in source.items():
        renamed = _renamed(name, prefix, words)
        if renamed in mapped:
            raise SourceUnreadable(f"expected one tensor for {renamed}, got two: with {prefix!r} before it and without")
        if renamed in own or not renamed.endswith(DERIVED):
            mapped[renamed] = tensor.flatten() if name.endswith(".layer_scale") and renamed != name else tensor
    return mapped


def _prefixes(names: Iterable[str]) -> list[str]:
    """Every run of `PREFIXES` that some name begins with; none, the empty one, first."""
    found = {"": None}
    for name in names:
        cut = 0
        while prefix := next((prefix for prefix in PREFIXES if name.startswith(prefix, cut)), None):
            cut += len(prefix)
            found[name[:cut]] = None
    return list(found)


def _renamed(name: str, prefix: str, words: Words) -> str:
    if not name.startswith(prefix):
        return name
    renamed = name.removeprefix(prefix)
    for pattern, word in words.items():
        renamed = re.sub(pattern, word, renamed)
    return renamed
