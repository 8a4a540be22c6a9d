"""What a training tells its surroundings, and the questions that it asks them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from transfusion_core.science.training.state import TrainingState
from transfusion_core.specs.dataset import Split


class Point(NamedTuple):
    """One value of a curve; None where it does not exist, e.g. the AUROC of one class."""

    name: str
    split: Split
    value: float | None


class Hooks:
    """Hears nothing and never stops: override what you want to hear. What a hook raises ends the training."""

    def on_points(self, step: int, points: Sequence[Point]) -> None:
        """An evaluation took place."""

    def on_checkpoint(self, step: int, name: str, state_dict: Mapping[str, Tensor]) -> None:
        """Weights to keep, those after `step` updates. The tensors are the model's own: write or copy them at once."""

    def on_progress(self, step: int, steps: int, images_per_second: float) -> None:
        """An update was made, the `step`-th of `steps`; called often, so it has to be cheap."""

    def on_retry(self, lr: float, error: str) -> None:
        """The training diverged and starts again at that learning rate: nothing told of it so far counts."""

    def should_stop(self) -> bool:
        """Asked before every update: True ends the training after telling its state."""
        return False

    def wants_state(self, step: int) -> bool:
        """Asked after every update but the last, so it has to be cheap: True to be told the state."""
        return False

    def on_state(self, state: TrainingState) -> None:
        """Where the training stands; to continue from."""
