"""Init `random`: the network's own default initialisation.

The draw itself is made by `build_random(..., seed=...)`, for only the network's constructor knows its defaults; here
it is reported.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from transfusion_core.specs.init import InitSpec, TensorReport


def random(
    model: nn.Module, init: InitSpec, *, source: Mapping[str, Tensor], head: Sequence[str], seed: int
) -> list[TensorReport]:
    """Leave the network as it was built from `seed`."""
    return [as_built(name, tensor) for name, tensor in model.state_dict().items()]


def as_built(name: str, tensor: Tensor, *, reason: str | None = None) -> TensorReport:
    """The report of a tensor that stays as the network's constructor drew it."""
    return TensorReport(name=name, shape=list(tensor.shape), action="random", reason=reason)
