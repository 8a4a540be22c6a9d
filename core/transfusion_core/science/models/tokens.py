"""The tokens of a transformer that are no places of the image: class, distillation and register tokens.

timm says how many a network has, but not in which layers: CaiT and XCiT add theirs after the blocks, and a projection
of patches has none yet. So the shape of each layer decides. Images are square, hence places are a square number.
"""

from math import isqrt

from timm.models.coat import CoaT
from timm.models.volo import VOLO
from torch import nn

from transfusion_core.science.models.layers import Probe, probe


def prefix_tokens(model: nn.Module) -> int:
    """Tokens that come before the places of the image where a layer has them, the class token first; mostly 0."""
    if isinstance(model, CoaT | VOLO):
        return 1  # a class token, of which timm gives no number
    return int(getattr(model, "num_prefix_tokens", 0))


def has_class_token(model: nn.Module) -> bool:
    """Whether the first of the prefix tokens is a class token; registers alone are none."""
    if prefix_tokens(model) == 0:
        return False
    told = getattr(model, "has_class_token", None)
    if told is not None:
        return bool(told)
    return isinstance(model, CoaT) or getattr(model, "cls_token", None) is not None


def without_prefix(model: nn.Module, *, image_size: int) -> frozenset[str]:
    """The layers of (n, tokens, c) whose tokens are places alone, where others of the network have prefix tokens."""
    if prefix_tokens(model) == 0:
        return frozenset()
    seen = probe(model, image_size=image_size)
    return frozenset(_token_layers(seen)) - frozenset(_prefixed(model, seen))


def class_token_layers(model: nn.Module, seen: Probe) -> list[str]:
    """The layers that have a class token, first of their tokens."""
    if not has_class_token(model):
        return []
    return _prefixed(model, seen)


def _token_layers(seen: Probe) -> list[str]:
    return [path for path, shape in seen.taps.items() if len(shape) == 3]


def _prefixed(model: nn.Module, seen: Probe) -> list[str]:
    prefix = prefix_tokens(model)
    return [path for path in _token_layers(seen) if _holds(prefix, seen.taps[path][1])]


def _holds(prefix: int, tokens: int) -> bool:
    """Whether so many tokens are `prefix` more than a square. Where both numbers are squares (9 and 4), they are."""
    places = tokens - prefix
    return places > 0 and isqrt(places) ** 2 == places
