"""Parts of a network that do not learn, or learn more slowly: by its stages (see `models.prefix`)."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from transfusion_core.science.models.layers import stages
from transfusion_core.science.models.prefix import StageUnknown, prefix_tensors, stage_of_tensors
from transfusion_core.specs.training import EVERY_STAGE


def freeze(model: nn.Module, last: str) -> list[nn.Module]:
    """Let the stages up to and with `last` learn nothing, `all`: everything but the head. `StageUnknown`.

    Returns their batch norms, which have to be in evaluation mode whenever the rest trains.
    """
    names = stages(model)
    frozen = prefix_tensors(model, names[-1] if names and last == EVERY_STAGE else last)
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    norms = [(path, module) for path, module in model.named_modules() if isinstance(module, _BatchNorm)]
    return [norm for path, norm in norms if any(name.startswith(f"{path}.") for name in frozen)]


def rates_by_depth(model: nn.Module, decay: float) -> dict[str, float]:
    """The share of the learning rate of each tensor outside the head: `decay` to the power of its stages from there.

    As fine-tuned in Howard and Ruder 2018 (1801.06146). `StageUnknown` where the network has no stages.
    """
    count = len(stages(model))
    if not count:
        raise StageUnknown("expected a network with named stages for 'layer_decay', got one without")
    return {name: decay ** (count - stage) for name, stage in stage_of_tensors(model).items()}
