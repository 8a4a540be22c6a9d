"""Where an init's name meets its function."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from transfusion_core.errors import DataError
from transfusion_core.science.inits.gabor import gabor
from transfusion_core.science.inits.mean_var import mean_var
from transfusion_core.science.inits.pretrained import pretrained
from transfusion_core.science.inits.random import random
from transfusion_core.science.inits.slim import slim
from transfusion_core.science.inits.transfuse import transfuse
from transfusion_core.specs.init import NEEDS_SOURCE, InitSpec, TensorReport, WeightReport

INITS: dict[str, Callable[..., list[TensorReport]]] = {
    "random": random,
    "pretrained": pretrained,
    "mean_var": mean_var,
    "gabor": gabor,
    "transfuse": transfuse,
    "slim": slim,
}
"""Each changes the network in place and tells of every tensor of its state dict."""


def initialise(
    model: nn.Module,
    init: InitSpec,
    *,
    source: Mapping[str, Tensor] | None,
    source_digest: str | None,
    head: Sequence[str],
    seed: int,
) -> WeightReport:
    """Start the network's weights as `init` says, in place, and report on each tensor.

    `model` comes from `build_random` with the same `seed` and `init.slim`: what no init touches, the new head above
    all, stays as drawn there. `source` holds CPU tensors by the network's names (`map_keys`), `head` the head's module
    paths (`head_names`). Raises `DataError` where the source is wanting or does not fit.
    """
    if init.kind in NEEDS_SOURCE and source is None:
        raise DataError(f"init {init.kind!r} needs the tensors of its source {init.source!r}; none were given")
    tensors = INITS[init.kind](model, init, source=source or {}, head=head, seed=seed)
    return WeightReport(init=init.label, source_digest=source_digest, tensors=tensors)
