from dataclasses import replace

import pytest
import torch

from transfusion_core.errors import DataError
from transfusion_core.science.training.evaluation import answers, evaluate
from transfusion_core.science.training.hooks import Hooks
from transfusion_core.science.training.loop import train
from transfusion_core.science.training.metrics import evaluate_scores
from transfusion_core.science.training.stopping import best_step, has_stalled, plateaus
from transfusion_core.specs.training import EarlyStopping, TrainingSpec

LOSS, AUROC = EarlyStopping(patience=2), EarlyStopping(patience=2, metric="auroc")
HASTY = TrainingSpec(steps=40, eval_every=2, batch_size=8, checkpoints=0, lr=0.1, early_stopping=LOSS)


class Listener(Hooks):
    def __init__(self) -> None:
        self.kept: list[tuple[int, str]] = []
        self.rates: list[float] = []

    def on_checkpoint(self, step, name, state_dict) -> None:
        self.kept.append((step, name))


@pytest.mark.parametrize(
    ("curve", "stopping", "best", "stalled"),
    [
        ({}, LOSS, None, False),
        ({5: 1.0, 10: 0.5}, LOSS, 10, False),
        ({5: 1.0, 10: 0.5}, AUROC, 5, False),
        ({5: 0.5, 10: 1.0, 15: 0.6}, LOSS, 5, True),
        ({5: 0.5, 10: 0.5, 15: 0.5}, LOSS, 5, True),  # as good is not better
        ({5: None, 10: 0.7, 15: None}, LOSS, 10, False),
        ({5: None, 10: None}, AUROC, None, True),
    ],
)
def test_a_curve_says_which_step_was_best_and_whether_to_wait(curve, stopping, best, stalled) -> None:
    assert best_step(curve, stopping) == best
    assert has_stalled(curve, stopping) == stalled


@pytest.mark.parametrize(
    ("losses", "patience", "expected"),
    [
        ([], 1, 0),
        ([3, 2, 1], 1, 0),
        ([3, 3], 1, 1),
        ([3, 4, 2, 5, 5], 2, 1),
        ([3, 4, 4, 4, 4, 4], 2, 2),
        ([3, 4, None, 2, None, None], 2, 2),
    ],
)
def test_every_so_many_evaluations_without_a_lower_loss_are_a_plateau(losses, patience, expected) -> None:
    assert plateaus(losses, patience) == expected


def _run(make_model, data, spec: TrainingSpec, task: str = "multiclass"):
    hooks, model = Listener(), make_model()
    return train(model, data, spec, task=task, seed=0, device=data.mean.device, hooks=hooks), model, hooks


def test_it_ends_with_the_best_weights_once_validation_gets_no_better(make_model, make_noisy) -> None:
    data = make_noisy()
    result, model, hooks = _run(make_model, data, HASTY)
    losses = next(series for series in result.series if (series.name, series.split) == ("loss", "val"))
    best = min(losses.values[1:])
    assert result.metrics["val"].loss == best
    assert result.best_step == losses.steps[losses.values.index(best)]
    assert result.steps == result.best_step + 4 < 40
    assert losses.steps[-1] == result.steps
    assert hooks.kept == [(0, "init"), (result.best_step, "final")]
    for split in ("val", "test"):
        again = evaluate(model, data, task="multiclass", split=split, device=data.mean.device)
        assert again == result.metrics[split]
    assert torch.equal(result.test_logits, answers(model, data, split="test", device=data.mean.device))
    told = evaluate_scores("multiclass", result.test_logits, data.labels[data.test], classes=data.classes)
    assert told == result.metrics["test"], "the scores are of the weights that are final"


def test_a_training_without_it_goes_the_same_way_and_further(make_model, make_noisy) -> None:
    stopped, model, _ = _run(make_model, make_noisy(), HASTY)
    recipe = {"early_stopping": None, "steps": stopped.best_step}
    _, plain, _ = _run(make_model, make_noisy(), HASTY.model_copy(update=recipe))
    assert all(torch.equal(p, q) for p, q in zip(plain.parameters(), model.parameters(), strict=True))


def test_the_last_weights_are_kept_where_asked(make_model, make_noisy) -> None:
    stopping = LOSS.model_copy(update={"keep": "last"})
    result, _, hooks = _run(make_model, make_noisy(), HASTY.model_copy(update={"early_stopping": stopping}))
    assert result.best_step is None
    assert hooks.kept[-1] == (result.steps, "final")
    assert result.steps < 40


def test_a_training_that_gets_to_its_end_has_the_best_weights_too(make_model, make_noisy) -> None:
    patient = HASTY.model_copy(update={"steps": 12, "early_stopping": EarlyStopping(patience=100)})
    result, _, hooks = _run(make_model, make_noisy(), patient)
    assert result.steps == 12
    assert hooks.kept[-1] == (result.best_step, "final")
    assert result.best_step < 12


def test_of_an_average_the_best_is_kept(make_model, make_noisy) -> None:
    data = make_noisy()
    result, model, _ = _run(make_model, data, HASTY.model_copy(update={"ema": 0.5}))
    assert evaluate(model, data, task="multiclass", split="val", device=data.mean.device) == result.metrics["val"]


def test_a_plateau_slows_the_learning(make_model, make_noisy) -> None:
    flat = TrainingSpec(steps=12, eval_every=2, batch_size=8, lr=0.5, optimizer="sgd", momentum=0.0)
    falling = {"schedule": "plateau", "plateau_patience": 1, "step_factor": 1e-9}
    _, plain, _ = _run(make_model, make_noisy(), flat)
    result, slowed, _ = _run(make_model, make_noisy(), flat.model_copy(update=falling))
    losses = next(series.values for series in result.series if (series.name, series.split) == ("loss", "val"))
    assert plateaus(losses[1:], 1) > 0
    assert not all(torch.equal(p, q) for p, q in zip(plain.parameters(), slowed.parameters(), strict=True))


@pytest.mark.parametrize(
    ("recipe", "val", "told"),
    [
        ({"early_stopping": LOSS}, torch.arange(0), "has loss, which steers the training, got"),
        ({"early_stopping": AUROC}, torch.arange(40, 60, 2), "has auroc.*always positive"),
        ({"schedule": "plateau", "plateau_patience": 2}, torch.arange(0), "has loss"),
    ],
)
def test_where_nothing_can_be_validated_it_is_refused(make_model, make_data, recipe, val, told: str) -> None:
    data = replace(make_data(), val=val)
    with pytest.raises(DataError, match=told):
        _run(make_model, data, TrainingSpec().model_copy(update=recipe))


def test_values_that_never_exist_leave_the_last_weights(make_data, make_model) -> None:
    class Overflows(torch.nn.Sequential):
        """Trains, but has no finite answer in use."""

        def forward(self, images):
            return super().forward(images) if self.training else super().forward(images) * float("inf")

    result, _, hooks = _run(lambda: Overflows(make_model()), make_data(), HASTY)
    assert (result.steps, result.best_step, hooks.kept[-1]) == (4, None, (4, "final"))
    assert result.metrics["val"].loss is None
