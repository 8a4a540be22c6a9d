"""Reading the outputs of named layers while a model runs."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeAlias

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Keep: TypeAlias = Callable[[str, Tensor], Any]
"""Takes a layer's name and its output, and returns what is to be kept of it."""


class UnknownLayer(ValueError):
    """A model has no module of that path, or did not run it."""


class Taps:
    """Capture what the layers of a model put out, by forward hooks, for as long as the context is open.

    After each forward pass `outputs[layer]` is what `keep(layer, output)` made of that layer's last output, on its
    device: a copy unless told otherwise, because a later in-place activation would overwrite the output itself. A
    module that runs several times in one pass shows its last run.
    """

    def __init__(self, model: nn.Module, layers: Iterable[str], keep: Keep | None = None) -> None:
        """Name the layers by module path, as in `model.get_submodule`. Raises `UnknownLayer` for one that is
        not there.
        """
        self.outputs: dict[str, Any] = {}
        self._keeps = keep or _copy
        self._modules = {layer: _find(model, layer) for layer in layers}
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        """Set the hooks."""
        for layer, module in self._modules.items():
            self._handles.append(module.register_forward_hook(partial(self._see, layer)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the hooks; what was captured stays."""
        while self._handles:
            self._handles.pop().remove()

    def take(self) -> dict[str, Any]:
        """Hand over the outputs of the pass just made and forget them. Raises `UnknownLayer` for a layer
        that did not run.
        """
        outputs, self.outputs = self.outputs, {}
        idle = [layer for layer in self._modules if layer not in outputs]
        if idle:
            raise UnknownLayer(f"layers did not run in the forward pass: {', '.join(idle)}")
        return outputs

    def _see(self, layer: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            raise TypeError(
                f"layer {layer!r} puts out a {type(output).__name__}, not a tensor: choose a layer inside it"
            )
        self.outputs[layer] = self._keeps(layer, output.detach())


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and each of its modules back to its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _copy(layer: str, output: Tensor) -> Tensor:
    return output.clone()


def _find(model: nn.Module, layer: str) -> nn.Module:
    modules: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    if layer not in modules:
        near = get_close_matches(layer, list(modules), n=3)
        raise UnknownLayer(f"{type(model).__name__} has no layer {layer!r}; near to it: {', '.join(near) or 'nothing'}")
    return modules[layer]
