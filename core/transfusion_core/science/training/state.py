"""Where a training stands after a step, whole: what continues from it ends bit for bit as if it had never stopped.

There is no generator and no position in it: order, augmentation and dropout are functions of (seed, step), and so is
the learning rate.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from transfusion_core.errors import DataError
from transfusion_core.science.training.checkpoint import load_checkpoint, save_checkpoint
from transfusion_core.specs.training import Series

_META = "state"
_WEIGHTS, _OPTIMIZER, _GROUPS = "weights/", "optimizer/", "groups/"


@dataclass(frozen=True, eq=False)
class TrainingState:
    """After `step` updates, the evaluation and the checkpoint of that step included.

    The tensors are the training's own: save them before it goes on.
    """

    step: int
    seconds: float
    """Spent on updates."""
    weights: dict[str, Tensor]
    """The model's state dict."""
    optimizer: dict[int, dict[str, Tensor]]
    """The optimizer's tensors by number of parameter."""
    groups: dict[int, dict[str, Tensor]]
    """The tensors of the optimizer's parameter groups by number of group: some keep their step there."""
    losses: list[float]
    """Of the updates since the last evaluation."""
    series: list[Series]
    execution: dict[str, Any]
    """How updates are computed, as JSON."""

    def save(self, path: Path, **extra: Any) -> None:
        """Write it as safetensors; `extra` is JSON that comes back with it."""
        tensors = {_WEIGHTS + name: tensor for name, tensor in self.weights.items()}
        for prefix, numbered in ((_OPTIMIZER, self.optimizer), (_GROUPS, self.groups)):
            for number, kept in numbered.items():
                tensors |= {f"{prefix}{number}/{name}": tensor for name, tensor in kept.items()}
        about = {"step": self.step, "seconds": self.seconds, "losses": self.losses, "extra": extra}
        about |= {"series": [series.model_dump() for series in self.series], "execution": self.execution}
        save_checkpoint(path, tensors, {_META: json.dumps(about)})

    @classmethod
    def load(cls, path: Path) -> "tuple[TrainingState, dict[str, Any]]":
        """What `save` wrote, and its `extra`. DataError for anything else."""
        tensors, metadata = load_checkpoint(path)
        try:
            about = json.loads(metadata[_META])
            optimizer, groups = _numbered(tensors, _OPTIMIZER), _numbered(tensors, _GROUPS)
            weights = {key.removeprefix(_WEIGHTS): each for key, each in tensors.items() if key.startswith(_WEIGHTS)}
            series = [Series.model_validate(each) for each in about["series"]]
            step, seconds = int(about["step"]), float(about["seconds"])
            return cls(step, seconds, weights, optimizer, groups, about["losses"], series, about["execution"]), about[
                "extra"
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"expected the state of a training at {path.name}, got {error!r}") from error


def optimizer_tensors(optimizer: Optimizer) -> dict[int, dict[str, Tensor]]:
    """An optimizer's tensors by number of parameter."""
    kept: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        number: {name: value for name, value in each.items() if isinstance(value, Tensor)}
        for number, each in kept.items()
    }


def group_tensors(optimizer: Optimizer) -> dict[int, dict[str, Tensor]]:
    """The tensors of an optimizer's parameter groups by number of group."""
    return {
        number: {name: value for name, value in group.items() if isinstance(value, Tensor)}
        for number, group in enumerate(optimizer.param_groups)
    }


def _numbered(tensors: Mapping[str, Tensor], prefix: str) -> dict[int, dict[str, Tensor]]:
    found: dict[int, dict[str, Tensor]] = {}
    for key in [key for key in tensors if key.startswith(prefix)]:
        number, name = key.removeprefix(prefix).split("/")
        found.setdefault(int(number), {})[name] = tensors[key]
    return found


def restore(model: nn.Module, optimizer: Optimizer, state: TrainingState) -> None:
    """Put model and optimizer, on their device, where the state says. DataError where they are others."""
    try:
        model.load_state_dict(state.weights)
        fresh = enumerate(optimizer.state_dict()["param_groups"])
        groups = [group | state.groups.get(number, {}) for number, group in fresh]
        optimizer.load_state_dict({"state": state.optimizer, "param_groups": groups})
    except (RuntimeError, ValueError) as error:
        raise DataError(f"expected the state of this training, got another's: {str(error).splitlines()[0]}") from error
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            kept = optimizer.state[parameter]
            for name, value in kept.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    # Files are contiguous; in the parameter's own layout an update takes its usual time.
                    kept[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
