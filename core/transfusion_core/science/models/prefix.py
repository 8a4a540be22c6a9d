"""Which tensors belong to a contiguous prefix of a network's stages.

Every tensor belongs to one stage. The rule goes by the order in which the network lists its modules: a tensor
belongs to the first stage whose modules are not all listed before the tensor's own module. So what is used before or
in the first stage goes with it (the stem; position embedding and class token of a transformer, which the network
itself holds), what lies between two stages goes with the later one, and what comes after the last stage (the final
norm, but never the head) goes with the last. Whether a network lists its modules in forward order is told by
`stages_in_order`; the catalogue offers prefixes of those networks alone.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from transfusion_core.errors import DataError
from transfusion_core.science.models.build import head_names, in_modules
from transfusion_core.science.models.layers import evaluating, stages


class StageUnknown(DataError):
    """The network has no stage by that name."""

    code = "stage_unknown"


def prefix_tensors(model: nn.Module, last: str) -> frozenset[str]:
    """Names of the state dict's tensors in the stages up to and with `last`, without the head; `StageUnknown`."""
    names = stages(model)
    if last not in names:
        raise StageUnknown(f"expected a stage among {', '.join(names)}, got {last!r}")
    kept = names.index(last)
    return frozenset(name for name, stage in stage_of_tensors(model).items() if stage <= kept)


def stage_of_tensors(model: nn.Module) -> dict[str, int]:
    """The index of the stage that each tensor of the state dict belongs to, without those of the head."""
    ends, places, head = _ends(model), _places(model), list(head_names(model))
    owners = {name: places[name.rpartition(".")[0]] for name in model.state_dict() if not in_modules(name, head)}
    return {name: min(bisect_left(ends, place), len(ends) - 1) for name, place in owners.items()}


def stages_in_order(model: nn.Module, *, image_size: int, channels: int = 3) -> bool:
    """Whether the stage of every tensor is the one in which a forward pass first uses it.

    `model` is on the meta device. Tensors that no forward pass uses (counts of batches) are left out of account.
    """
    ends = _ends(model)
    if not ends or ends != sorted(set(ends)):
        return False
    uses = _FirstUses(model)
    images = torch.empty(1, channels, image_size, image_size, device="meta")
    with evaluating(model), _counting(model, uses), uses, torch.no_grad():
        model(images)
    listed = stage_of_tensors(model)
    return all(min(stage, len(ends) - 1) == listed[name] for name, stage in uses.stages.items() if name in listed)


class _FirstUses(TorchFunctionMode):
    """Notes how many stages had ended when each tensor of a network was first used."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.ended = 0
        self.stages: dict[str, int] = {}
        self._names: dict[int, list[str]] = {}
        for name, tensor in model.state_dict(keep_vars=True).items():
            self._names.setdefault(id(tensor), []).append(name)

    def end(self, *_passed: object, stage: int) -> None:
        """Note that a stage has ended."""
        self.ended = max(self.ended, stage + 1)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """What torch calls in place of `func`."""
        if getattr(func, "__name__", "") != "__get__":  # to ask for a shape or dtype is no use
            for value in tree_leaves((args, kwargs)):
                for name in self._names.get(id(value), []) if isinstance(value, Tensor) else []:
                    self.stages.setdefault(name, self.ended)
        return func(*args, **(kwargs or {}))


@contextmanager
def _counting(model: nn.Module, uses: _FirstUses) -> Iterator[None]:
    handles = [
        model.get_submodule(name).register_forward_hook(partial(uses.end, stage=stage))
        for stage, name in enumerate(stages(model))
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _places(model: nn.Module) -> dict[str, int]:
    return {path: place for place, (path, _) in enumerate(model.named_modules(remove_duplicate=False))}


def _ends(model: nn.Module) -> list[int]:
    """The place in the network's list of modules at which each stage ends."""
    places = _places(model)
    return [max(place for path, place in places.items() if in_modules(path, [stage])) for stage in stages(model)]
