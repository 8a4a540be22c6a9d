"""The average of a network's weights over its updates, the recent ones counting most."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from transfusion_core.errors import DataError


class Average:
    """Of the weights after updates 1 .. t, those after update i weighed by decay**(t - i): a mean, weights sum to 1.

    So the initial weights are never in it, unlike in an exponential average that starts from them: that is the bias
    correction of Kingma and Ba 2015 (1412.6980, section 3). Running statistics of batch norm are averaged as the
    weights are, counts are those of now.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        """Nothing is averaged yet: the model's own weights stand in."""
        self._decay = decay
        self.tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def update(self, model: nn.Module, *, step: int) -> None:
        """Take the weights in that the model has after the `step`-th update, counted from 1."""
        # (1 - decay) / (1 - decay**step), the second without losing digits where decay is near 1.
        share = (1 - self._decay) / -math.expm1(step * math.log(self._decay))
        now = model.state_dict()
        with torch.no_grad():
            floating = [name for name, tensor in now.items() if tensor.is_floating_point()]
            torch._foreach_lerp_([self.tensors[name] for name in floating], [now[name] for name in floating], share)
            for name in now.keys() - floating:
                self.tensors[name].copy_(now[name])

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from an average's tensors. DataError where they are another network's."""
        if {name: each.shape for name, each in tensors.items()} != {n: each.shape for n, each in self.tensors.items()}:
            raise DataError("expected the state of this training, got one with another average")
        _copy(tensors, self.tensors)

    @contextmanager
    def in_use(self, model: nn.Module) -> Iterator[None]:
        """The model with the averaged weights; afterwards with its own, to the bit."""
        own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self.settle(model)
        try:
            yield
        finally:
            _copy(own, model.state_dict())

    def settle(self, model: nn.Module) -> None:
        """Leave the averaged weights in the model."""
        _copy(self.tensors, model.state_dict())


def _copy(tensors: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> None:
    """In place: others may hold the tensors."""
    with torch.no_grad():
        for name, tensor in into.items():
            tensor.copy_(tensors[name])
