import pytest
import torch

from transfusion_core.science.training.curves import Curves, LossNotFinite, TrainLoss
from transfusion_core.science.training.hooks import Point
from transfusion_core.specs.training import Series


def test_the_mean_is_over_the_losses_since_the_last_one() -> None:
    losses = TrainLoss()
    assert losses.take_mean() is None
    for step, value in enumerate([1.0, 2.0, 6.0], start=1):
        losses.add(step, torch.tensor(value))
        losses.look()
    losses.look()
    assert losses.take_mean() == 3.0
    losses.add(4, torch.tensor(5.0))
    losses.look()
    assert losses.take_mean() == 5.0


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
def test_the_first_loss_that_is_not_finite_is_named_by_its_step(bad: str) -> None:
    losses = TrainLoss()
    for step, value in [(11, 0.5), (12, float(bad)), (13, float("nan"))]:
        losses.add(step, torch.tensor(value))
    with pytest.raises(LossNotFinite, match=f"finite training loss, got {bad} in step 12"):
        losses.look()


def test_points_gather_into_curves_with_their_gaps() -> None:
    curves = Curves()
    curves.add(0, [Point("auroc", "val", None)])
    curves.add(5, [Point("auroc", "val", 0.75), Point("loss", "train", 0.5)])
    assert curves.series() == [
        Series(name="auroc", split="val", steps=[0, 5], values=[None, 0.75]),
        Series(name="loss", split="train", steps=[5], values=[0.5]),
    ]
