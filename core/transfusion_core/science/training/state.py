"""Where a training stands after a step, whole: what continues from it ends bit for bit as if it had never stopped.

There is no generator and no position in it: order, augmentation and dropout are functions of (seed, step), and so is
the learning rate.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from transfusion_core.errors import DataError
from transfusion_core.science.training.checkpoint import load_checkpoint, save_checkpoint
from transfusion_core.science.training.stopping import Best
from transfusion_core.specs.training import Metrics, Series

_META = "state"
_WEIGHTS, _OPTIMIZER, _GROUPS, _AVERAGE, _BEST = "weights/", "optimizer/", "groups/", "average/", "best/"


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
    average: dict[str, Tensor] = field(default_factory=dict)
    """The averaged weights; empty where none are."""
    best: Best | None = None
    """What the training would end with; None where that is its last weights."""
    retried_at_lr: float | None = None
    """The learning rate of the second attempt; None in the first."""

    def save(self, path: Path, **extra: Any) -> None:
        """Write it as safetensors; `extra` is JSON that comes back with it."""
        best_weights = self.best.weights if self.best else {}
        named = ((_WEIGHTS, self.weights), (_AVERAGE, self.average), (_BEST, best_weights))
        tensors = {prefix + name: tensor for prefix, kept in named for name, tensor in kept.items()}
        for prefix, numbered in ((_OPTIMIZER, self.optimizer), (_GROUPS, self.groups)):
            for number, kept in numbered.items():
                tensors |= {f"{prefix}{number}/{name}": tensor for name, tensor in kept.items()}
        about = {"step": self.step, "seconds": self.seconds, "losses": self.losses, "extra": extra}
        about |= {"series": [series.model_dump() for series in self.series], "execution": self.execution}
        about["best"] = self.best and {"step": self.best.step, "metrics": _plain(self.best.metrics)}
        about["retried_at_lr"] = self.retried_at_lr
        save_checkpoint(path, tensors, {_META: json.dumps(about)})

    @classmethod
    def load(cls, path: Path) -> "tuple[TrainingState, dict[str, Any]]":
        """What `save` wrote, and its `extra`. DataError for anything else."""
        tensors, metadata = load_checkpoint(path)
        try:
            about = json.loads(metadata[_META])
            optimizer, groups = _numbered(tensors, _OPTIMIZER), _numbered(tensors, _GROUPS)
            series = [Series.model_validate(each) for each in about["series"]]
            state = cls(
                step=int(about["step"]),
                seconds=float(about["seconds"]),
                weights=_named(tensors, _WEIGHTS),
                optimizer=optimizer,
                groups=groups,
                losses=about["losses"],
                series=series,
                execution=about["execution"],
                average=_named(tensors, _AVERAGE),
                best=_best(about["best"], _named(tensors, _BEST)),
                retried_at_lr=about["retried_at_lr"],
            )
            return state, about["extra"]
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


def _plain(metrics: Mapping[str, Metrics]) -> dict[str, Any]:
    return {split: each.model_dump() for split, each in metrics.items()}


def _best(told: dict[str, Any] | None, weights: dict[str, Tensor]) -> Best | None:
    if told is None:
        return None
    metrics = {split: Metrics.model_validate(each) for split, each in told["metrics"].items()}
    return Best(int(told["step"]), weights, metrics)


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): each for key, each in tensors.items() if key.startswith(prefix)}


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
