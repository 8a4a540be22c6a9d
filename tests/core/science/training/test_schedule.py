import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from transfusion_core.science.training.schedule import (
    checkpoint_name,
    checkpoint_steps,
    evaluation_steps,
    learning_rate,
)
from transfusion_core.specs.training import TrainingSpec


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [(10, 4, [0, 4, 8, 10]), (8, 4, [0, 4, 8]), (3, 50, [0, 3]), (1, 1, [0, 1])],
)
def test_the_evaluation_grid_holds_the_first_and_the_last_step(steps: int, every: int, expected: list[int]) -> None:
    assert evaluation_steps(steps, every) == expected


@given(st.integers(1, 10_000_000), st.integers(0, 50))
def test_checkpoints_are_distinct_rising_and_as_many_as_fit(steps: int, count: int) -> None:
    kept = checkpoint_steps(steps, count)
    assert kept == sorted(set(kept))
    assert (kept[0], kept[-1]) == (0, steps)
    assert len(kept) == 2 + min(count, steps - 1)


def test_checkpoints_are_evenly_spaced_in_log_step() -> None:
    assert checkpoint_steps(100_000, 4) == [0, 10, 100, 1000, 10_000, 100_000]


def test_a_short_run_keeps_every_step() -> None:
    assert checkpoint_steps(5, 50) == [0, 1, 2, 3, 4, 5]
    assert checkpoint_steps(1, 4) == [0, 1]


def test_the_start_has_a_name_and_the_rest_their_step() -> None:
    assert [checkpoint_name(step) for step in (0, 7)] == ["init", "7"]


def _rates(**recipe) -> list[float]:
    spec = TrainingSpec.model_validate({"lr": 0.8, "steps": 8, **recipe})
    return [learning_rate(spec, step) for step in range(spec.steps)]


def test_the_learning_rate_is_constant_unless_told_otherwise() -> None:
    assert _rates() == [0.8] * 8


def test_warm_up_rises_in_equal_parts_to_the_full_rate() -> None:
    assert _rates(warmup_steps=4) == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.8, 0.8])


def test_the_cosine_spans_what_warm_up_leaves() -> None:
    whole = _rates(schedule="cosine")
    assert whole[0] == 0.8
    assert whole[4] == pytest.approx(0.4)
    assert whole == sorted(whole, reverse=True)
    assert 0 < whole[-1] < 0.04
    after = _rates(schedule="cosine", warmup_steps=2)
    assert after[:3] == pytest.approx([0.4, 0.8, 0.8])
    assert after[5] == pytest.approx(0.4)


def test_the_rate_falls_in_steps() -> None:
    assert _rates(schedule="step", step_every=3, step_factor=0.5) == pytest.approx([0.8] * 3 + [0.4] * 3 + [0.2] * 2)


def test_each_plateau_lowers_the_rate_after_warm_up() -> None:
    spec = TrainingSpec(lr=0.8, schedule="plateau", plateau_patience=2, step_factor=0.5, warmup_steps=2)
    assert [learning_rate(spec, step, plateaus=n) for step, n in [(0, 0), (1, 3), (2, 0), (9, 1), (30, 2)]] == (
        pytest.approx([0.4, 0.8, 0.8, 0.4, 0.2])
    )


def test_a_training_that_is_all_warm_up_is_fine() -> None:
    assert _rates(schedule="cosine", warmup_steps=8)[-1] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"schedule": "step"}, "'step_every' and schedule 'step' go together"),
        ({"step_every": 5}, "'step_every' and schedule 'step' go together"),
        ({"schedule": "plateau"}, "'plateau_patience' and schedule 'plateau' go together"),
        ({"plateau_patience": 5}, "'plateau_patience' and schedule 'plateau' go together"),
        ({"ema": 1}, "less than 1"),
        ({"class_weights": [1, 0]}, "greater than 0"),
        ({"early_stopping": {"patience": 0}}, "greater than or equal to 1"),
        ({"steps": 5, "warmup_steps": 6}, "'warmup_steps' 6 is more than the 5 'steps'"),
        ({"clip_norm": 0}, "greater than 0"),
        ({"label_smoothing": 1}, "less than 1"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(recipe, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        TrainingSpec.model_validate(recipe)


def test_what_says_nothing_new_is_left_out_of_the_json() -> None:
    assert set(TrainingSpec().model_dump(mode="json")) == {
        "optimizer", "lr", "schedule", "warmup_steps", "step_every", "step_factor", "clip_norm", "label_smoothing",
        "batch_size", "steps", "eval_every", "weight_decay", "momentum", "augmentation", "checkpoints",
    }  # fmt: skip
    said = {"ema": 0.9, "decay_norms": False, "retry_on_divergence": True, "freeze": "all", "class_weights": [1.0, 2.0]}
    assert said.items() <= TrainingSpec.model_validate(said).model_dump(mode="json").items()
