"""What a training tells its surroundings, and the one question that it asks them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

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
        """Weights to keep. The tensors are the model's own: write or copy them before returning."""

    def on_progress(self, step: int, steps: int, images_per_second: float) -> None:
        """An update was made, the `step`-th of `steps`; called often, so it has to be cheap."""

    def should_stop(self) -> bool:
        """Asked before every update: True ends the training after one more checkpoint."""
        return False
