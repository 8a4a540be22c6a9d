"""One of the networks that are compared: how it is run, and how its layers' outputs are to be read."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transfusion_core.science.similarity.convolutions import fast_convolutions
from transfusion_core.science.similarity.samples import CLASS_TOKEN, channels_first
from transfusion_core.science.similarity.taps import evaluating

_KEPT_BYTES = 2**25 - 2**16
"""Once a block of this size has been freed, glibc's malloc keeps what smaller ones leave, up to twice as much, for the
next: else it gives large ones back to the system, which clears every page of them anew for each batch.
"""


@dataclass(frozen=True, eq=False)
class Network:
    """A model, with what its layers' outputs do not say of themselves.

    `channels_last`: layers that put out (n, h, w, c). `prefix_tokens`: tokens that come before the places of the
    image in (n, tokens, c), the class token first; 0 where there are none. `without_prefix`: layers of (n, tokens, c)
    that have none of those.
    """

    model: nn.Module
    channels_last: Collection[str] = ()
    prefix_tokens: int = 0
    without_prefix: Collection[str] = ()

    @classmethod
    def of(cls, model: "nn.Module | Network") -> "Network":
        """Take a plain model as a network whose outputs are (n, c), (n, tokens, c) or (n, c, h, w)."""
        return model if isinstance(model, Network) else cls(model)

    def reads_as(self, other: "Network") -> bool:
        """Whether the outputs of both are read alike."""
        mine, theirs = (
            (each.prefix_tokens, set(each.channels_last), set(each.without_prefix)) for each in (self, other)
        )
        return mine == theirs

    def read(self, layer: str, output: Tensor) -> Tensor:
        """Return the activations that `layer` names in the output of its module.

        Raises ValueError where a class token is asked of a layer that has none.
        """
        if output.ndim == 4 and layer in self.channels_last:
            return channels_first(output)
        prefix = 0 if output.ndim != 3 or module_of(layer) in self.without_prefix else self.prefix_tokens
        if not layer.endswith(CLASS_TOKEN):
            return output[:, prefix:] if prefix else output
        if prefix < 1:
            raise ValueError(f"{layer!r}: this layer puts out {tuple(output.shape)} and no class token")
        return output[:, 0]

    @property
    def sums_device(self) -> torch.device:
        """Where to sum over its activations: beside the weights, unless that accelerator knows no float64."""
        device = next(self.model.parameters(), torch.empty(0)).device
        return device if device.type == "cuda" else torch.device("cpu")

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Hold the model in evaluation mode and, on a CPU, as `run` runs it fastest; put it back as it was."""
        with evaluating(self.model), ExitStack() as stack:
            if self._on_cpu:
                torch.empty(_KEPT_BYTES, dtype=torch.uint8)
                stack.enter_context(fast_convolutions(self.model))
            yield

    def run(self, images: Tensor, *, autocast: torch.dtype | None) -> None:
        """Run the model where its weights are and in their dtype, whatever autocast surrounds the call.

        On a CPU feature maps have their channels innermost in memory, but for small ones: so convolutions and maxima
        are fastest there and samples are taken; the numbers are the same up to rounding.
        """
        weight = next(self.model.parameters(), torch.empty(0))
        inner = images.ndim == 4 and self._on_cpu
        images = images.to(weight, memory_format=torch.channels_last if inner else torch.preserve_format)
        with torch.inference_mode(), torch.autocast(weight.device.type, enabled=autocast is not None, dtype=autocast):
            self.model(images)

    @property
    def _on_cpu(self) -> bool:
        return next(self.model.parameters(), torch.empty(0)).device.type == "cpu"


def module_of(layer: str) -> str:
    """Return the path of the module that a layer's name means."""
    return layer.removesuffix(CLASS_TOKEN)
