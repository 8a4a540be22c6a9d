"""The whole platform in one process: from a spec to the report by curl, client and command line."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from platforms import TINY, Platform, embedded, report_by_cli, report_by_curl
from transfusion_client import Client
from transfusion_core.errors import InvalidRequest

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """One platform for the tests of this file. Nobody listens where it sends its traces, which it must not mind."""
    traced = {"TRANSFUSION_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with tempfile.TemporaryDirectory() as folder, embedded(Path(folder), traced) as running:
        yield running


@pytest.fixture(scope="module")
def first(platform: Platform) -> dict[str, Any]:
    """The report of the tiny experiment, by the client."""
    with Client(platform.url) as client:
        experiment = client.experiments.create(TINY).wait(progress=False, timeout_seconds=240)
        assert experiment.state == "succeeded", experiment.counts
        return experiment.report().model_dump(mode="json")


def test_every_section_comes_out_whole(first: dict[str, Any]) -> None:
    assert set(first["sections"]) == {
        "dataset",
        "performance",
        "similarity",
        "movement",
        "reuse",
        "convergence",
        "verdict",
    }
    for name, section in first["sections"].items():
        assert section["complete"]
        assert section["table"]
        assert bool(section["charts"]) == (name != "verdict")


def test_a_collector_that_is_away_costs_nothing_but_the_traces(platform: Platform, first: dict[str, Any]) -> None:
    with Client(platform.url) as client:
        assert client.health()["status"] == "ok"


def test_curl_client_and_command_line_give_the_same_report(platform: Platform, first: dict[str, Any]) -> None:
    by_curl, by_cli = report_by_curl(platform, TINY), report_by_cli(platform, TINY)
    assert first["digest"] == by_curl["digest"] == by_cli["digest"]
    for name, section in first["sections"].items():
        assert by_curl["sections"][name]["table"] == by_cli["sections"][name]["table"] == section["table"]


def test_posting_the_same_experiment_again_trains_nothing(platform: Platform, first: dict[str, Any]) -> None:
    with Client(platform.url) as client:
        before = {run.id: run.attempt for run in client.runs.list()}
        planned = client.experiments.plan(TINY)
        assert (planned.new_jobs, planned.images_to_train) == (0, 0)
        again = client.experiments.create(TINY).wait(progress=False, timeout_seconds=60)
        assert again.state == "succeeded"
        assert {run.id: run.attempt for run in client.runs.list()} == before


def test_two_experiments_are_reported_as_one_and_nothing_is_trained(platform: Platform) -> None:
    with Client(platform.url) as client:
        tiny = {**TINY, "image_size": 32, "sections": ["performance", "similarity"]}
        bodies = [{**tiny, "inits": [init], "seeds": seeds} for init, seeds in zip(TINY["inits"], (3, 2), strict=True)]
        parts = [client.experiments.create(body).wait(progress=False, timeout_seconds=240) for body in bodies]
        assert not any(row.pair for row in parts[1].report().sections["performance"].table)
        before = {run.id: run.attempt for run in client.runs.list()}
        both = client.experiments.combine([part.id for part in parts]).wait(progress=False, timeout_seconds=120)
        assert both.state == "succeeded"
        assert {run.id: run.attempt for run in client.runs.list()} == before
        report = both.report()
        assert client.experiments.plan(report.spec).new_jobs == 0, "the report's spec asks for the same runs"
    assert all(section.complete for section in report.sections.values())
    rows = report.sections["performance"].table
    assert {row.init for row in rows} >= {"random", "pretrained"}
    (delta,) = [row for row in rows if (row.pair, row.label, row.metric) == ("pretrained-random", ">=2", "auroc")]
    assert (delta.value is not None, delta.n) == (True, 2)
    assert {row.pair for row in report.sections["similarity"].table} >= {"pretrained-random"}
    assert "with seeds 0 to 2; cbr-tiny from `pretrained` (natural) on 64 images with seeds 0 to 1" in report.methods


def test_a_run_shows_its_curve_its_weights_and_where_it_comes_from(platform: Platform, first: dict[str, Any]) -> None:
    with Client(platform.url) as client:
        (run, *_) = client.runs.list(init="pretrained")
        run = client.runs.get(run.id)
        assert {checkpoint["name"] for checkpoint in run.checkpoints} >= {"init", "final"}
        assert run.weight_report is not None
        assert {tensor["action"] for tensor in run.weight_report["tensors"]} >= {"copied", "random"}
        assert run.manifest
        series = {(s.name, s.split): s for s in client.runs.metrics(run.id)}
        assert series["auroc", "test"].steps == [0, 2, 4]


def test_two_checkpoints_are_compared_on_request(platform: Platform, first: dict[str, Any]) -> None:
    with Client(platform.url) as client:
        a, b = [run for run in client.runs.list(init="random", dataset="demo-retina@1") if run.state == "succeeded"][:2]
        made = client.comparisons.create(f"{a.id}@final", f"{b.id}@final", measures=["cka"], images=50, pairs="all")
        found = client.comparisons.wait(made.id, timeout_seconds=60)
        assert found.state == "succeeded"
        assert len(found.results) == 16
        assert all(0 <= result.value <= 1 for result in found.results if result.value is not None)


def test_training_from_random_learns_to_grade_the_demo_retinas(platform: Platform) -> None:
    spec = {
        "name": "learns",
        "dataset": "many",
        "models": ["cbr-tiny"],
        "seeds": 1,
        "training": {"steps": 40, "eval_every": 40, "checkpoints": 0},
        "sections": ["performance"],
    }
    with Client(platform.url) as client:
        client.datasets.add("many", {"kind": "recipe", "recipe": {"name": "demo-retina", "images": 1000}})
        experiment = client.experiments.create(spec).wait(progress=False, timeout_seconds=240)
        rows = experiment.report().sections["performance"].table
    assert experiment.spec["image_size"] == 64
    (auroc,) = [row.value for row in rows if (row.label, row.metric) == (">=2", "auroc")]
    assert auroc is not None
    assert auroc > 0.9


def test_a_bad_spec_is_refused_whole_and_nothing_is_created(platform: Platform) -> None:
    with Client(platform.url) as client:
        before = [experiment.id for experiment in client.experiments.list()]
        with pytest.raises(InvalidRequest) as refused:
            client.experiments.create({**TINY, "models": ["cbr-tinny"], "seeds": 0, "colour": 1, "dataset": "no@1"})
        assert {fault.pointer for fault in refused.value.faults} == {"/models/0", "/seeds", "/colour", "/dataset"}
        assert [experiment.id for experiment in client.experiments.list()] == before


def test_a_cancelled_experiment_stops_and_says_so(platform: Platform) -> None:
    with Client(platform.url) as client:
        slow = {**TINY, "name": "slow", "training": {"steps": 100_000, "eval_every": 1000, "batch_size": 16}}
        experiment = client.experiments.create({**slow, "inits": ["random"], "sections": ["performance"]})
        experiment.cancel()
        assert experiment.wait(progress=False, timeout_seconds=60).state == "cancelled"
        assert {run.state for run in experiment.runs()} == {"cancelled"}
