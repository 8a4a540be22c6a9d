"""The section `movement`: Figure 3, the way through training, and the filters."""

import pytest

from studies import expansion, jobs
from transfusion_core.reporting.build import build
from transfusion_core.specs.report import Report, Row


def section(**changes) -> list[Row]:
    expanded = expansion(**{"sections": ["movement"], "models": ["cbr-tiny"], "seeds": 3, **changes})
    made: Report = build(expanded.spec.model_dump(mode="json"), jobs(expanded))
    assert made.sections["movement"].complete
    return made.sections["movement"].table


def test_figure_3_pairs_random_networks_with_each_other_and_every_arm_with_random_of_its_seed() -> None:
    rows = [row for row in section() if row.start is not None and (row.layer, row.measure) == ("stage1", "cca")]
    assert sorted((row.pair, row.seed) for row in rows) == [
        *(("mean_var-random", seed) for seed in range(3)),
        *(("pretrained-random", seed) for seed in range(3)),
        *(("random-random", seed) for seed in (0, 0, 1)),
    ]
    first = next(row for row in rows if (row.pair, row.seed) == ("pretrained-random", 2))
    assert (first.start, first.value, first.stage) == (pytest.approx(0.8), pytest.approx(0.9), 1)


def test_how_well_the_start_foretells_the_end_is_a_squared_correlation() -> None:
    rows = {(row.layer, row.measure): row for row in section() if row.metric == "r2"}
    assert rows["stage1", "cca"].n == 9
    assert 0 < rows["stage1", "cca"].value < 1
    few = [row for row in section(seeds=1) if row.metric == "r2"]
    assert {row.reason for row in few} == {"fewer than 3 pairs of networks"}
    alike = [row for row in section(seeds=3, inits=["random"]) if row.metric == "r2"]
    assert {row.reason for row in alike} == {"all pairs are equally alike"}


def test_checkpoints_on_the_way_are_rows_with_a_step() -> None:
    rows = [row for row in section() if row.step == 9 and row.init == "random"]
    assert {row.measure for row in rows} == {"cca", "svcca", "cka", "relative_l2", "cosine"}
    (first,) = [row for row in rows if (row.layer, row.measure) == ("stage1", "relative_l2")]
    assert (first.value, first.n) == (0.5, 3)


def test_filters_are_pictures_of_the_first_seed_before_and_after() -> None:
    rows = [row for row in section() if row.picture]
    assert [(row.init, row.seed, row.label) for row in rows][:2] == [("random", 0, "before"), ("random", 0, "after")]
    assert all(row.value is None and row.reason for row in rows)
