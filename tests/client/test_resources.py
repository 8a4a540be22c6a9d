"""Every resource of the client, against a service in memory."""

import hmac
import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest

from transfusion_client.client import Client
from transfusion_client.specfile import parse
from transfusion_core.errors import Conflict, InvalidRequest, NotFound, NotReady, Unavailable
from transfusion_core.specs.dataset import DatasetSpec
from transfusion_core.specs.experiment import ExperimentSpec


def test_a_spec_may_be_a_dictionary_a_model_or_a_file(
    client: Client, service: Any, spec: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    (tmp_path / "spec.yaml").write_text("name: first\ndataset: demo-retina\nmodels: [cbr-tiny]\n")
    given = (spec, ExperimentSpec.model_validate(spec), str(tmp_path / "spec.json"), tmp_path / "spec.yaml")
    for each in given:
        assert client.experiments.create(each).spec == spec


def test_yaml_reads_powers_of_ten_as_numbers() -> None:
    read = parse("lr: 1e-3\nsmall: 2.5E-4\nsigned: -1e+2\nname: e3\nplain: 0.1\n", "here")
    assert read == {"lr": 0.001, "small": 0.00025, "signed": -100.0, "name": "e3", "plain": 0.1}


@pytest.mark.parametrize(
    ("text", "message"),
    [("[1, 2]", "here: expected a mapping of fields, got list"), ("a: [1", "here: while parsing a flow sequence")],
)
def test_a_text_that_is_no_spec_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(text, "here")
    assert message in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(client: Client, tmp_path: Path) -> None:
    (tmp_path / "picture.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidRequest, match="not UTF-8 text"):
        client.experiments.create(tmp_path / "picture.yaml")
    with pytest.raises(InvalidRequest, match=r"cannot read the spec .*absent\.yaml: No such file"):
        client.experiments.create(tmp_path / "absent.yaml")


def test_yaml_without_pyyaml_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    assert parse('{"a": 1}', "here") == {"a": 1}
    with pytest.raises(InvalidRequest, match="YAML needs PyYAML"):
        parse("a: 1", "here")


def test_a_plan_creates_nothing(client: Client, service: Any, spec: dict[str, Any]) -> None:
    service.upset(httpx2.ReadError)
    planned = client.experiments.plan(spec)
    assert (planned.images_to_train, planned.runs[0].exists, service.created) == (1280, False, {})


def test_lists_fetch_page_after_page_as_far_as_they_are_read(
    client: Client, service: Any, spec: dict[str, Any]
) -> None:
    for _ in range(5):
        client.experiments.create(spec)
    assert [each.id for each in client.experiments.list(state="queued", name=None)] == ["e1", "e2", "e3", "e4", "e5"]
    asked = [sent.query for sent in service.calls("GET", "/v1/experiments")]
    assert asked == [{"state": "queued"}, {"state": "queued", "cursor": "2"}, {"state": "queued", "cursor": "4"}]
    next(client.experiments.list())
    assert len(service.calls("GET", "/v1/experiments")) == 4


def test_an_experiment_tells_its_state_and_refreshes(client: Client, service: Any, spec: dict[str, Any]) -> None:
    experiment = client.experiments.create(spec)
    assert (experiment.name, experiment.state, experiment.counts, experiment.progress) == (
        "first",
        "queued",
        {"queued": 3},
        0.0,
    )
    service.states = ["running"]
    assert experiment.refresh().state == "running"
    assert repr(experiment) == "<Experiment e1 'first': running, 50%>"
    assert not experiment.ok
    assert not experiment.ended
    assert [run.id for run in experiment.runs()] == ["r0", "r1", "r2"]
    with pytest.raises(NotFound, match="no experiment e9"):
        client.experiments.get("e9")


def test_cancel_resume_and_retry_answer_the_new_state(client: Client, service: Any, spec: dict[str, Any]) -> None:
    experiment = client.experiments.create(spec)
    assert experiment.cancel().state == "cancelled"
    assert client.experiments.resume("e1").state == "queued"
    assert client.experiments.retry("e1").state == "queued"


def test_a_report_is_read_whole_by_section_and_as_html(
    client: Client, service: Any, spec: dict[str, Any], answering: Any
) -> None:
    experiment = client.experiments.create(spec)
    with pytest.raises(NotReady):
        experiment.report()
    service.report = answering["report_of"]()
    assert experiment.report().section("performance").table[0].value == 0.8125
    assert client.experiments.report_section("e1", "reuse").table[0].layer == "stage2"
    assert client.experiments.report_html("e1") == "<html>the report</html>"
    with pytest.raises(NotFound, match="it has performance, similarity"):
        experiment.report().section("figure")


def test_a_report_is_saved_in_every_form_with_its_charts(
    client: Client, service: Any, spec: dict[str, Any], answering: Any, tmp_path: Path
) -> None:
    service.report = answering["report_of"]()
    html = client.experiments.create(spec).report().save(tmp_path / "new" / "folder")
    folder = html.parent
    assert html == tmp_path / "new" / "folder" / "report.html"
    files = {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*.*")}
    assert files["report.html"] == "<html>the report</html>"
    assert {name: files[f"report.{name}"] for name in ("csv", "tex", "parquet", "bib")} == {
        **{name: f"the report.{name}" for name in ("csv", "tex", "parquet")},
        "bib": "@book{k}",
    }
    assert json.loads(files["report.json"])["digest"] == "d" * 64
    assert json.loads(files["again.json"]) == {"name": "n"}
    assert json.loads(files["charts/performance.json"]) == {"mark": "point"}
    assert [files[f"charts/performance.{form}"] for form in ("svg", "png", "pdf")] == [
        f"the performance.{form}" for form in ("svg", "png", "pdf")
    ]


def test_two_reports_are_told_apart(client: Client, service: Any, spec: dict[str, Any], answering: Any) -> None:
    service.report = answering["report_of"]()
    diff = client.experiments.create(spec).report().diff("e2")
    assert diff.sections["performance"].changed[0].after.value == 0.72


def test_a_report_becomes_a_frame(client: Client, service: Any, spec: dict[str, Any], answering: Any) -> None:
    service.report = answering["report_of"]()
    experiment = client.experiments.create(spec)
    frame = experiment.to_frame("performance")
    assert list(frame["value"].dropna()) == [0.8125, 0.1111, 0.0321]
    assert "layer" not in frame.columns
    assert set(experiment.to_frame()["section"]) == set(service.report["sections"])


def test_a_frame_without_pandas_says_what_to_install(
    client: Client, service: Any, spec: dict[str, Any], answering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.report = answering["report_of"]()
    experiment = client.experiments.create(spec)
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        experiment.to_frame()


def test_a_run_has_curves_log_checkpoints_and_a_manifest(client: Client) -> None:
    assert client.runs.get("r1").id == "r1"
    assert [run.id for run in client.runs.list(model="cbr-tiny")] == ["r0", "r1", "r2"]
    assert client.runs.metrics("r1")[0].values == [0.5, None]
    assert client.runs.log("r1") == ["first", "second"]
    assert client.runs.checkpoints("r1")[0].name == "final"
    assert client.runs.manifest("r1") == {"seed": 0}
    filters = client.runs.filters("r1")
    assert filters is not None
    assert filters.layer == "conv1"
    assert client.runs.filters("r0") is None


def test_a_comparison_is_sent_with_its_options_and_waited_for(client: Client, service: Any, clock: Any) -> None:
    service.upset(httpx2.ReadError)
    created = client.comparisons.create("r1@init", "r1@final", measures=["cka"], layers=None)
    assert created.results == []
    first, second = service.calls("POST", "/v1/comparisons")
    assert second.json == {"a": "r1@init", "b": "r1@final", "measures": ["cka"]}
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert client.comparisons.wait("c1").results[0].value == 0.5
    assert len(clock.slept) == 3
    assert [each.id for each in client.comparisons.list()] == ["c1"]


def test_weights_models_presets_and_keys(client: Client, service: Any, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"abc")
    assert client.weights.add("w", tmp_path / "w.pt").name == "w"
    assert service.calls("POST", "/v1/weights")[0].json == {"name": "w", "location": "upload:u1"}
    assert client.weights.add("w", "s3://bucket/w.pt").size_bytes == 3
    assert service.calls("POST", "/v1/weights")[1].json["location"] == "s3://bucket/w.pt"
    assert [each.name for each in client.weights.list()] == ["w"]
    client.weights.add("w", "s3://bucket/w.pt", input={"mean": [0.5], "std": [0.5]})
    assert service.calls("POST", "/v1/weights")[2].json["input"] == {"mean": [0.5], "std": [0.5]}
    assert [model.name for model in client.models.list()] == ["cbr-tiny", "resnet18"]
    assert client.models.get("resnet18").min_image_size > 0
    assert [preset["preset"] for preset in client.presets.list()] == ["quick"]
    assert client.presets.get("quick") == {"name": "quick", "models": ["cbr-tiny"]}
    assert client.keys.create("ci", role="write", expires_in_days=3).key == "secret"
    assert service.calls("POST", "/v1/keys")[0].json == {"name": "ci", "role": "write", "expires_in_days": 3}
    assert [key.id for key in client.keys.list()] == ["k1"]
    assert [event.id for event in client.keys.audit()] == ["a1", "a0"]
    client.keys.revoke("k1")
    assert service.calls("DELETE", "/v1/keys/k1")


def test_a_delete_says_what_went(service, client):
    removals = [client.experiments.delete("e1"), client.datasets.delete("retina@1")]
    assert [(each.kind, each.name, each.objects) for each in removals] == [
        ("experiment", "e1", 2),
        ("dataset", "retina@1", 2),
    ]
    assert service.calls("DELETE", "/v1/experiments/e1")


def test_health_and_readiness(client: Client, service: Any, answering: Any) -> None:
    assert client.health()["mode"] == "service"
    assert [part["name"] for part in client.readiness()["parts"]] == ["store", "broker"]


def test_a_profile_is_waited_for_until_it_is_ready(client: Client, service: Any, answering: Any) -> None:
    unready = answering["problem"](409, "not_ready", "the profile of retina is running")
    service.upset(unready, unready, path="/v1/datasets/retina/profile")
    assert client.datasets.profile("retina").leaks[0].kind == "near"
    assert len(service.calls("GET", "/v1/datasets/retina/profile")) == 3
    service.upset(
        answering["problem"](409, "conflict", "the profile of retina has failed: data"),
        path="/v1/datasets/retina/profile",
    )
    with pytest.raises(Conflict, match="has failed: data"):
        client.datasets.profile("retina")


def test_a_profile_is_waited_for_no_longer_than_asked(client: Client, service: Any, answering: Any) -> None:
    service.upset(*[answering["problem"](409, "not_ready", "running")] * 50, path="/v1/datasets/retina/profile")
    with pytest.raises(TimeoutError, match="the profile of dataset retina has not ended within 5 seconds"):
        client.datasets.profile("retina", timeout_seconds=5)


def test_an_embedded_service_reads_the_file_in_place(client: Client, service: Any, tmp_path: Path) -> None:
    service.mode = "embedded"
    folder = tmp_path / "my images"
    folder.mkdir()
    client.datasets.add("retina", folder, task="ordinal", skip_unreadable=None)
    location = "file://" + str(folder).replace(" ", "%20")
    wanted = {"kind": "folder", "location": location, "name": "retina", "task": "ordinal"}
    assert service.calls("POST", "/v1/datasets")[0].json == wanted
    assert service.uploads == {}


def test_a_file_is_uploaded_with_its_headers_and_its_length(client: Client, service: Any, tmp_path: Path) -> None:
    (tmp_path / ".my träger.npz").write_bytes(b"numbers")
    assert client.datasets.add("retina", tmp_path / ".my träger.npz").name == "retina@1"
    assert service.calls("POST", "/v1/uploads")[0].json == {"filename": "my_tr_ger.npz", "size_bytes": 7}
    put = service.calls("PUT", "/v1/uploads/u1/content")[0]
    assert (put.body, put.headers["x-sent"], put.headers["content-length"]) == (b"numbers", "yes", "7")
    assert service.calls("POST", "/v1/datasets")[0].json["location"] == "upload:u1"


def test_a_folder_is_uploaded_as_one_archive(client: Client, service: Any, tmp_path: Path) -> None:
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / "cat" / "1.png").write_bytes(b"one")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "2.png").write_bytes(b"hidden")
    (tmp_path / "train" / ".DS_Store").symlink_to(tmp_path / "nowhere")
    client.datasets.add("pets", tmp_path)
    with zipfile.ZipFile(BytesIO(service.uploads["u1"])) as archive:
        assert archive.namelist() == ["train/cat/1.png"]
        assert archive.read("train/cat/1.png") == b"one"
    assert service.calls("POST", "/v1/datasets")[0].json["kind"] == "folder"


def test_a_manifest_brings_the_folder_that_it_lies_in(client: Client, service: Any, tmp_path: Path) -> None:
    service.mode = "embedded"
    (tmp_path / "labels.csv").write_text("file,label\n")
    client.datasets.add("retina", tmp_path / "labels.csv", columns={"file": "file"})
    sent = service.calls("POST", "/v1/datasets")[0].json
    assert (sent["kind"], sent["manifest"], sent["location"]) == ("csv", "labels.csv", f"file://{tmp_path}")


def test_a_recipe_is_sent_as_it_is(client: Client, service: Any) -> None:
    recipe = {"kind": "recipe", "recipe": {"name": "demo-retina", "images": 100}}
    client.datasets.add("mine", recipe)
    client.datasets.add("mine", DatasetSpec.model_validate({"name": "mine", **recipe}))
    first, second = service.calls("POST", "/v1/datasets")
    assert first.json == second.json == {**recipe, "name": "mine"}


@pytest.mark.parametrize("location", ["s3://bucket/retina.npz", "upload:u9.npz"])
def test_a_location_that_the_service_knows_is_not_uploaded(client: Client, service: Any, location: str) -> None:
    client.datasets.add("retina", location)
    assert service.calls("POST", "/v1/datasets")[0].json == {"kind": "npz", "location": location, "name": "retina"}


def test_what_cannot_be_uploaded_is_said_before_anything_is_sent(client: Client, service: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="there is no file or folder"):
        client.datasets.add("retina", tmp_path / "absent.npz")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InvalidRequest, match="cannot tell what kind of dataset"):
        client.datasets.add("retina", tmp_path / "notes.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidRequest, match="there are no files in"):
        client.datasets.add("retina", tmp_path / "empty")
    assert service.calls("POST", "/v1/uploads") == []


def test_a_lost_answer_to_the_last_byte_is_no_failure(
    client: Client, service: Any, tmp_path: Path, answering: Any
) -> None:
    (tmp_path / "x.npz").write_bytes(b"numbers")
    service.upset(httpx2.ReadError, answering["problem"](409, "conflict", "its bytes are there"), path="/v1/uploads/u1")
    service.upset(answering["Answer"](200, {}), path="/v1/uploads/u1/complete")
    assert client.datasets.add("retina", tmp_path / "x.npz").name == "retina@1"


def test_a_signed_link_elsewhere_gets_no_key(service: Any, transport: Any, tmp_path: Path, answering: Any) -> None:
    (tmp_path / "x.npz").write_bytes(b"numbers")
    link = "http://store.example/bucket/x?signature=abc"
    service.upset(
        answering["Answer"](201, {"id": "u7", "url": link, "state": "open", "part_bytes": 8}), path="/v1/uploads"
    )
    service.upset(answering["Answer"](200), path="//store.example/bucket/x")
    service.upset(answering["Answer"](200, {}), path="/v1/uploads/u7/complete")
    with Client(answering["URL"], "secret", transport=transport) as client:
        client.datasets.add("retina", tmp_path / "x.npz")
    put = next(sent for sent in service.sent if sent.method == "PUT")
    assert "authorization" not in put.headers
    assert put.query == {"signature": "abc"}
    assert service.sent[0].headers["authorization"] == "Bearer secret"


def test_a_dataset_is_waited_for(client: Client, service: Any) -> None:
    assert client.datasets.wait("retina@1").state == "succeeded"
    assert [dataset.name for dataset in client.datasets.list()] == ["retina@1"]


STREAM = 'id: 1\nevent: state\ndata: {"state": "running"}\n\nevent: progress\ndata: {"progress": 0.5}\n\n'
END = 'id: 2\nevent: state\ndata: {"state": "succeeded"}\n\nevent: end\ndata: {"state": "succeeded"}\n\n'


def test_events_go_on_after_a_cut_where_they_were(client: Client, service: Any, spec: dict[str, Any]) -> None:
    experiment = client.experiments.create(spec)
    service.streams = [STREAM, END]
    service.upset(httpx2.ConnectError, path="/v1/experiments/e1/events")
    events = list(experiment.events())
    assert [(event.kind, event.id) for event in events] == [
        ("state", "1"),
        ("progress", "1"),
        ("state", "2"),
        ("end", "2"),
    ]
    assert events[1].data == {"progress": 0.5}
    asked = [sent.headers.get("last-event-id") for sent in service.calls("GET", "/v1/experiments/e1/events")]
    assert asked == [None, None, "1"]


def test_events_may_begin_after_one(client: Client, service: Any, spec: dict[str, Any], answering: Any) -> None:
    service.streams = [END]
    service.upset(answering["problem"](503, "unavailable", "Busy."), path="/v1/experiments/e1/events")
    client.experiments.create(spec)
    assert len(list(client.experiments.events("e1", "1"))) == 2
    assert service.sent[-1].headers["last-event-id"] == "1"


def test_events_of_nothing_are_not_found(client: Client) -> None:
    with pytest.raises(NotFound):
        list(client.experiments.events("e9"))


def test_events_that_are_cut_off_for_ever_end_in_an_error(
    client: Client, service: Any, spec: dict[str, Any], clock: Any
) -> None:
    client.experiments.create(spec)
    service.upset(*[httpx2.ReadError] * 2000, path="/v1/experiments/e1/events")
    with pytest.raises(Unavailable, match="no answer from http://testserver:8000: the line is cut"):
        list(client.experiments.events("e1"))
    assert clock.seconds > 900
    service.upsets.clear()
    service.upset(httpx2.UnsupportedProtocol, path="/v1/experiments/e1/events")
    with pytest.raises(Unavailable, match="the line is cut"):
        list(client.experiments.events("e1"))


def test_an_experiment_made_of_grids_grows_in_each_of_them(client: Client, service: Any, spec: dict[str, Any]) -> None:
    grids = [{"models": ["cbr-tiny"], "inits": ["random"], "train_sizes": ["all"], "seeds": seeds} for seeds in (2, 3)]
    made = client.experiments.create({**spec, "grids": grids, "train_sizes": ["all"]})
    made.extend(seeds=4, train_sizes=[100])
    (call,) = service.calls("POST", f"/v1/experiments/{made.id}/fork")
    grown = {"train_sizes": ["all", 100], "seeds": 4}
    assert call.json == {**grown, "grids": [{**grid, **grown} for grid in grids]}


def test_a_manifest_is_written_whole_or_not_at_all(
    client: Client, service: Any, answering: Any, tmp_path: Path
) -> None:
    service.upset(httpx2.ReadError, path="/v1/datasets/retina/manifest")
    assert client.datasets.manifest("retina", tmp_path / "m.csv").read_bytes() == b"file,sha256\na.png,0a\n"
    service.upset(answering["problem"](404, "not_found", "no"), path="/v1/datasets/other/manifest")
    with pytest.raises(NotFound):
        client.datasets.manifest("other", tmp_path / "other.csv")
    assert [each.name for each in tmp_path.iterdir()] == ["m.csv"]


def test_versions_are_held_against_each_other(client: Client, service: Any) -> None:
    assert client.datasets.diff("retina@2").against == "retina@1"
    assert client.datasets.diff("retina@2", "old@1").added.count == 1
    assert [sent.query for sent in service.calls("GET", "/v1/datasets/retina@2/diff")] == [{}, {"against": "old@1"}]


def test_patients_are_hashed_on_this_side(client: Client, service: Any) -> None:
    expected = hmac.new(bytes.fromhex("5a" * 32), b"p1", "sha256").hexdigest()[:32]
    assert client.datasets.hashed_patients("retina@1", ["p1"]) == {"p1": expected}
    assert not any(b"p1" in sent.body for sent in service.sent)


def test_a_chart_of_a_profile_is_written(client: Client, service: Any, answering: Any, tmp_path: Path) -> None:
    service.upset(answering["Answer"](200, "<svg/>"), path="/v1/datasets/retina/charts/figure-1.svg")
    assert client.datasets.chart("retina", "figure-1", tmp_path / "one.svg").read_text() == "<svg/>"
