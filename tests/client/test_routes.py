"""Every route of the service has its method of the client."""

import hashlib
import json
from operator import attrgetter
from pathlib import Path
from typing import Any

import altair
import httpx2
import pytest

from documents import REPOSITORY
from transfusion_client.client import Client
from transfusion_client.events import Event
from transfusion_core.errors import NotFound, TransfusionError, Unavailable

METHODS = {
    "get_health": "health",
    "get_readiness": "readiness",
    "get_metrics": "metrics",
    "list_audit_events": "keys.audit",
    "list_workers": "workers",
    "list_comparisons": "comparisons.list",
    "create_comparison": "comparisons.create",
    "get_comparison": "comparisons.get",
    "list_datasets": "datasets.list",
    "register_dataset": "datasets.add",
    "delete_dataset": "datasets.delete",
    "get_dataset": "datasets.get",
    "get_dataset_profile": "datasets.profile",
    "list_dataset_samples": "datasets.samples",
    "get_dataset_manifest": "datasets.manifest",
    "get_dataset_diff": "datasets.diff",
    "get_dataset_salt": "datasets.hashed_patients",
    **dict.fromkeys(("get_dataset_chart_json", "get_dataset_chart_png", "get_dataset_chart_svg"), "datasets.chart"),
    "list_documents": "documents.list",
    "get_document": "documents.get",
    "list_experiments": "experiments.list",
    "create_experiment": "experiments.create",
    "combine_experiments": "experiments.combine",
    "plan_experiment": "experiments.plan",
    "delete_experiment": "experiments.delete",
    "get_experiment": "experiments.get",
    "cancel_experiment": "experiments.cancel",
    "resume_experiment": "experiments.resume",
    "retry_experiment": "experiments.retry",
    "fork_experiment": "experiments.fork",
    "stream_experiment_events": "experiments.events",
    "get_report": "experiments.report",
    "get_report_section": "experiments.report_section",
    "get_report_html": "experiments.report_html",
    "list_reports": "experiments.reports",
    "get_report_version": "experiments.report_version",
    "list_experiment_runs": "experiments.runs",
    "list_keys": "keys.list",
    "create_key": "keys.create",
    "revoke_key": "keys.revoke",
    "list_models": "models.list",
    "get_model": "models.get",
    "list_presets": "presets.list",
    "get_preset": "presets.get",
    "get_schema": "schemas.get",
    "list_removals": "removals.list",
    "get_removal": "removals.get",
    "list_removed": "removals.objects",
    "list_runs": "runs.list",
    "get_run": "runs.get",
    "list_run_checkpoints": "runs.checkpoints",
    "download_checkpoint": "runs.download",
    "stream_run_events": "runs.events",
    "get_run_filters": "runs.filters",
    "get_run_log": "runs.log",
    "get_run_manifest": "runs.manifest",
    "get_run_metrics": "runs.metrics",
    "list_weights": "weights.list",
    "register_weights": "weights.add",
}
OF_REPORT = {
    *("get_chart_json", "get_chart_pdf", "get_chart_png", "get_chart_svg"),
    *("get_report_csv", "get_report_parquet", "get_report_tex", "get_report_diff", "get_report_diff_html"),
}
"""Reached from a report: `chart`, `save` and `diff`."""
OF_UPLOADS = {
    *("create_upload", "get_upload", "put_upload_content"),
    *("begin_upload_parts", "put_upload_part", "complete_upload"),
}
"""Steps of `datasets.add` and `weights.add`."""


def test_every_operation_has_its_method(client: Client) -> None:
    told = json.loads((REPOSITORY / "api" / "openapi.json").read_text())
    operations = {operation["operationId"] for methods in told["paths"].values() for operation in methods.values()}
    assert operations == {*METHODS, *OF_REPORT, *OF_UPLOADS}
    for name in METHODS.values():
        assert callable(attrgetter(name)(client))


def test_what_is_told_of_and_removed(client: Client, service: Any, answering: Any) -> None:
    assert client.schemas.get("dataset")["title"] == "dataset"
    assert [removal.id for removal in client.removals.list()] == ["x1"]
    assert client.removals.get("x1").size_bytes == 5
    assert [gone.key for gone in client.removals.objects("x1")] == ["a/b"]
    assert [sample.label for sample in client.datasets.samples("retina@1")] == ["0"]
    assert [document.name for document in client.documents.list()] == ["a.md"]
    assert client.documents.get("a.md") == "# A document"
    assert client.metrics() == "transfusion_jobs 1"
    service.created["e1"] = {"id": "e1"}
    service.report = answering["report_of"]()
    (kept,) = client.experiments.reports("e1")
    assert client.experiments.report_version("e1", kept.digest).experiment == "e1"


BYTES = b"weights" * 1000


def kept(answering: Any, sha256: str) -> Any:
    link = {"step": 40, "name": "final", "bytes": len(BYTES), "sha256": sha256, "url": f"{answering['URL']}/v1/x"}
    return answering["Answer"](200, {"items": [link], "next": None})


def test_a_checkpoint_is_streamed_into_a_file_after_a_cut(
    client: Client, service: Any, tmp_path: Path, answering: Any
) -> None:
    service.upset(kept(answering, hashlib.sha256(BYTES).hexdigest()), path="/v1/runs/r1/checkpoints")
    service.upset(httpx2.ReadError, answering["Answer"](200, BYTES), path="/v1/x")
    assert client.runs.download("r1", to=tmp_path / "final.safetensors").read_bytes() == BYTES
    assert [file.name for file in tmp_path.iterdir()] == ["final.safetensors"]


def test_wrong_bytes_and_errors_leave_no_file(client: Client, service: Any, tmp_path: Path, answering: Any) -> None:
    upsets = [
        answering["Answer"](200, b"others"),
        answering["problem"](404, "not_found", "gone"),
        *[httpx2.ReadError] * 5,
    ]
    for outcome, raised in zip(
        (upsets[:1], upsets[1:2], upsets[2:]), (TransfusionError, NotFound, Unavailable), strict=True
    ):
        service.upset(kept(answering, "0" * 64), path="/v1/runs/r1/checkpoints")
        service.upset(*outcome, path="/v1/x")
        with pytest.raises(raised):
            client.runs.download("r1", "final", to=tmp_path / "final.safetensors")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotFound, match="it has final"):
        client.runs.download("r1", "41", to=tmp_path / "x")


def test_a_runs_log_is_followed_to_its_end(client: Client, service: Any, answering: Any) -> None:
    run = {"id": "r1", "key": "k" * 64, "model": "m", "init": "random", "train_size": "all", "seed": 0}
    run |= {"dataset": "d@1", "attempt": 1, "created_at": "2026-11-22T23:00:00Z"}
    for state, lines in (("running", ["a", "b"]), ("running", ["a", "b", "b"]), ("succeeded", ["b", "b", "c"])):
        service.upset(answering["Answer"](200, {"lines": lines}), path="/v1/runs/r1/log")
        service.upset(answering["Answer"](200, {**run, "state": state}), path="/v1/runs/r1")
    service.upsets.insert(2, ("/v1/runs/r1/log", httpx2.ReadError))
    assert list(client.runs.follow_log("r1")) == ["a", "b", "b", "c"]


def test_a_run_has_events(client: Client, service: Any) -> None:
    service.streams = ['id: 1\nevent: end\ndata: {"state": "succeeded"}\n\n']
    assert list(client.runs.events("r1")) == [Event(kind="end", data={"state": "succeeded"}, id="1")]


def test_charts_are_altairs(client: Client, service: Any, spec: dict[str, Any], answering: Any) -> None:
    service.report = answering["report_of"]()
    drawn = altair.Chart(altair.Data(values=[{"x": 1}])).mark_bar().encode(x="x:Q").to_dict()
    service.report["sections"]["reuse"]["charts"] = {"figure-4": drawn}
    experiment = client.experiments.create(spec)
    chart = experiment.chart("figure-4")
    assert isinstance(chart, altair.Chart)
    assert chart.to_dict()["encoding"] == drawn["encoding"]
    with pytest.raises(NotFound, match="figure-4"):
        experiment.chart("figure-9")


def test_charts_need_altair(
    client: Client, service: Any, spec: dict[str, Any], answering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.report = answering["report_of"]()
    service.report["sections"]["reuse"]["charts"] = {"figure-4": {}}
    experiment = client.experiments.create(spec)
    monkeypatch.setitem(__import__("sys").modules, "altair", None)
    with pytest.raises(ImportError, match="pip install altair"):
        experiment.chart("figure-4")


def test_a_notebook_shows_what_it_holds(client: Client, service: Any, spec: dict[str, Any], answering: Any) -> None:
    service.report = answering["report_of"]()
    experiment = client.experiments.create({**spec, "name": "<first>"})
    assert experiment._repr_html_().startswith("<b>&lt;first&gt;</b> <code>e1</code>: queued")
    assert "<b>performance</b>: Words." in experiment.report()._repr_html_()
