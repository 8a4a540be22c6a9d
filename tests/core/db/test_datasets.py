from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from transfusion_core.db import datasets
from transfusion_core.db.scope import Scope
from transfusion_core.errors import NotFound
from transfusion_core.specs.dataset import DatasetSpec
from transfusion_core.specs.facts import ingest_draft


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
