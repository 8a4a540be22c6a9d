"""What evaluations on the validation split change in a training: its learning rate, its end, and its final weights."""

from collections.abc import Mapping

from torch import nn

from transfusion_core.science.training.checkpoint import plain_copies
from transfusion_core.science.training.curves import Curves
from transfusion_core.science.training.stopping import Best, best_step, has_stalled, plateaus
from transfusion_core.specs.training import Metrics, TrainingSpec


class Steering:
    """Judges by the curves alone; what it has to remember besides is the best evaluation's weights."""

    def __init__(self, training: TrainingSpec) -> None:
        """At the start of a training, before which nothing was evaluated."""
        self._training, self._stopping = training, training.early_stopping
        self.best: Best | None = None
        self.plateaus, self.stalled = 0, False

    def restore(self, best: Best | None, curves: Curves) -> None:
        """Stand where a training with these curves stood."""
        self.best = best
        self._judge(curves)

    def see(self, step: int, model: nn.Module, metrics: Mapping[str, Metrics], curves: Curves) -> None:
        """An evaluation of `model` at `step`, which is in the curves already."""
        self._judge(curves)
        stopping = self._stopping
        if (
            stopping
            and stopping.keep == "best"
            and step == best_step(curves.after(0, stopping.metric, "val"), stopping)
        ):
            self.best = Best(step, plain_copies(model.state_dict()), dict(metrics))

    def _judge(self, curves: Curves) -> None:
        if self._training.plateau_patience is not None:
            losses = curves.after(self._training.warmup_steps, "loss", "val")
            self.plateaus = plateaus(losses.values(), self._training.plateau_patience)
        if self._stopping is not None:
            self.stalled = has_stalled(curves.after(0, self._stopping.metric, "val"), self._stopping)
