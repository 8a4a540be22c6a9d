"""What of a network can be tapped: its stages and layers, in forward order.

A tap is the output of a module, named by its path, that is one tensor per forward pass with images first:
`(n, c, h, w)`, `(n, h, w, c)`, `(n, tokens, c)` or `(n, c)`. What a module really gives is found out by a forward
pass on the meta device, which computes no numbers.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from transfusion_core.science.models.build import head_names, in_modules
from transfusion_core.science.models.cbr import Cbr

STAGES_MAX = 12
"""More stages than this (blocks of a deep transformer) are thinned out evenly, the last one kept."""
LAYERS_MAX = 150
"""Networks with more layers than this offer their blocks instead."""
PROBE_IMAGES = 3
"""A count that no network has as a number of windows or groups at its first axis by accident of being 1 or 2."""


@dataclass
class Probe:
    """What one forward pass showed of each module, by path, in the order in which the modules finished."""

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    unfit: set[str] = field(default_factory=set)
    """Modules that ran twice, gave no single tensor, or gave one that is not images first."""
    output: tuple[int, ...] = ()

    def see(self, path: str, output: object) -> None:
        """Note what the module at `path` gave."""
        fits = isinstance(output, Tensor) and output.ndim in (2, 3, 4) and output.shape[0] == PROBE_IMAGES
        if not fits or path in self.shapes:
            self.unfit.add(path)
        elif isinstance(output, Tensor):
            self.shapes[path] = tuple(output.shape)

    @property
    def taps(self) -> dict[str, tuple[int, ...]]:
        """Shape of every output that can be tapped."""
        return {path: shape for path, shape in self.shapes.items() if path not in self.unfit}


def probe(model: nn.Module, *, image_size: int, channels: int = 3) -> Probe:
    """Run `model` in evaluation mode on the meta device; its own tensors and modes are left as they are."""
    seen = Probe()
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    on_meta = {name: tensor.detach().to("meta") for name, tensor in tensors.items()}
    images = torch.empty(PROBE_IMAGES, channels, image_size, image_size, device="meta")
    with evaluating(model), _hooked(model, seen), torch.no_grad():
        seen.output = tuple(functional_call(model, on_meta, (images,)).shape)
    return seen


def stages(model: nn.Module) -> list[str]:
    """Module paths of the stages that the network's authors or timm name, in forward order, at most twelve."""
    if isinstance(model, Cbr):
        return list(model.stage_names)
    named = [str(info["module"]) for info in stage_information(model)]
    return thinned([path for path in named if _exists(model, path)], STAGES_MAX)


def stage_information(model: nn.Module) -> list[dict[str, object]]:
    """timm's `feature_info` rows that name a module: `module`, `num_chs`, `reduction`."""
    information = getattr(model, "feature_info", None) or []
    rows = getattr(information, "info", information)
    return [dict(row) for row in rows if row.get("module")]


def select_layers(model: nn.Module, seen: Probe) -> list[str]:
    """Everything that a comparison can tap, in forward order: stages, convolutions and dense layers, not the head.

    Layers inside windows or groups (their first axis is not the image) are left out wherever they are of a kind
    that is unfit somewhere in the network. Where that makes more than 150 names, blocks stand for their layers.
    """
    every = _every_layer(model, seen)
    if len(every) <= LAYERS_MAX:
        return every
    tops = set(stages(model))
    blocks = [path for path in seen.taps if path in tops or path.rpartition(".")[0] in tops]
    few = blocks if len(blocks) <= LAYERS_MAX else [path for path in blocks if path in tops]
    return few or thinned(every, LAYERS_MAX)


def select_stages(model: nn.Module, seen: Probe) -> list[str]:
    """The stages that can be tapped; twelve evenly spaced layers where none can (HRNet's give several tensors)."""
    return [path for path in stages(model) if path in seen.taps] or thinned(_every_layer(model, seen), STAGES_MAX)


def thinned(paths: list[str], most: int) -> list[str]:
    """At most so many of `paths`, evenly spaced, the last one among them."""
    if len(paths) <= most:
        return paths
    step = len(paths) / most
    return [paths[round((index + 1) * step) - 1] for index in range(most)]


def channels_last_output(model: nn.Module, name: str) -> bool:
    """Whether the tap `name` has its channels on the last axis: `(n, h, w, c)` or `(n, tokens, c)`.

    A convolution's are second; a dense layer's are last; a block of dense layers without any convolution keeps
    them last (Swin, ViT); for the rest timm says it (`output_fmt`).
    """
    module = model.get_submodule(name)
    if isinstance(module, nn.Conv2d):
        return False
    if getattr(model, "output_fmt", "NCHW") == "NHWC":
        return True
    kinds = [type(part) for part in module.modules()]
    convolves = any(issubclass(kind, nn.Conv2d) for kind in kinds)
    return not convolves and any(issubclass(kind, nn.Linear) for kind in kinds)


def _every_layer(model: nn.Module, seen: Probe) -> list[str]:
    head, tops = head_names(model), set(stages(model))
    unfit_kinds = {_kind(path) for path in seen.unfit if _is_layer(model, path)}

    def compares(path: str) -> bool:
        return _is_layer(model, path) and not in_modules(path, head) and _kind(path) not in unfit_kinds

    return [path for path in seen.taps if path in tops or compares(path)]


def _exists(model: nn.Module, path: str) -> bool:
    return any(name == path for name, _ in model.named_modules())


def _is_layer(model: nn.Module, path: str) -> bool:
    return isinstance(model.get_submodule(path), nn.Conv2d | nn.Linear)


def _kind(path: str) -> str:
    """The last two named parts of a path, numbers left out: `layers.0.blocks.1.attn.qkv` is of kind `attn.qkv`."""
    return ".".join([part for part in path.split(".") if not re.fullmatch(r"\d+", part)][-2:])


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The network in evaluation mode; each module's own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def _hooked(model: nn.Module, seen: Probe) -> Iterator[None]:
    def note(_module: nn.Module, _inputs: object, output: object, *, path: str) -> None:
        seen.see(path, output)

    handles = [module.register_forward_hook(partial(note, path=path)) for path, module in model.named_modules() if path]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
