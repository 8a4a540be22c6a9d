from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from transfusion_core.db import comparisons, datasets, experiments, jobs, removals, uploads
from transfusion_core.db.scope import Scope
from transfusion_core.errors import Conflict, NotFound
from transfusion_core.specs.dataset import DatasetSpec
from transfusion_core.specs.facts import ingest_draft
from transfusion_core.specs.pixels import pixels_draft


def register(engine: Engine, folder: str, **more):
    spec = DatasetSpec(name="mine", kind="folder", location=f"file:///{folder}")
    return datasets.register(Scope(engine), spec, ingest_draft(spec), **more)


def test_the_same_ingest_is_the_same_version_and_another_the_next(engine):
    first, created, queues = register(engine, "a")
    assert (first.name, first.state, first.task, created, queues) == ("mine@1", "queued", "multiclass", True, ["cpu"])
    assert register(engine, "a") == (first, False, [])
    assert register(engine, "b")[0].name == "mine@2"
    assert datasets.get(Scope(engine), "mine").name == "mine@2"
    assert datasets.get(Scope(engine), "mine@1") == first


def test_an_ingest_fills_the_dataset_and_keeps_the_order_of_what_it_found(engine, drain):
    register(engine, "a")
    drain()
    dataset = datasets.get(Scope(engine), "mine")
    assert (dataset.state, dataset.digest, dataset.images, dataset.task) == ("succeeded", "d", 100, "ordinal")
    assert dataset.splits == {"train": 70, "val": 10, "test": 20}


def test_a_failed_ingest_is_tried_again(engine, drain):
    register(engine, "a")
    drain("ingest")
    failed = datasets.get(Scope(engine), "mine")
    assert (failed.state, failed.reason) == ("failed", "bug")
    again, created, queues = register(engine, "a")
    assert (again.name, again.state, again.reason, created, queues) == ("mine@1", "queued", None, False, ["cpu"])


def test_a_pack_that_is_gone_is_made_again_for_the_same_version(engine, drain):
    register(engine, "a")
    drain()
    spec = DatasetSpec(name="mine", kind="folder", location="file:///a")
    again, created, _ = register(engine, "a", verified_missing=frozenset({ingest_draft(spec).key}))
    assert (again.name, again.state, again.digest, created) == ("mine@1", "queued", "d", False)


def test_what_is_found_where_a_pack_is_made_again_must_be_the_same_dataset(engine, drain):
    register(engine, "a")
    drain()
    spec = DatasetSpec(name="mine", kind="folder", location="file:///a")
    register(engine, "a", verified_missing=frozenset({ingest_draft(spec).key}))
    again = jobs.claim(engine, worker="w", queues=["cpu"], lease_seconds=60)
    jobs.succeed(engine, again.id, again.attempt, {"digest": "e", "pack": []})
    found = datasets.get(Scope(engine), "mine@1")
    assert (found.state, found.reason, found.digest) == ("failed", "data", "d")
    assert "what lies there now is not what was registered: expected digest d, got e" in str(found.error)


def test_two_names_may_share_an_ingest(engine, drain):
    register(engine, "a")
    drain()
    spec = DatasetSpec(name="other", kind="folder", location="file:///a")
    dataset, created, queues = datasets.register(Scope(engine), spec, ingest_draft(spec))
    assert (dataset.name, dataset.state, dataset.digest, created, queues) == ("other@1", "succeeded", "d", True, [])


def test_many_at_once_make_each_version_once(engine):
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda n: register(engine, f"folder{n % 3}")[0].name, range(6)))
    assert sorted(set(made)) == ["mine@1", "mine@2", "mine@3"]


def test_a_repeated_request_answers_the_same(engine):
    request = ("key", "/v1/datasets", "digest")
    first = register(engine, "a", idempotency=request)[0]
    register(engine, "b")
    assert register(engine, "a", idempotency=request) == (first, False, [])


@pytest.mark.parametrize("name", ["mine", "mine@1", "mine@0", "mine@x", "mine@99999999999999999999", "@1", "mine@"])
def test_what_is_not_there_is_not_found(engine, name):
    with pytest.raises(NotFound, match="there is no dataset"):
        datasets.get(Scope(engine), name)


def test_pages_are_filtered(engine, drain):
    register(engine, "a")
    drain()
    register(engine, "b")
    page = datasets.page(Scope(engine), limit=1)
    assert [dataset.name for dataset in page.items] == ["mine@2"]
    assert [dataset.name for dataset in datasets.page(Scope(engine), limit=1, cursor=page.next).items] == ["mine@1"]
    assert [dataset.name for dataset in datasets.page(Scope(engine), limit=9, state="queued", name="mine").items] == [
        "mine@2"
    ]
    assert datasets.page(Scope(engine), limit=9, name="other").items == []


def test_a_deleted_version_leaves_a_mark_and_is_never_given_again(engine, drain):
    dataset, _, _ = register(engine, "a")
    with pytest.raises(Conflict, match=r"is being read \(ingest, profile\)"):
        datasets.remove(Scope(engine), "mine@1")
    drain()
    profile, _ = datasets.profile_job(Scope(engine), "mine")
    removal = datasets.remove(Scope(engine), "mine@1")
    (mark,) = removals.unfinished(engine)
    assert (mark.id, mark.places) == (removal, [f"jobs/{job}/" for job in sorted([dataset.job, profile.id])])
    for act in (datasets.get, datasets.remove):
        with pytest.raises(NotFound):
            act(Scope(engine), "mine@1")
    with pytest.raises(NotFound):
        jobs.get(engine, dataset.job)
    assert register(engine, "a")[0].name == "mine@2"
    with pytest.raises(NotFound, match="by its whole name"):
        datasets.remove(Scope(engine), "mine")


def test_pixels_of_any_size_go_with_their_dataset(engine, world, drain):
    dataset, _, _ = register(engine, "a")
    ingest = jobs.get(engine, dataset.job).key
    placed = world.place(*(pixels_draft(ingest, size) for size in (32, 64)), cache="refresh")
    again = world.place(pixels_draft(ingest, 32), cache="off")
    assert set(again.ids.values()) <= set(placed.ids.values()), "shared under every cache, as ingests are"
    drain()
    removal = datasets.remove(Scope(engine), "mine@1")
    (mark,) = removals.unfinished(engine)
    assert mark.id == removal
    assert {f"jobs/{job}/" for job in placed.ids.values()} <= {*mark.places}
    assert len(mark.places) == 4, "ingest, profile, and pixels of two sizes"


def test_a_dataset_that_something_is_made_of_stays(engine, world, drain):
    made = experiments.create(Scope(engine), world.expansion(), name="small")
    drain()
    with pytest.raises(Conflict, match=f"in use by experiments {made.id}"):
        datasets.remove(Scope(engine), "demo-retina@1")
    with pytest.raises(Conflict, match="in use by experiments"):
        datasets.remove(Scope(engine), "demo-natural@1")
    experiments.remove(Scope(engine), made.id)
    ingest = world.draft("x", kind="ingest")
    world.place(ingest)
    datasets.remove(Scope(engine), "demo-natural@1")
    datasets.remove(Scope(engine), "demo-retina@1")
    assert datasets.page(Scope(engine), limit=9).items == []


def test_a_dataset_that_a_comparison_needs_stays(engine, world, drain):
    dataset, _, _ = register(engine, "a")
    spec = DatasetSpec(name="mine", kind="folder", location="file:///a")
    comparison = world.draft("c", ingest_draft(spec), kind="compare")
    comparisons.create(Scope(engine), comparison, "a@final", "b@final")
    drain()
    with pytest.raises(Conflict, match="comparisons are made of it"):
        datasets.remove(Scope(engine), "mine@1")
    assert datasets.get(Scope(engine), "mine@1").id == dataset.id


def test_of_two_names_for_one_ingest_the_first_to_go_leaves_its_bytes(engine, drain):
    register(engine, "a")
    drain()
    twin = DatasetSpec(name="other", kind="folder", location="file:///a")
    datasets.register(Scope(engine), twin, ingest_draft(twin))
    datasets.remove(Scope(engine), "mine@1")
    assert [mark.places for mark in removals.unfinished(engine)] == [[]]
    assert datasets.get(Scope(engine), "other@1").state == "succeeded"
    datasets.remove(Scope(engine), "other@1")
    assert len(removals.unfinished(engine)[-1].places) == 2


def test_the_upload_goes_with_the_last_dataset_that_is_made_from_it(engine, drain):
    upload = uploads.create(Scope(engine), filename="a.zip", size_bytes=1)
    for kind in ("folder", "npz"):
        spec = DatasetSpec(name=kind, kind=kind, location=f"upload:{upload.id}")
        datasets.register(Scope(engine), spec, ingest_draft(spec))
    drain()
    datasets.remove(Scope(engine), "folder@1")
    assert uploads.get(Scope(engine), upload.id).id == upload.id
    datasets.remove(Scope(engine), "npz@1")
    assert upload.key in removals.unfinished(engine)[-1].places
    with pytest.raises(NotFound):
        uploads.get(Scope(engine), upload.id)
