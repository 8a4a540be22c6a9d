"""Init `slim`: the first stages from a source, the rest redesigned with fewer channels (Raghu et al. 2019, section 5).

The network has been built slim (`models/slim.py`); here its prefix is copied. The source is of the full network: what
it has after the prefix is of other shapes and is not looked at.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from transfusion_core.science.inits.matching import match
from transfusion_core.science.inits.pretrained import take
from transfusion_core.science.inits.transfuse import later
from transfusion_core.science.models.layers import stages
from transfusion_core.science.models.prefix import prefix_tensors
from transfusion_core.specs.init import InitSpec, TensorReport


def slim(
    model: nn.Module, init: InitSpec, *, source: Mapping[str, Tensor], head: Sequence[str], seed: int
) -> list[TensorReport]:
    """Copy the stages up to and with `init.prefix`; the rest stays as it was built from `seed`."""
    prefix = prefix_tensors(model, str(init.prefix))
    names = stages(model)
    redesigned = names[names.index(str(init.prefix)) + 1 :]
    # by stage and by tensor: a source may have shortcuts in a later stage that the slim network has not
    outside = [*head, *redesigned, *(name for name in model.state_dict() if name not in prefix)]
    found = match(model, source, head=outside, skip=init.skip)
    with torch.no_grad():
        reports = [
            take(name, tensor, found, head=head) if name in prefix else later(name, tensor, head=head)
            for name, tensor in model.state_dict().items()
        ]
    return reports + found.unused
