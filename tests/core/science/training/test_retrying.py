import pytest
import torch

from transfusion_core.errors import Diverged, JobCancelled
from transfusion_core.science.training.hooks import Hooks
from transfusion_core.science.training.loop import train
from transfusion_core.science.training.state import TrainingState
from transfusion_core.specs.training import TrainingSpec

SPEC = TrainingSpec(steps=12, eval_every=4, batch_size=8, checkpoints=1, lr=0.1, retry_on_divergence=True)


class Listener(Hooks):
    """Writes down what it hears; asks to stop after so many updates of an attempt, counted from 1."""

    def __init__(self, stop_after: int | None = None, attempt: int = 2) -> None:
        self.heard, self.step, self.stop_after, self.attempts_left = [], 0, stop_after, attempt - 1

    def on_checkpoint(self, step, name, state_dict) -> None:
        self.heard.append(name)

    def on_retry(self, lr: float, error: str) -> None:
        self.heard.append((lr, error.partition(",")[0]))
        self.step, self.attempts_left = 0, self.attempts_left - 1

    def on_progress(self, step: int, steps: int, images_per_second: float) -> None:
        self.step = step

    def should_stop(self) -> bool:
        return self.attempts_left == 0 and self.step == self.stop_after

    def on_state(self, state: TrainingState) -> None:
        self.state = state


@pytest.fixture
def run(make_data, cpu):
    def run(model, spec: TrainingSpec = SPEC, **more):
        return train(model, make_data(), spec, task="multiclass", seed=0, device=cpu, **more)

    return run


def test_the_second_attempt_is_a_training_of_its_own_at_a_tenth_of_the_rate(run, make_fragile) -> None:
    hooks, retried, calm = Listener(), make_fragile(), make_fragile()
    result = run(retried, hooks=hooks)
    expected = run(calm, SPEC.model_copy(update={"lr": SPEC.lr * 0.1, "retry_on_divergence": False}))
    rate = (SPEC.lr * 0.1, "expected a finite training loss")
    assert hooks.heard == ["init", "3", rate, "init", "3", "final"]
    assert (result.series, result.metrics) == (expected.series, expected.metrics)
    assert (result.retried_at_lr, expected.retried_at_lr) == (SPEC.lr * 0.1, None)
    assert all(torch.equal(p, q) for p, q in zip(retried.parameters(), calm.parameters(), strict=True))


def test_a_training_that_does_not_diverge_is_not_tried_again(run, make_fragile) -> None:
    hooks = Listener()
    assert run(make_fragile(100.0), hooks=hooks).retried_at_lr is None
    assert hooks.heard == ["init", "3", "final"]


def test_there_is_no_third_attempt_and_no_second_unless_asked(run, make_fragile) -> None:
    hooks = Listener()
    with pytest.raises(Diverged):
        run(make_fragile(1e-9), hooks=hooks)
    assert [heard for heard in hooks.heard if isinstance(heard, tuple)] == [(SPEC.lr * 0.1, hooks.heard[1][1])]
    with pytest.raises(Diverged):
        run(make_fragile(), SPEC.model_copy(update={"retry_on_divergence": False}), hooks=hooks)


@pytest.mark.parametrize(("attempt", "stop_after"), [(1, 0), (1, 3), (2, 0), (2, 5)])
def test_stopped_it_goes_on_in_the_attempt_that_it_was_in(run, make_fragile, attempt: int, stop_after: int) -> None:
    whole, model, hooks = make_fragile(), make_fragile(), Listener(stop_after, attempt)
    expected = run(whole)
    with pytest.raises(JobCancelled):
        run(model, hooks=hooks)
    resumed = make_fragile()
    found = run(resumed, resume=hooks.state, hooks=(after := Listener()))
    assert sum(isinstance(heard, tuple) for heard in after.heard) == 2 - attempt
    assert (found.series, found.metrics, found.retried_at_lr) == (expected.series, expected.metrics, SPEC.lr * 0.1)
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), resumed.parameters(), strict=True))
