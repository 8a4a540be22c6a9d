"""Init `mean_var`: the scale of pretrained weights without their features (Raghu et al. 2019, section 5).

Each tensor is drawn i.i.d. from N(mean, var) of the same tensor in the source, anew for every seed. Normalisation
layers, batch norm or other, are reset unless the spec says otherwise; running statistics are never drawn, as a
running variance could come out negative.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from transfusion_core.science.inits.matching import Match, match
from transfusion_core.science.inits.pretrained import copied
from transfusion_core.science.inits.random import as_built
from transfusion_core.science.models.build import in_modules
from transfusion_core.science.seeds import generator
from transfusion_core.specs.init import InitSpec, TensorReport

RESET_VALUES = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0, "num_batches_tracked": 0.0}
"""What a fresh normalisation layer holds."""


def mean_var(
    model: nn.Module, init: InitSpec, *, source: Mapping[str, Tensor], head: Sequence[str], seed: int
) -> list[TensorReport]:
    """Draw the network from the source's moments; the head stays as it was built from `seed`."""
    found = match(model, source, head=head, skip=init.skip)
    start = Start(model, found=found, bn=init.bn or "reset", head=list(head), seed=seed)
    with torch.no_grad():
        reports = [start(name, tensor) for name, tensor in model.state_dict().items()]
    return reports + found.unused


def draw_like(source: Tensor, *, seed: int, name: str) -> Tensor:
    """A float32 tensor of the source's shape, i.i.d. from N(mean, var) of its elements.

    Moments are taken in float64, the variance over all elements (divided by their count); each tensor has its own
    stream, so a draw depends on the seed and the tensor's name alone.
    """
    values = source.double()
    deviation, mean = torch.std_mean(values, correction=0)
    noise = torch.randn(source.shape, generator=generator(seed, f"init/mean_var/{name}"))
    return (noise * deviation + mean).float()


class Start:
    """Draws one tensor of the network after another and tells of each."""

    def __init__(self, model: nn.Module, *, found: Match, bn: str, head: list[str], seed: int) -> None:
        self.found, self.bn, self.head, self.seed = found, bn, head, seed
        self.parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        self.norms = [path for path, module in model.named_modules() if is_norm(module)]

    def __call__(self, name: str, tensor: Tensor) -> TensorReport:
        """Draw the tensor in place."""
        if in_modules(name, self.head):
            return as_built(name, tensor, reason="new head")
        if name in self.found.skipped and not name.endswith("num_batches_tracked"):
            return TensorReport(name=name, shape=list(tensor.shape), action="skipped", reason=self.found.skipped[name])
        if name.rpartition(".")[0] in self.norms:
            return self._norm(name, tensor)
        if name in self.parameters:
            return self._draw(name, tensor)
        return TensorReport(
            name=name, shape=list(tensor.shape), action="reset", reason="a constant of the architecture"
        )

    def _norm(self, name: str, tensor: Tensor) -> TensorReport:
        if self.bn == "copy" and name in self.found.tensors:
            return copied(name, tensor, found=self.found)
        if self.bn == "draw_affine" and name in self.parameters:
            return self._draw(name, tensor)
        tensor.fill_(RESET_VALUES[name.rpartition(".")[2]])
        return TensorReport(name=name, shape=list(tensor.shape), action="reset", reason="normalisation")

    def _draw(self, name: str, tensor: Tensor) -> TensorReport:
        tensor.copy_(draw_like(self.found.tensors[name], seed=self.seed, name=name))
        reason = self.found.adapted.get(name)
        return TensorReport(name=name, shape=list(tensor.shape), action="drawn", reason=reason, source_name=name)


def is_norm(module: nn.Module) -> bool:
    """Whether all that the module holds itself is a normalisation's scale, shift and statistics.

    timm has many norm classes of its own without a common base; they are told by being called so. Global response
    normalisation (ConvNeXt V2) is not one: its scale starts at 0 and is learnt like a weight.
    """
    called = type(module).__name__.lower()
    own = {name for name, _ in module.named_parameters(recurse=False)}
    own |= {name for name, _ in module.named_buffers(recurse=False)}
    named = "norm" in called and "responsenorm" not in called
    return named and bool(own) and own <= RESET_VALUES.keys()
