import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfusion_core.science.training.schedule import checkpoint_name, checkpoint_steps, evaluation_steps


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


def test_the_ends_have_names_and_the_rest_their_step() -> None:
    assert [checkpoint_name(s, 20) for s in (0, 7, 20)] == ["init", "7", "final"]
