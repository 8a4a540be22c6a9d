"""Effects that were planted by the platform's own inits, trained by its own jobs, and found by its report."""

from collections.abc import Iterator

import pytest
import torch

from transfusion_core.specs.dataset import DatasetSpec
from transfusion_core.specs.report import Report, Row
from worker_inline import report_of

SIZE = 16
SEEDS = 3


def drawn(name: str, images: int) -> DatasetSpec:
    """A demo dataset of small pictures, hardly any of them for validation."""
    recipe = {"name": name, "images": images, "size": SIZE}
    shares = {"val_share": 0.02, "test_share": 0.3}
    return DatasetSpec.model_validate({"name": name, "kind": "recipe", "recipe": recipe, **shares}).resolved()


DATASETS = [drawn("demo-chest", 500), drawn("demo-natural", 300)]
BODY = {
    "dataset": "demo-chest",
    "models": ["cbr-tiny"],
    "seeds": SEEDS,
    "image_size": SIZE,
    "similarity": {"measures": ["cca"], "images": 80, "nulls": False},
}
RECIPE = {"batch_size": 8, "checkpoints": 0}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def source(**training: object) -> dict[str, object]:
    """Weights from a network that the experiment trains on the pictures of shapes."""
    return {"shapes": {"pretrain": {"dataset": "demo-natural", "training": {**RECIPE, **training}}}}


def rows(report: Report, section: str, **words: object) -> list[Row]:
    """The rows of a section that have these words."""
    return [row for row in report.sections[section].table if all(getattr(row, k) == v for k, v in words.items())]


def in_common(report: Report, pair: str) -> dict[str | None, Row]:
    """By tensor, the cosine of the final weights of two networks."""
    return {row.layer: row for row in rows(report, "similarity", pair=pair, measure="cosine")}


def alike(report: Report, pair: str) -> dict[str | None, Row]:
    """By stage, the similarity of the activations of two trained networks."""
    return {row.layer: row for row in rows(report, "similarity", pair=pair, measure="cca", metric=None) if row.layer}


def above(row: Row, other: Row) -> bool:
    """Whether one interval lies above another."""
    assert row.interval
    assert other.interval
    return row.interval[0] > other.interval[1]


DRAWN_APART = 0.05
"""Independent draws of a thousand numbers or more have a cosine nearer to 0 than this."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Stages 1 and 2 of one trained network, planted in networks that draw stages 3 and 4 and the head by their seed.

    Beside them networks that draw everything. All learn alike, no stage is held still. What is shared is known: the
    planted stages began as the same tensors, all others as independent draws of the same distribution.
    """
    body = BODY | {
        "sources": source(steps=40, eval_every=40),
        "inits": ["random", {"kind": "transfuse", "prefix": "stage2", "source": "shapes"}],
        "training": {**RECIPE, "steps": 24, "eval_every": 24},
        "sections": ["similarity", "reuse"],
    }
    return report_of(body, tmp_path_factory.mktemp("shared"), datasets=DATASETS)


SHARING = "transfuse(stage2)-transfuse(stage2)"


def test_stages_that_were_shared_are_found_there_and_nowhere_else(shared: Report) -> None:
    found, null = in_common(shared, SHARING), in_common(shared, "random-random")
    assert list(found) == ["stage1.conv", "stage2.conv", "stage3.conv", "stage4.conv", "head"]
    assert [layer for layer, row in found.items() if above(row, null[layer])] == ["stage1.conv", "stage2.conv"]
    assert min(found[layer].value for layer in ("stage1.conv", "stage2.conv")) > 0.8
    apart = [found[layer].value for layer in ("stage3.conv", "stage4.conv", "head")]
    assert max(map(abs, apart)) < DRAWN_APART
    assert max(abs(row.value) for row in null.values()) < DRAWN_APART


def test_activations_find_them_too_but_pass_on_to_later_stages_what_they_are_fed(shared: Report) -> None:
    found, null = alike(shared, SHARING), alike(shared, "random-random")
    excess = [found[stage].value - null[stage].value for stage in ("stage1", "stage2", "stage3")]
    assert above(found["stage1"], null["stage1"])
    assert above(found["stage2"], null["stage2"])
    assert excess[0] > excess[1] > excess[2]
    (stage3,) = rows(shared, "reuse", pair="transfuse(stage2)-random", measure="cca", layer="stage3")
    assert stage3.interval
    assert stage3.interval[0] > 0, "drawn anew, but fed by stages that keep: why the weights have rows of their own"


def test_networks_that_draw_the_same_rest_are_not_compared(shared: Report) -> None:
    found = in_common(shared, "transfuse(stage2)-random")
    assert {row.n for row in found.values()} == {SEEDS - 1}
    assert max(abs(row.value) for row in found.values()) < 2 * DRAWN_APART


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A source whose weights have shrunk to about a quarter, and networks drawn from its moments alone.

    Batch norm takes the scale out of what a convolution answers, and Adam's steps are of one size whatever the
    gradient's: weights of a quarter turn four times as far in a step. At a learning rate at which weights of the usual
    size hardly turn, the scale alone makes training faster; features cannot, as none are taken over. (Far smaller
    ones would be slower again: batch norm's running variances begin at 1 and must first come down to theirs.)
    """
    body = BODY | {
        "sources": source(optimizer="adamw", weight_decay=25.0, steps=60, eval_every=60),
        "inits": ["random", {"kind": "mean_var", "source": "shapes"}],
        "training": {**RECIPE, "lr": 1e-5, "batch_size": 4, "steps": 120, "eval_every": 10},
        "sections": ["convergence", "similarity", "reuse"],
    }
    return report_of(body, tmp_path_factory.mktemp("scaled"), datasets=DATASETS)


def test_networks_that_share_the_scale_of_weights_alone_are_faster(scaled: Report) -> None:
    (faster,) = rows(scaled, "convergence", init="mean_var", metric="speed_up")
    assert faster.value
    assert faster.interval
    assert faster.interval[0] > 1
    assert faster.p_value
    assert faster.p_value < 0.05
    steps = [row.value for row in rows(scaled, "convergence", metric="steps_to_threshold") if row.seed is not None]
    assert max(steps[SEEDS:]) < min(steps[:SEEDS])


def test_and_show_no_reuse_in_any_stage(scaled: Report) -> None:
    found, null = in_common(scaled, "mean_var-mean_var"), in_common(scaled, "random-random")
    assert [layer for layer, row in found.items() if above(row, null[layer])] == []
    assert max(abs(row.value) for row in found.values()) < DRAWN_APART
    kept = rows(scaled, "reuse", pair="mean_var-random")
    assert [row.layer for row in kept] == ["stage1", "stage2", "stage3"]
    assert [row.layer for row in kept if row.interval and row.interval[0] > 0] == []
