"""What job functions refuse: locations that are not allowed, layers and checkpoints that do not exist."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch

import bad_weights
from s3_server import KEY, SECRET, TOOL, shared_s3
from transfusion_core.errors import DataError, Unavailable
from transfusion_core.science.models.build import build_random
from transfusion_core.specs.comparison import ComparisonResult
from transfusion_core.specs.init import Slim, SourceRef
from transfusion_core.specs.job import CheckpointRef, CompareJob
from transfusion_worker.assignment import Need
from transfusion_worker.context import CurvePoint
from transfusion_worker.jobs import compare, compared, location
from transfusion_worker.jobs.checkpoints import About, LoadedCheckpoint, keep, load
from transfusion_worker.jobs.dataset import pixels_of
from transfusion_worker.jobs.location import resolve
from transfusion_worker.jobs.report import _job as job_for_report
from transfusion_worker.jobs.source import read_source


def test_a_file_of_this_machine_is_read_in_embedded_mode_alone(make, tmp_path):
    (tmp_path / "some data.npz").touch()
    location = f"file://{tmp_path}/some%20data.npz"
    assert resolve(location, make(mode="embedded")) == tmp_path / "some data.npz"
    with pytest.raises(DataError, match="embedded mode"):
        resolve(location, make(mode="service"))
    with pytest.raises(DataError, match="no such file"):
        resolve("file:///nowhere/at/all", make(mode="embedded"))


def test_an_upload_is_copied_from_the_store(make):
    context = make()
    context.store.put_bytes("uploads/7", b"zip")
    assert resolve("upload:7", context).read_bytes() == b"zip"
    with pytest.raises(DataError, match="not there any more"):
        resolve("upload:8", make())


def test_an_upload_that_was_changed_after_it_was_registered_is_refused(make):
    context = make(spec={"fingerprint": hashlib.sha256(b"zip").hexdigest()})
    context.store.put_bytes("uploads/7", b"zip")
    context.store.put_bytes("uploads/8", b"another")
    assert resolve("upload:7", context).read_bytes() == b"zip"
    (context.scratch / "upload").unlink()
    with pytest.raises(DataError, match="not those that were registered"):
        resolve("upload:8", context)
    with pytest.raises(DataError, match="not there any more"):
        resolve("upload:9", make(spec={"fingerprint": "0" * 64}))


def test_a_bucket_is_read_only_below_an_allowed_location(make):
    for place in ("s3://data/a.npz", "s3://database/a.npz", "s3://data/public-not/a.npz"):
        with pytest.raises(DataError, match="below an allowed one"):
            resolve(place, make(allowed_locations=["s3://data/public"]))


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


def test_a_bucket_that_is_away_is_tried_again_later(make, credentials):
    context = make(allowed_locations=["s3://data"], s3_endpoint_url="http://127.0.0.1:9", store_seconds=0)
    with pytest.raises(Unavailable, match="does not answer"):
        resolve("s3://data/a.npz", context)


@pytest.mark.skipif(not TOOL.exists(), reason=f"no S3 server to start: {TOOL} is missing")
def test_objects_and_folders_come_from_an_allowed_bucket(make, credentials):
    endpoint = shared_s3()
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="data")
    for key in ("set/a/1.png", "set/b/2.png", "set.npz"):
        client.put_object(Bucket="data", Key=key, Body=key.encode())
    context = make(allowed_locations=["s3://data/"], s3_endpoint_url=endpoint)
    assert resolve("s3://data/set.npz", context).read_bytes() == b"set.npz"
    folder = resolve("s3://data/set/", context)
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png")) == ["a/1.png", "b/2.png"]
    for nothing in ("nothing.npz", "set.np", "nothing/"):
        with pytest.raises(DataError, match=f"s3://data/{nothing}: there is no such object, or nothing below it"):
            resolve(f"s3://data/{nothing}", context)


class Bucket:
    """A bucket of one object, as boto3 shows it."""

    def __init__(self, name: str) -> None:
        self.name, self.size = name, 1

    def get_paginator(self, _: str) -> "Bucket":
        return self

    def paginate(self, **_: str) -> list[dict[str, list[dict[str, Any]]]]:
        return [{"Contents": [{"Key": "set/", "Size": 0}, {"Key": self.name, "Size": self.size}]}]

    def download_file(self, bucket: str, key: str, path: str) -> None:
        Path(path).write_bytes(key.encode())


@pytest.mark.parametrize("name", ["../../x", "a/../../x", "/etc/x", "a" * 256, "a\nb", "x" * 2000])
def test_names_of_objects_that_no_file_can_have_are_refused(make, tmp_path, monkeypatch, name):
    monkeypatch.setattr(location, "s3_client", lambda *_, **__: Bucket(f"set/{name}"))
    with pytest.raises(DataError, match="has a name that no file can have here"):
        resolve("s3://data/set/", make(allowed_locations=["s3://data"]))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_more_than_the_disk_has_room_for_is_not_fetched(make, tmp_path, monkeypatch):
    bucket = Bucket("set/a.png")
    bucket.size = 10**18
    monkeypatch.setattr(location, "s3_client", lambda *_, **__: bucket)
    with pytest.raises(DataError, match=r"s3://data/set/: it has 1,000,000,.* bytes, and this worker has room for"):
        resolve("s3://data/set/", make(allowed_locations=["s3://data"]))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_credentials_that_a_worker_has_not_are_named(make):
    context = make(allowed_locations=[{"prefix": "s3://data", "profile": "hospital"}])
    with pytest.raises(DataError, match="no credentials of the name 'hospital'"):
        resolve("s3://data/set/", context)


ABOUT = About(model="cbr-tiny", classes=2, image_size=32, step=0, dataset="d", mean=[0.5] * 3, std=[0.2] * 3)


def run_need(checkpoint) -> Need:
    result = {
        "metrics": {},
        "checkpoints": [checkpoint.model_dump()],
        "series": [],
        "weight_report": {"key": "k", "size_bytes": 1, "sha256": "0" * 64},
        "manifest": {},
        "steps": 1,
        "images_per_second": 1.0,
        "parameters": 1,
    }
    return Need(id="2", key="a" * 64, kind="train", state="succeeded", spec={}, result=result)


def test_a_checkpoint_is_found_by_name_and_by_step_and_only_then(make):
    weights = {"w": torch.ones(2, 2)}
    need = run_need(keep(make(), weights, ABOUT, "final"))
    context = make(needs=[need])
    for name in ("final", "0"):
        loaded = load(context, CheckpointRef(run="a" * 64, checkpoint=name))
        assert loaded.about == ABOUT
        assert torch.equal(loaded.weights["w"], weights["w"])
    with pytest.raises(DataError, match="expected a checkpoint among final, got 'init'"):
        load(context, CheckpointRef(run="a" * 64, checkpoint="init"))
    with pytest.raises(DataError, match="expected a result of the job"):
        load(make(), CheckpointRef(run="a" * 64, checkpoint="final"))


def test_a_slim_checkpoint_is_built_as_the_network_that_was_trained(make):
    about = replace(ABOUT, slim=Slim(prefix="stage2", width=0.5))
    trained = build_random("cbr-tiny", classes=2, image_size=32, seed=4, slim=about.slim)
    context = make(needs=[run_need(keep(make(), trained.state_dict(), about, "final"))])
    loaded = load(context, CheckpointRef(run="a" * 64, checkpoint="final"))
    assert loaded.about == about
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded.build().eval()(images), trained.eval()(images))
    assert loaded.build_untrained(seed=1).head.weight.shape == (2, 128)


def test_metadata_of_networks_that_are_not_slim_say_nothing_of_it():
    (told,) = ABOUT.metadata().items()
    assert "slim" not in json.loads(told[1])
    with pytest.raises(DataError, match="written by a run"):
        About.read({told[0]: json.dumps(json.loads(told[1]) | {"slim": {"depth": 2}})})


def test_a_file_that_no_run_wrote_is_no_checkpoint():
    with pytest.raises(DataError, match="written by a run"):
        About.read({"model": '"cbr-tiny"'})
    with pytest.raises(DataError, match="written by a run"):
        About.read({"model": "not json"})


def comparison(**changes) -> CompareJob:
    ref = {"run": "a" * 64, "checkpoint": "final"}
    base = {"a": ref, "b": ref, "dataset": "b" * 64, "image_size": 32, "layers": "stages", "pairs": "diagonal"}
    more = {"measures": ["cka"], "images": None, "seed": 0, "positions_per_image": 4, "variance": 0.99}
    return CompareJob.model_validate(base | more | changes)


def test_a_layer_that_does_not_exist_is_named_with_the_nearest():
    model = build_random("cbr-tiny", classes=2, image_size=32, seed=0)
    with pytest.raises(DataError, match=r"no layer 'stage1\.konv'.*stage1\.conv"):
        compared._layers(model, ABOUT, ["stage1.konv"], image_size=32)
    assert compared._layers(model, ABOUT, ["stage1.conv"], image_size=32) == ["stage1.conv"]


@pytest.fixture(scope="module")
def transformer():
    """A ViT's checkpoint; its patches are two by two."""
    model = build_random("vit_tiny_patch16_224", classes=2, image_size=32, seed=1)
    about = About(
        model="vit_tiny_patch16_224", classes=2, image_size=32, step=0, dataset="", mean=[0.5] * 3, std=[0.2] * 3
    )
    return LoadedCheckpoint(about, dict(model.state_dict()), "c" * 64)


def whole(images) -> compared.ProbeImages:
    return compared.ProbeImages(images, torch.arange(len(images)))


def measure(context, job, side) -> ComparisonResult:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return compare.measure(compared.prepare(context, job, (side, side), whole(images), "digest of the probe set"))


def test_the_class_token_of_a_transformer_is_a_layer_of_its_own(make, transformer):
    found = measure(make(), comparison(layers=["blocks.3", "blocks.3[class]"]), transformer)
    places, token = found.results
    assert (places.n, token.n) == (20 * 4, 20)
    assert places.value == pytest.approx(1, abs=1e-6)
    with pytest.raises(DataError, match=r"no layer 'blocks\.99\[class\]'"):
        measure(make(), comparison(layers=["blocks.99[class]"]), transformer)
    with pytest.raises(DataError, match=r"no layer 'patch_embed\.proj\[class\]'"):
        measure(make(), comparison(layers=["patch_embed.proj[class]"]), transformer)


def test_listed_pairs_are_those_of_the_layers_by_themselves(make, transformer):
    asked = [("blocks.3", "blocks.5"), ("blocks.1", "blocks.5"), ("blocks.3", "blocks.3[class]")]
    with pytest.raises(DataError, match=r"no layer 'blocks\.99'"):
        measure(make(), comparison(pairs=[*asked, ("blocks.3", "blocks.99")]), transformer)
    job = comparison(pairs=asked[:2], measures=["cka"], nulls=False)
    found = measure(make(), job, transformer)
    assert (found.layers_a, found.layers_b) == (["blocks.3", "blocks.1"], ["blocks.5"])
    assert [(result.layer_a, result.layer_b) for result in found.results] == asked[:2]
    alone = comparison(layers=["blocks.1"], layers_b=["blocks.5"], measures=["cka"], nulls=False)
    assert found.results[1].value == pytest.approx(measure(make(), alone, transformer).results[0].value, abs=1e-12)


def test_a_checkpoint_compared_with_itself_is_built_and_run_once(make, transformer, monkeypatch):
    runs, build = [], LoadedCheckpoint.build

    def counted(side):
        model = build(side)
        model.register_forward_hook(lambda _module, _inputs, output: None if output.is_meta else runs.append(model))
        return model

    monkeypatch.setattr(LoadedCheckpoint, "build", counted)
    job = comparison(layers=["blocks.3"], nulls=False)
    (found,) = measure(make(), job, transformer).results
    once = len(runs)
    assert len({id(model) for model in runs}) == 1
    assert found.value == pytest.approx(1, abs=1e-6)
    other = replace(transformer, sha256="e" * 64)
    images = torch.zeros(20, 3, 32, 32, dtype=torch.uint8)
    compare.measure(compared.prepare(make(), job, (transformer, other), whole(images), "digest of the probe set"))
    assert len(runs) == 3 * once


def test_probe_images_are_read_batch_by_batch_in_the_order_of_their_rows(make, transformer):
    read = []

    class Mapped:
        def __getitem__(self, rows):
            read.append(len(rows))
            return pixels[rows]

    pixels = torch.randint(0, 256, (200, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rows = torch.randperm(200, generator=torch.Generator().manual_seed(1))[:150]
    job = comparison(layers=["blocks.3"], nulls=False)
    lazy, at_once = (
        compare.measure(compared.prepare(make(), job, (transformer, transformer), images, "digest of the probe set"))
        for images in (compared.ProbeImages(Mapped(), rows), whole(pixels[rows]))
    )
    assert lazy == at_once
    assert sum(read) == 151  # one for the shapes, then each once
    assert max(read) <= compared.BATCH_SIZE


def test_registers_are_no_places_and_no_class_token(make):
    about = replace(ABOUT, model="naflexvit_base_patch16_parfac_gap", image_size=48)
    model = build_random(about.model, classes=2, image_size=48, seed=1)
    side = LoadedCheckpoint(about, dict(model.state_dict()), "d" * 64)
    job = comparison(image_size=48, layers=["embeds.proj", "blocks.0"], nulls=False, positions_per_image=100)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, 48, 48), dtype=torch.uint8, generator=generator)
    found = compare.measure(
        compared.prepare(make(), job, (side, side), whole(images), "digest of the probe set")
    ).results
    assert [result.n for result in found] == [4 * 9, 4 * 9]
    with pytest.raises(DataError, match=r"no layer 'blocks\.0\[class\]'"):
        compared._layers(model, about, ["blocks.0[class]"], image_size=48)


def test_the_papers_protocol_and_averaged_maps_reach_the_engine(make, transformer):
    paper = measure(make(), comparison(layers=["blocks.3"], protocol="paper"), transformer).results[0]
    assert (paper.p, paper.q, paper.n) == (64, 64, 80)
    averaged = measure(make(), comparison(layers=["blocks.3"], spatial="averaged", nulls=False), transformer).results[0]
    assert averaged.n == 20
    assert averaged.null_permutation is averaged.null_untrained is averaged.interval is None


def test_the_floor_of_untrained_networks_is_worked_out_once(make, transformer):
    job = comparison(layers=["blocks.3"])
    context = make()
    first = measure(context, job, transformer).results[0]
    assert first.null_untrained is not None
    kept = list((context.settings.cache_dir / "untrained").iterdir())
    assert len(kept) == 1
    rows = json.loads(kept[0].read_text())
    kept[0].write_text(json.dumps([[*rows[0][:3], 0.125]]))
    assert measure(context, job, transformer).results[0].null_untrained == 0.125
    other = measure(context, comparison(layers=["blocks.3"], seed=1), transformer).results[0]
    assert other.null_untrained != 0.125


def test_pairs_are_all_or_one_to_one():
    assert len(compared._pairs(["a", "b"], ["c", "d", "e"], comparison(pairs="all"))) == 6
    assert compared._asked(comparison(layers=["a"], layers_b="stages")) == (["a"], "stages")
    assert compared._asked(comparison(layers=["a"])) == (["a"], ["a"])
    listed = comparison(pairs=[("b", "d"), ("a", "d"), ("b", "c")])
    assert compared._asked(listed) == (["b", "a"], ["d", "c"])
    assert compared._pairs(["b", "a"], ["d", "c"], listed) == [("b", "d"), ("a", "d"), ("b", "c")]
    with pytest.raises(DataError, match="got 2 and 3"):
        compared._pairs(["a", "b"], ["c", "d", "e"], comparison())


def test_pixels_that_do_not_say_in_which_order_they_lie_are_those_of_another_version():
    told = {"size": 24, "channels": 3, "shards": []}
    with pytest.raises(DataError, match=r"pixels 7 were made by another version of Transfusion.*fork the experiment"):
        pixels_of(Need(id="7", key="k", kind="pixels", state="succeeded", spec={}, result=told))


def test_a_need_is_found_by_its_kind_and_spec_whatever_version_gave_it_its_key(make):
    spec = {"dataset": "d" * 64, "image_size": 24}
    needs = [Need(id=key, key=key, kind="pixels", state="succeeded", spec=spec, result=result)
             for key, result in (("lost", None), ("of another version", {"size": 24}))]  # fmt: skip
    context = make(needs=needs)
    assert context.need_of("pixels", spec) is needs[1]
    with pytest.raises(DataError, match=r"expected a result of a job pixels of .*'image_size': 32.*, got none"):
        context.need_of("pixels", spec | {"image_size": 32})


def test_weights_come_from_the_store_by_their_digest(make):
    from hashlib import sha256

    from safetensors.torch import save

    data = save({"module.weight": torch.ones(3, 3), "module.bias": torch.ones(3)})
    digest = sha256(data).hexdigest()
    context, model = make(), torch.nn.Linear(3, 3)
    context.store.put_bytes(f"weights/{digest}", data)
    source = read_source(context, SourceRef(weights=digest), model=model, image_size=32)
    assert torch.equal(source.tensors["weight"], torch.ones(3, 3))
    assert source.digest == digest
    with pytest.raises(DataError, match="no weights with sha256"):
        read_source(context, SourceRef(weights="0" * 64), model=model, image_size=32)
    with pytest.raises(DataError, match="got none of them"):
        read_source(context, SourceRef(), model=model, image_size=32)


def test_a_registered_torch_file_is_converted_in_the_scratch_folder_and_its_code_is_not_run(make, tmp_path):
    from transfusion_core.store.files import digest_of

    context, model = make(), torch.nn.Linear(3, 3)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "good.pth")
    bad_weights.code(tmp_path / "bad.pth", creates=tmp_path / "ran")
    good, bad = digest_of(tmp_path / "good.pth"), digest_of(tmp_path / "bad.pth")
    context.store.put_file(f"weights/{good}", tmp_path / "good.pth")
    context.store.put_file(f"weights/{bad}", tmp_path / "bad.pth")
    source = read_source(context, SourceRef(weights=good), model=model, image_size=32)
    assert torch.equal(source.tensors["weight"], model.weight)
    with pytest.raises(DataError, match="expected tensors that load without running code"):
        read_source(context, SourceRef(weights=bad), model=model, image_size=32)
    assert list(context.scratch.iterdir()) == []
    assert not (tmp_path / "ran").exists()


def test_published_weights_come_from_the_weights_folder_with_the_digest_of_their_file(make, tmp_path):
    from transfusion_core.store.files import digest_of

    tag, context = "test_resnet.r160_in1k", make(weights_dir=tmp_path)
    model = build_random("test_resnet", classes=1000, image_size=32, seed=3)
    path = bad_weights.safe(tmp_path / f"{tag}.safetensors", dict(model.state_dict()))
    source = read_source(context, SourceRef(timm=tag), model=model, image_size=32)
    assert torch.equal(source.tensors["conv1.0.weight"], model.state_dict()["conv1.0.weight"])
    assert source.digest == digest_of(path)
    assert any(tag in told["log"] and source.digest in told["log"] for told in context.told if "log" in told)


def test_progress_is_told_now_and_then_and_points_are_numbers(make):
    context = make()
    for step in range(1000):
        context.progress("train", step=step, steps=1000)
    context.progress("train", step=1000, steps=1000)
    assert 2 <= len(context.told) < 100
    context.points([CurvePoint(1, "loss", "train", float("inf"))])
    assert context.told[-1]["points"][0]["value"] is None


def test_a_report_is_told_of_jobs_that_did_not_succeed(make):
    planned = {"kind": "train", "key": "k", "labels": {}}
    failed = Need(id="3", key="k", kind="train", state="failed", spec={}, result={"old": 1}, reason="data")
    assert job_for_report(make(), planned, failed) == planned | {
        "id": "3",
        "state": "failed",
        "reason": "data",
        "result": None,
    }
    assert job_for_report(make(), planned, None)["state"] == "cancelled"
    for reason, told in (("data", "data: no such file: a.png"), ("needs_failed", "needs_failed")):
        lost = replace(failed, reason=reason, error="no such file: a.png\nand more")
        assert job_for_report(make(), planned, lost)["reason"] == told
