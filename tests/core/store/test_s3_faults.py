"""The S3 store behind a proxy that does what networks and servers do."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from s3_faults import Faults, s3_proxy
from transfusion_core.errors import ObjectCorrupt, StoreError, Unavailable
from transfusion_core.store import Store, open_store, patience, s3, s3_upload
from transfusion_core.store.patience import Patience

DATA = random.Random(0).randbytes(300_000)


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def make(s3_settings, faults, monkeypatch) -> Iterator:
    """A store behind the proxy, with as much patience as is asked for and short pauses."""
    monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(patience, "LONGEST_PAUSE_SECONDS", 0.05)
    with s3_proxy(s3_settings.s3_endpoint_url, faults) as endpoint:

        def make_one(seconds: float = 20.0) -> Store:
            return open_store(s3_settings.model_copy(update={"s3_endpoint_url": endpoint, "store_seconds": seconds}))

        yield make_one


@pytest.fixture
def store(make) -> Store:
    return make()


@contextmanager
def healed_after(faults: Faults, seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, faults.heal)
    timer.start()
    yield
    timer.cancel()
    timer.join()


@pytest.mark.parametrize("trouble", [{"errors": 1.0}, {"away": True}])
def test_a_store_that_fails_for_a_while_is_asked_again_by_everything(store, faults, tmp_path, trouble):
    stored = store.put_bytes("jobs/a", DATA)
    acts = [
        lambda: store.put_bytes("jobs/b", b"1").size_bytes == 1,
        lambda: store.get_bytes(stored) == DATA,
        lambda: store.get_file(stored, tmp_path / "out") is None,
        lambda: store.exists("jobs/a"),
        lambda: [each.key for each in store.list("jobs/a")] == ["jobs/a"],
        lambda: list(store.unfinished()) == [],
        lambda: store.delete("jobs/b") is None,
    ]
    for act in acts:
        for name, value in trouble.items():
            setattr(faults, name, value)
        with healed_after(faults, 0.15):
            assert act()


def test_one_in_ten_failing_and_one_in_twenty_breaking_off_change_no_byte(store, faults, tmp_path):
    faults.errors, faults.truncated = 0.1, 0.05
    draw = random.Random(1)
    for number in range(25):
        data = draw.randbytes(draw.randrange(200_000))
        stored = store.put_bytes(f"jobs/{number}", data)
        for _ in range(3):
            store.get_file(stored, tmp_path / str(number))
        assert (tmp_path / str(number)).read_bytes() == data
    assert len(list(store.list("jobs/"))) == 25
    assert faults.done["errors"] > 3
    assert faults.done["truncated"] > 0


def test_a_store_that_stays_away_is_given_up_with_how_often_it_was_asked(make, faults):
    faults.away = True
    with pytest.raises(Unavailable, match=r"does not answer .*; tried \d+ times in 0 s"):
        make(0.3).put_bytes("a", b"1")
    assert len(faults.requests) > 2
    faults.heal()
    assert make(0).put_bytes("a", b"1").size_bytes == 1


def test_a_read_that_breaks_off_goes_on_where_it_broke(store, faults, monkeypatch):
    stored = store.put_bytes("a", DATA)
    faults.requests.clear()
    faults.truncated = 0.75
    assert store.get_bytes(stored) == DATA
    assert "Range" not in faults.requests[0]
    assert any("bytes=" in request for request in faults.requests[1:])


def test_a_body_that_is_cut_on_its_way_is_sent_again(store, faults):
    faults.cut_uploads = 2
    assert store.get_bytes(store.put_bytes("a", DATA)) == DATA
    assert faults.done["cut_uploads"] == 2


def test_an_upload_whose_answer_is_lost_is_found_to_be_done(store, faults):
    store.put_bytes("there", b"1")
    faults.lost_answers = 1
    assert store.get_bytes(store.put_bytes("a", DATA)) == DATA
    assert sum(request.startswith("PUT") and request.endswith("/a") for request in faults.requests) == 1


def test_bits_that_flip_on_the_way_are_noticed_by_the_server_or_by_us(store, faults):
    faults.flipped_uploads = 1
    stored = store.put_bytes("a", DATA)
    faults.flipped_downloads = 1
    assert store.get_bytes(stored) == DATA
    faults.flipped_downloads = 2
    with pytest.raises(ObjectCorrupt):
        store.get_bytes(stored)
    assert faults.done["flipped_uploads"] == 1


def test_where_etags_say_nothing_the_bytes_are_read_back(store, faults):
    faults.foreign_etags = True
    stored = store.put_bytes("a", DATA)
    assert store.put_bytes("a", DATA) == stored
    assert any(request.startswith("GET") and request.endswith("/a") for request in faults.requests)
    with pytest.raises(StoreError, match="other bytes"):
        store.put_bytes("a", DATA[:-1] + b"x")
    faults.flipped_downloads = 2
    faults.requests.clear()
    assert store.get_bytes(store.put_bytes("b", DATA)) == DATA
    assert any(request.startswith("DELETE") for request in faults.requests), "what seemed damaged was sent anew"


def test_expired_credentials_are_refused_at_once_with_the_reason(store, faults):
    stored = store.put_bytes("a", b"1")
    faults.refused = "ExpiredToken"
    faults.requests.clear()
    with pytest.raises(StoreError, match=r"refused our credentials .*ExpiredToken") as raised:
        store.get_bytes(stored)
    assert not isinstance(raised.value, Unavailable)
    assert len(faults.requests) == 1


def test_a_store_that_is_too_slow_does_not_answer(make, faults, monkeypatch):
    monkeypatch.setattr(s3, "READ_BYTES", 100)
    monkeypatch.setattr(s3, "READ_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(patience, "SLOWEST_BYTES_PER_SECOND", 1_000_000)
    monkeypatch.setattr(patience, "SLOW_SECONDS", 0.4)
    stored = make().put_bytes("a", DATA)
    faults.bytes_per_second = 1000
    with pytest.raises(Unavailable, match="too slow: not done"):
        make(0.4).get_bytes(stored)
    monkeypatch.setattr(patience, "SLOW_SECONDS", 60)  # else either may be noticed first
    with pytest.raises(Unavailable, match=r"imed out|timeout"):
        make(0.4).put_bytes("b", DATA)


def test_a_body_is_not_sent_beyond_its_time():
    now = [0.0]
    body = s3_upload._Body(b"123", Patience(seconds=5, clock=lambda: now[0]).begin())
    assert body.read(1) == b"1"
    now[0] = patience.SLOW_SECONDS + 1
    with pytest.raises(Unavailable, match="too slow"):
        body.read(1)


@pytest.fixture
def large(monkeypatch, tmp_path):
    """A file of two parts and a bit."""
    monkeypatch.setattr(s3_upload, "PART_BYTES", 5 << 20)
    path = tmp_path / "large"
    path.write_bytes(random.Random(0).randbytes((10 << 20) + 5))
    return path


def test_parts_that_fail_are_sent_again_and_no_other(store, faults, large):
    store.put_bytes("there", b"1")
    faults.cut_uploads = 1
    faults.requests.clear()
    stored = store.put_file("large", large)
    assert sum("partNumber" in request for request in faults.requests) == 4
    assert b"".join(store.open_stream(stored)) == large.read_bytes()


def test_an_upload_in_parts_whose_last_answer_is_lost_is_done(store, faults, large):
    store.put_bytes("there", b"1")

    def lose_the_completion(request: str) -> None:
        if request.startswith("POST") and "uploadId=" in request and not faults.done["lost_answers"]:
            faults.lost_answers = 1

    faults.on_request = lose_the_completion
    stored = store.put_file("large", large)
    assert faults.done["lost_answers"] == 1
    assert store.size("large") == stored.size_bytes
    assert list(store.unfinished()) == []


def test_an_upload_in_parts_that_cannot_even_be_aborted_is_left_for_the_janitor(store, faults, large):
    store.put_bytes("there", b"1")

    def refuse_the_second_part(request: str) -> None:
        if "partNumber=2" in request:
            faults.refused = "ExpiredToken"

    faults.on_request = refuse_the_second_part
    with pytest.raises(StoreError, match="ExpiredToken"):
        store.put_file("large", large)
    faults.heal()
    (left,) = store.unfinished()
    assert left.key == "large"
    store.abandon(left)
    store.abandon(left)
    assert list(store.unfinished()) == []


def test_an_upload_in_parts_that_fails_for_long_is_aborted(make, faults, large):
    store = make(0.5)
    store.put_bytes("there", b"1")
    faults.cut_uploads = 10**6
    with pytest.raises(Unavailable, match="tried"):
        store.put_file("large", large)
    assert list(store.unfinished()) == []
    assert not store.exists("large")
