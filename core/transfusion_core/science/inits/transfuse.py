"""Init `transfuse`: the first stages from a source, the later ones not (Raghu et al. 2019, section 5).

How much of the network must be pretrained for its convergence to be that of a pretrained one: a prefix is copied
whole, the tensors after it stay as built or are drawn as `mean_var` draws them, their normalisations reset. Which
tensors a stage has is said in `models/prefix.py`.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from transfusion_core.science.inits.matching import match
from transfusion_core.science.inits.mean_var import Start
from transfusion_core.science.inits.pretrained import take
from transfusion_core.science.inits.random import as_built
from transfusion_core.science.models.build import in_modules
from transfusion_core.science.models.prefix import prefix_tensors
from transfusion_core.specs.init import InitSpec, TensorReport


def transfuse(
    model: nn.Module, init: InitSpec, *, source: Mapping[str, Tensor], head: Sequence[str], seed: int
) -> list[TensorReport]:
    """Copy the stages up to and with `init.prefix`; the source must fit the whole network all the same."""
    found = match(model, source, head=head, skip=init.skip)
    prefix = prefix_tensors(model, str(init.prefix))
    draw = Start(model, found=found, bn="reset", head=list(head), seed=seed) if init.rest == "mean_var" else None

    def begin(name: str, tensor: Tensor) -> TensorReport:
        if name in prefix:
            return take(name, tensor, found, head=head)
        return draw(name, tensor) if draw else later(name, tensor, head=head)

    with torch.no_grad():
        reports = [begin(name, tensor) for name, tensor in model.state_dict().items()]
    return reports + found.unused


def later(name: str, tensor: Tensor, *, head: Sequence[str]) -> TensorReport:
    """The report of a tensor that stays as built since it comes after the prefix."""
    return as_built(name, tensor, reason="new head" if in_modules(name, list(head)) else "after the prefix")
