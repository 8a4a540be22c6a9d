"""What the command line does with datasets, weights and keys."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import Result

from transfusion_client.cli.data import KINDS, columns_of, numbers_of
from transfusion_core.errors import InvalidRequest
from transfusion_core.specs.dataset import Kind

Run = Callable[..., Result]


def test_a_dataset_is_added_waited_for_listed_and_shown(run: Run, service: Any, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,grade\n")
    columns = "file=image,label=grade,split=part,patient=who"
    done = run("datasets", "add", "retina", str(tmp_path), "--kind", "csv", "--columns", columns, "--skip-unreadable")
    assert done.exit_code == 0
    sent = service.calls("POST", "/v1/datasets")[0].json
    assert sent["columns"] == {"file": "image", "label": "grade", "split": "part", "patient": "who"}
    assert (sent["kind"], sent["skip_unreadable"], sent["location"]) == ("csv", True, "upload:u1")
    assert "retina@1" in run("datasets", "list").output
    assert json.loads(run("datasets", "show", "retina", "-o", "json").output)["images"] == 10
    assert "8x8" in run("datasets", "profile", "retina").output
    assert json.loads(run("datasets", "profile", "retina", "-o", "json").output)["leaks"][0]["kind"] == "near"
    service.states = ["failed"]
    assert "relabelled" in run("datasets", "diff", "retina@2").output
    assert json.loads(run("datasets", "diff", "retina@2", "-o", "json").output)["added"]["count"] == 1
    assert run("datasets", "manifest", "retina", "--to", str(tmp_path / "m.csv")).output.strip() == str(
        tmp_path / "m.csv"
    )
    run("datasets", "add", "retina", str(tmp_path), "--extends", "retina@1")
    assert service.calls("POST", "/v1/datasets")[-1].json["extends"] == "retina@1"
    service.states = ["failed"]
    failed = run("datasets", "add", "retina", str(tmp_path))
    assert (failed.exit_code, failed.stderr) == (1, "error: there is no table train.csv\n")
    assert run("datasets", "add", "retina", str(tmp_path), "--no-wait").exit_code == 0


def test_a_published_dataset_is_added_with_its_options(run: Run, service: Any, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("Path\n")
    words = ["--kind", "chexpert", "--labels", "Edema+Cardiomegaly", "--uncertain", "ones", "--views", "frontal"]
    assert run("datasets", "add", "chest", str(tmp_path), *words).exit_code == 0
    sent = service.calls("POST", "/v1/datasets")[0].json
    assert (sent["kind"], sent["uncertain"], sent["views"]) == ("chexpert", "ones", "frontal")
    assert sent["labels"] == ["Edema", "Cardiomegaly"]
    assert set(KINDS.replace(" or ", ", ").split(", ")) == set(get_args(Kind)) - {"recipe"}


def test_a_dataset_may_have_any_field_of_its_spec_from_a_file(run: Run, service: Any, tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("name: other\nkind: recipe\nrecipe: {name: demo-retina, images: 100}\n")
    assert run("datasets", "add", "mine", "--spec", str(file)).exit_code == 0
    file.write_text("kind: folder\nallow_shared_patients: true\nsplit_seed: 3\ntask: ordinal\n")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "labels.csv").write_text("file,label\n")
    words = ["--kind", "csv", "--spec", str(file)]
    assert run("datasets", "add", "scans", str(tmp_path / "set"), *words).exit_code == 0
    drawn, scans = (call.json for call in service.calls("POST", "/v1/datasets"))
    assert drawn == {"name": "mine", "kind": "recipe", "recipe": {"name": "demo-retina", "images": 100}}
    assert (scans["name"], scans["kind"], scans["task"], scans["split_seed"]) == ("scans", "csv", "ordinal", 3)
    assert (scans["allow_shared_patients"], scans["location"]) == (True, "upload:u1")
    missing = run("datasets", "add", "mine")
    assert (missing.exit_code, "expected a PATH, or --spec FILE" in missing.stderr) == (2, True)


def test_a_dataset_is_deleted_and_what_went_is_said(run: Run, service: Any) -> None:
    done = run("datasets", "delete", "retina@1", "-o", "json")
    assert (done.exit_code, json.loads(done.output)["name"]) == (0, "retina@1")
    assert service.calls("DELETE", "/v1/datasets/retina@1")


def test_columns_are_read_or_refused_with_the_nearest_name() -> None:
    assert columns_of(None) is None
    assert columns_of("file=f, label=A+B") == {"file": "f", "label": ["A", "B"]}
    assert columns_of("label=l,classes=b+a") == {"label": "l", "classes": ["b", "a"]}
    assert columns_of("classes=a") == {"classes": ["a"]}
    for written in ("labels=x", "file", "file="):
        with pytest.raises(InvalidRequest, match="--columns: expected file="):
            columns_of(written)
    with pytest.raises(InvalidRequest, match="did you mean 'label'"):
        columns_of("labels=x")


def test_what_weights_expect_is_said_by_options(run: Run, service: Any) -> None:
    run("weights", "add", "w", "s3://bucket/w.pt")
    options = ("--mean", "127.5", "--std", "50,60,70", "--range", "0,255", "--size", "224", "--min-size", "96")
    run("weights", "add", "w", "s3://bucket/w.pt", *options)
    plain, told = (call.json for call in service.calls("POST", "/v1/weights"))
    assert "input" not in plain
    numbers = {"mean": [127.5], "std": [50.0, 60.0, 70.0], "range": [0.0, 255.0]}
    assert told["input"] == {**numbers, "channels": 3, "size": 224, "min_size": 96}
    with pytest.raises(InvalidRequest, match="--mean: expected numbers with commas between them, got 'x'"):
        numbers_of("--mean", "x")


def test_weights_and_keys(run: Run, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"abc")
    assert "w" in run("weights", "add", "w", str(tmp_path / "w.pt")).output
    assert json.loads(run("weights", "list", "-o", "json").output)[0]["size_bytes"] == 3
    made = json.loads(run("keys", "create", "ci", "--role", "write", "--expires-in-days", "3", "-o", "json").output)
    assert (made["key"], made["role"]) == ("secret", "write")
    assert "ci" in run("keys", "list").output
    shared = json.loads(run("keys", "create", "ci", "--project", "retina", "-o", "json").output)
    assert shared["project"] == "retina"
    deeds = json.loads(run("audit", "--limit", "1", "-o", "json").output)
    assert [(deed["id"], deed["action"]) for deed in deeds] == [("a1", "key.create")]
    assert run("keys", "revoke", "k1").output == "revoked: k1\n"
