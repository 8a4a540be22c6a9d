"""Init `pretrained`: every tensor from a source, but for a new head."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from transfusion_core.science.inits.matching import Match, match
from transfusion_core.science.inits.random import as_built
from transfusion_core.science.models.build import in_modules
from transfusion_core.specs.init import InitSpec, TensorReport


def pretrained(
    model: nn.Module, init: InitSpec, *, source: Mapping[str, Tensor], head: Sequence[str], seed: int
) -> list[TensorReport]:
    """Copy the source's tensors; the head stays as it was built from `seed`."""
    found = match(model, source, head=head, skip=init.skip)
    with torch.no_grad():
        reports = [take(name, tensor, found, head=head) for name, tensor in model.state_dict().items()]
    return reports + found.unused


def copied(name: str, tensor: Tensor, *, found: Match) -> TensorReport:
    """Copy one tensor of the source into the network's `tensor`."""
    tensor.copy_(found.tensors[name])
    reason = found.adapted.get(name)
    return TensorReport(name=name, shape=list(tensor.shape), action="copied", reason=reason, source_name=name)


def take(name: str, tensor: Tensor, found: Match, *, head: Sequence[str]) -> TensorReport:
    """Copy one tensor unless it is of the head or the spec lets the source lack it."""
    if in_modules(name, list(head)):
        return as_built(name, tensor, reason="new head")
    if name in found.tensors:
        return copied(name, tensor, found=found)
    return TensorReport(name=name, shape=list(tensor.shape), action="skipped", reason=found.skipped[name])
