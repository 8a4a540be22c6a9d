"""The command line, against a service behind a real socket."""

import io
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import httpx2
import pytest
import typer
import yaml
from rich.console import Console
from typer.testing import Result

from transfusion_client import cli
from transfusion_client.cli import app as app_module
from transfusion_client.cli import doctor
from transfusion_client.cli.watching import LiveRuns, table_of
from transfusion_client.client import Client
from transfusion_client.retries import Clock
from transfusion_core.specs.experiment import Run as Run_

Run = Callable[..., Result]


@pytest.fixture
def file(tmp_path: Path, spec: dict[str, Any]) -> str:
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec))
    return str(path)


def test_help_names_every_command_without_loading_the_server(run: Run) -> None:
    told = run("--help").output
    for name in ("plan", "submit", "watch", "report", "compare", "runs", "datasets", "weights", "keys", "doctor"):
        assert name in told
    assert {"up", "api", "worker", "migrate"} <= set(told.split())


@pytest.mark.parametrize(("written", "meant"), [("transfusion doc", "doctor"), ("transfusion submit --w", "--wait")])
def test_the_shell_completes_commands_and_options(written: str, meant: str) -> None:
    words = {"_TRANSFUSION_COMPLETE": "complete_bash", "COMP_WORDS": written}
    environment = {**os.environ, **words, "COMP_CWORD": str(len(written.split()) - 1)}
    command = [Path(sys.executable).with_name("transfusion")]
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip() == meant


def test_plan_prints_runs_and_totals(run: Run, file: str, service: Any) -> None:
    told = run("plan", file)
    assert told.exit_code == 0
    assert "cbr-tiny" in told.output
    assert "images_to_train" in told.output
    assert json.loads(run("plan", file, "-o", "json").output)["images_to_train"] == 1280
    assert yaml.safe_load(run("plan", file, "-o", "yaml").output)["warnings"] == ["small"]
    assert service.created == {}


def test_a_spec_may_come_from_stdin_or_from_a_preset(run: Run, service: Any, spec: dict[str, Any]) -> None:
    assert run("submit", "-", stdin=json.dumps(spec)).exit_code == 0
    assert run("submit", "--preset", "quick", "--dataset", "retina@1").exit_code == 0
    sent = [each.json for each in service.calls("POST", "/v1/experiments")]
    assert sent == [spec, {"name": "quick", "models": ["cbr-tiny"], "dataset": "retina@1"}]


@pytest.mark.parametrize("arguments", [("submit",), ("plan", "x.yaml", "--preset", "quick"), ("plan", "absent.yaml")])
def test_a_spec_that_is_not_there_is_a_usage_error(run: Run, service: Any, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert service.sent == []


def test_an_invalid_spec_is_told_in_a_line_per_fault(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"models": ["resnet5"]}')
    done = run("submit", str(tmp_path / "bad.json"))
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "error: The request is not valid; nothing was created.",
        "  /dataset: Field required",
        "  /models/0: there is no model 'resnet5' (did you mean 'resnet50'?)",
    ]


def test_submit_prints_the_id_and_returns_at_once(run: Run, file: str) -> None:
    done = run("submit", file, "-o", "json")
    assert (done.exit_code, json.loads(done.output)["id"]) == (0, "e1")


def test_a_fork_is_a_patch_and_an_extension_adds_to_what_there_is(run: Run, spec: dict[str, Any], service: Any) -> None:
    run("submit", "-", stdin=json.dumps({**spec, "inits": ["gabor"], "train_sizes": ["all"]}))
    assert json.loads(run("fork", "e1", "-", "-o", "json", stdin="seeds: 7").output)["id"] == "e9"
    more = ("--seeds", "5", "--model", "resnet18", "--init", "{kind: gabor}", "--init", "random", "--train-size", "100")
    assert run("extend", "e1", *more).exit_code == 0
    spec = service.created["e1"]["spec"]
    assert [each.json for each in service.calls("POST", "/v1/experiments/e1/fork")] == [
        {"seeds": 7},
        {
            "seeds": 5,
            "models": [*spec["models"], "resnet18"],
            "inits": [*spec["inits"], {"kind": "gabor"}, "random"],
            "train_sizes": [*spec["train_sizes"], 100],
        },
    ]
    assert run("fork", "e1", "absent.yaml").exit_code == 2


def test_experiments_are_combined_by_their_ids(run: Run, service: Any) -> None:
    assert json.loads(run("combine", "e1", "e2", "-o", "json").output)["id"] == "e8"
    assert run("combine", "e1", "e2", "--name", "both", "--section", "reuse", "--section", "verdict").exit_code == 0
    assert [each.json for each in service.calls("POST", "/v1/experiments/combine")] == [
        {"experiments": ["e1", "e2"]},
        {"experiments": ["e1", "e2"], "name": "both", "sections": ["reuse", "verdict"]},
    ]
    service.states = ["running", "succeeded"]
    settled = run("combine", "e1", "e2", "--similarity", "{measures: [cka]}", "--wait", "-o", "json")
    assert (settled.exit_code, json.loads(settled.stdout)["state"]) == (0, "succeeded")
    assert service.calls("POST", "/v1/experiments/combine")[-1].json["similarity"] == {"measures": ["cka"]}


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 1)])
def test_the_exit_code_is_the_outcome(run: Run, file: str, service: Any, state: str, code: int) -> None:
    service.states = ["running", state]
    done = run("submit", file, "--wait", "-o", "json")
    assert (done.exit_code, json.loads(done.stdout)["state"]) == (code, state)
    assert run("watch", "e1").exit_code == code


def test_ctrl_c_detaches(run: Run, file: str, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    run("submit", file)
    service.states = ["running", "running"]
    monkeypatch.setattr(Clock, "sleep", interrupted)
    done = run("watch", "e1")
    assert done.exit_code == 130
    assert "goes on: transfusion watch e1" in done.stderr
    assert service.calls("POST", "/v1/experiments/e1/cancel") == []


def test_experiments_and_runs_are_listed(run: Run, file: str) -> None:
    assert run("experiments").output.strip() == "none"
    run("submit", file)
    assert "first" in run("experiments").output
    assert json.loads(run("experiments", "--state", "failed", "-o", "json").output) == []
    assert [each["id"] for each in json.loads(run("runs", "-o", "json").output)] == ["r0", "r1", "r2"]
    assert "cbr-tiny" in run("runs", "--experiment", "e1", "--model", "cbr-tiny", "--state", "succeeded").output


def test_cancel_prints_the_state(run: Run, file: str) -> None:
    run("submit", file)
    assert "cancelled" in run("cancel", "e1").output
    assert run("watch", "e9").exit_code == 2


def test_a_report_is_printed_written_and_opened(
    run: Run, file: str, service: Any, answering: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("submit", file)
    assert run("report", "e1").exit_code == 2
    service.report = answering["report_of"]()
    opened: list[str] = []
    monkeypatch.setattr(typer, "launch", opened.append)
    done = run("report", "e1", "--to", str(tmp_path / "out" / "here"), "--open")
    assert "Performance (Table 1)" in done.output
    html = tmp_path / "out" / "here" / "report.html"
    assert done.output.splitlines()[-1] == f"report: {html}"
    assert html.read_text() == "<html>the report</html>"
    assert json.loads(html.with_name("report.json").read_text())["experiment"] == "e1"
    assert opened == [html.as_uri()]


def test_a_report_opens_from_a_folder_of_its_own(
    run: Run, file: str, service: Any, answering: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.report = answering["report_of"]()
    run("submit", file)
    opened: list[str] = []
    monkeypatch.setattr(typer, "launch", opened.append)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done = run("report", "e1", "--open", "-o", "json")
    assert json.loads(done.stdout)["digest"] == "d" * 64
    assert done.stderr.startswith("report: ")
    assert opened[0].startswith(tmp_path.as_uri())


def test_what_differs_from_an_earlier_report_is_printed(run: Run, file: str, service: Any, answering: Any) -> None:
    service.report = answering["report_of"]()
    run("submit", file)
    shown = run("report", "e1", "--against", "e2").output
    for told in ("only here", "only in the other", "changed", "0.7300", "0.7400", "0.7200 ± 0.0100", "0.7100"):
        assert told in shown
    assert "Table 1" not in shown
    assert run("report", "e1", "--against", "e3").output == "the same numbers, made in another way\n"
    found = json.loads(run("report", "e1", "--against", "e2", "-o", "json").output)
    assert found["sections"]["performance"]["removed"][0]["value"] == 0.74


def test_one_section_is_printed_alone(run: Run, file: str, service: Any, answering: Any) -> None:
    service.report = answering["report_of"]()
    run("submit", file)
    assert "Table 1" not in run("report", "e1", "--section", "reuse").output
    assert json.loads(run("report", "e1", "--section", "reuse", "-o", "json").output)["table"][0]["layer"] == "stage2"
    assert "it has performance" in run("report", "e1", "--section", "figure").stderr


def test_compare_waits_and_prints_the_numbers(run: Run, service: Any) -> None:
    done = run("compare", "r1@init", "r1@final", "--layers", "stage1, stage2", "--measures", "cca,cka")
    assert done.exit_code == 0
    assert "0.5" in done.stdout
    assert "warning: few samples" in done.stderr
    sent = service.calls("POST", "/v1/comparisons")[0].json
    assert (sent["layers"], sent["measures"]) == (["stage1", "stage2"], ["cca", "cka"])
    assert (
        run("compare", "r1@init", "r1@final", "--layers", "stages", "--layers-b", "a,b", "--pairs", "all").exit_code
        == 0
    )
    assert run("compare", "r1@init", "r1@final", "--pairs", "a:b, c:d").exit_code == 0
    others, listed = (sent.json for sent in service.calls("POST", "/v1/comparisons")[-2:])
    assert (others["layers"], others["layers_b"], others["pairs"]) == ("stages", ["a", "b"], "all")
    assert listed["pairs"] == [["a", "b"], ["c", "d"]]
    queued = run("compare", "r1@init", "r1@final", "--layers", "stages", "--no-wait")
    assert (queued.exit_code, queued.stdout) == (0, "comparison c1: queued\n")
    service.states = ["failed"]
    assert run("compare", "r1@init", "r1@final", "-o", "json").exit_code == 1


def test_the_key_comes_from_the_option(run: Run, service: Any) -> None:
    service.key = "secret"
    assert run("runs").exit_code == 2
    assert run("runs", "--key", "secret").exit_code == 0


def test_doctor_tells_what_works(run: Run, service: Any, answering: Any) -> None:
    done = run("doctor", "-o", "json")
    assert done.exit_code == 0
    checks = {check["check"]: check for check in json.loads(done.output)}
    assert "mode: service" in checks["service"]["found"]
    assert checks["key"]["found"] == "experiments: none yet"
    service.key = "secret"
    service.upset(*[answering["problem"](503, "unavailable", "queue: no worker")] * 5, path="/readyz")
    done = run("doctor")
    assert done.exit_code == 2
    assert "queue: no worker" in done.output
    assert "An API key is needed" in done.output


def test_doctor_says_how_to_mend_each_part(run: Run, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    service.unwell, service.version = ("broker",), "0.9.0"
    checks = {check["check"]: check for check in json.loads(run("doctor", "-o", "json").output)}
    assert {name for name, check in checks.items() if not check["ok"]} == {"client", "broker"}
    assert checks["client"]["mend"].endswith("pip install transfusion==0.9.0")
    assert "TRANSFUSION_BROKER_URL" in checks["broker"]["mend"]
    assert checks["store"]["mend"] == ""
    assert "GB free" in checks["disk here"]["found"]
    away = json.loads(run("doctor", "--url", "http://127.0.0.1:9", "-o", "json").output)
    assert [(check["check"], check["ok"]) for check in away][:2] == [("client", True), ("service", False)]
    assert "transfusion up" in away[1]["mend"]


@pytest.mark.parametrize(("theirs", "fits"), [("0.2.9", True), ("0.1.0", True), ("0.3.0", False), ("1.2.0", False)])
def test_doctor_minds_services_that_are_newer_or_older_than_the_minor_version_before(
    run: Run, service: Any, monkeypatch: pytest.MonkeyPatch, theirs: str, fits: bool
) -> None:
    monkeypatch.setattr(doctor, "version", lambda name: "0.2.0")
    service.version = theirs
    (found,) = [check for check in json.loads(run("doctor", "-o", "json").output) if check["check"] == "client"]
    assert found["ok"] is fits


def test_doctor_asks_nvidias_tool_for_the_gpu(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> str:
        return str(json.loads(run("doctor", "-o", "json").output)[-1]["found"])

    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    for script, told in (("echo 'H200, 143771 MiB, 570.1'", "H200, 143771 MiB, 570.1"), ("exit 9", "none; none is")):
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        assert found().startswith(told)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert found().startswith("none; none is needed")


def test_last_is_the_newest_experiment(run: Run, service: Any, file: str) -> None:
    nothing = run("watch", "last")
    assert nothing.exit_code == 2
    assert "there is no experiment yet; make one with 'transfusion submit FILE'" in nothing.stderr
    run("submit", file)
    assert json.loads(run("cancel", "last", "-o", "json").output)["id"] == "e1"
    assert run("runs", "--experiment", "last").exit_code == 0
    assert service.calls("GET", "/v1/runs")[-1].query["experiment"] == "e1"


def test_logs_are_printed_and_followed_to_the_runs_outcome(run: Run, service: Any, answering: Any) -> None:
    assert run("logs", "r1").output == "first\nsecond\n"
    followed = run("logs", "r1", "-f")
    assert (followed.output, followed.exit_code) == ("first\nsecond\n", 0)
    failed = {**json.loads(run("runs", "-o", "json").output)[0], "state": "failed"}
    service.upset(*[answering["Answer"](200, failed)] * 3, path="/v1/runs/r1")
    service.upsets.insert(1, ("/v1/runs/r1/log", answering["Answer"](200, {"lines": ["broken"]})))
    broken = run("logs", "r1", "-f")
    assert (broken.output, broken.exit_code) == ("broken\n", 1)


def test_a_plan_says_in_a_line_what_runs_what_is_there_and_what_it_costs(run: Run, file: str) -> None:
    told = run("plan", file).output.splitlines()[-1]
    assert told == "1 of 1 runs to train, 0 are there; 1 new jobs: about 3 s on a small CPU, 0 MB"


def test_a_plan_says_what_is_used_of_the_quota(run: Run, file: str, service: Any, answering: Any) -> None:
    assert "quota" not in run("plan", file).output
    used = {"running_jobs": 1, "gpu_hours": 12.34, "stored_bytes": 1_500_000_000}
    account = {"used": used, "quota": {"running_jobs": 4, "stored_bytes": 2_000_000_000}}
    planned = json.loads(run("plan", file, "-o", "json").output) | {"account": account}
    service.upset(answering["Answer"](200, planned), path="/v1/experiments/plan")
    assert "your quota: 1 of 4 jobs at work, 1.5 of 2.0 GB stored" in run("plan", file).output.splitlines()


def test_a_terminal_shows_where_each_run_stands(client: Client, service: Any, spec: dict[str, Any]) -> None:
    screen = io.StringIO()
    experiment = client.experiments.create(spec)
    live = LiveRuns(client, experiment.id, console=Console(file=screen, width=120, force_terminal=True))
    live.show(experiment.record)
    service.upset(*[httpx2.ConnectError] * 5, path="/v1/experiments/e1/runs")
    live.show(experiment.record)
    live.say("[away]; trying again")
    live.close()
    told = screen.getvalue()
    for word in ("r0", "r2", "cbr-tiny", "first: queued, 0%, about 12 s left, 3 queued", "[away]; trying again"):
        assert word in told


def test_a_long_list_of_runs_is_cut_and_says_so() -> None:
    run = Run_.model_validate(
        {"id": "r", "key": "k", "model": "m", "init": "pretrained", "source": "natural", "train_size": 200, "seed": 0}
        | {"dataset": "d@1", "state": "running", "attempt": 1, "created_at": "", "progress": {"step": 3, "steps": 9}}
        | {"metrics": {"auroc": 0.5}}
    )
    table = table_of([run] * 41)
    assert (table.row_count, str(table.caption)[:17]) == (40, "the first 40 runs")
    screen = io.StringIO()
    Console(file=screen, width=120).print(table_of([run]))
    for word in ("pretrained (natural)", "3/9", "0.5000"):
        assert word in screen.getvalue()


def test_an_error_says_the_way_out(run: Run, service: Any) -> None:
    service.key = "secret"
    assert run("runs").stderr == "error: An API key is needed. (give one by --key or TRANSFUSION_API_KEY)\n"


def test_a_service_that_is_not_there_is_one_line(run: Run) -> None:
    done = run("runs", "--url", "http://127.0.0.1:9")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: no answer from http://127.0.0.1:9: ")
    assert len(done.stderr.splitlines()) == 1
    assert run("runs", "--url", "nowhere").exit_code == 2


def test_a_fault_of_the_service_is_told_with_the_request_id(run: Run, service: Any, answering: Any) -> None:
    service.upset(answering["problem"](500, "internal", "A bug."))
    assert run("runs").stderr == "error: A bug.\n  request id: request-1\n"


def served_command(port: int = 8000) -> None:
    """Serve."""
    typer.echo(f"on {port}")


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("double_of_a_server")
    vars(module)["serve"] = served_command
    monkeypatch.setitem(sys.modules, "double_of_a_server", module)
    found = [
        EntryPoint("serve", "double_of_a_server:serve", "transfusion.commands"),
        EntryPoint("worker", "transfusion_absent.cli:worker", "transfusion.commands"),
    ]
    monkeypatch.setattr(app_module, "entry_points", lambda group: found)


@pytest.mark.usefixtures("entries")
def test_server_commands_are_loaded_when_they_are_called(run: Run) -> None:
    assert "Server command (double_of_a_server:serve)" in run("--help").output
    assert run("serve", "--port", "9000").output == "on 9000\n"
    assert "--port" in run("serve", "--help").output
    assert run("serve", "--prot", "1").exit_code == 2


@pytest.mark.usefixtures("entries")
def test_a_server_command_without_its_extra_says_what_to_install(run: Run) -> None:
    done = run("worker")
    assert done.exit_code == 2
    assert "needs 'transfusion_absent', which is not installed: pip install 'transfusion[absent]'" in done.stderr


def test_main_needs_the_cli_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delitem(sys.modules, "transfusion_client.cli.app")
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "pip install 'transfusion[cli]'" in capsys.readouterr().err


def test_main_runs_the_command(
    monkeypatch: pytest.MonkeyPatch, served: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["transfusion", "experiments", "--url", served, "-o", "json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code, capsys.readouterr().out) == (0, "[]\n")
