"""What one caller and all of them may ask at once, how long a body and a reader may take, and what a 429 says."""

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.event import listen

from access import ADMIN, bearer, key_of
from transfusion_api.app import create_app
from transfusion_api.limits import Known, Places, RateLimit
from transfusion_core.errors import TooManyRequests
from transfusion_core.settings import Settings

DEEP = "[" * 10_000 + "]" * 10_000


class Hand:
    """A clock that is moved by hand."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_caller_has_a_rate_and_twice_that_after_a_pause() -> None:
    clock = Hand()
    limit = RateLimit(2, clock)
    for _ in range(4):
        limit.take("a")
    with pytest.raises(TooManyRequests) as refused:
        limit.take("a")
    assert refused.value.retry_after_seconds == pytest.approx(0.5)
    limit.take("b")
    clock.seconds = 0.5
    limit.take("a")
    with pytest.raises(TooManyRequests):
        limit.take("a")


def test_callers_that_came_once_are_forgotten() -> None:
    clock = Hand()
    limit = RateLimit(1, clock)
    for number in range(10_000):
        limit.take(f"caller {number}")
    clock.seconds = 10
    limit.take("the next")
    assert len(limit._buckets) == 1


def test_places_are_given_back_and_only_some_wait() -> None:
    async def crowd() -> list[str]:
        places, go = Places(1, waiting=1, what="x"), asyncio.Event()
        inside = 0

        async def visit() -> str:
            nonlocal inside
            async with places.taken():
                inside += 1
                assert inside == 1
                await go.wait()
                inside -= 1
                return "in"

        tasks = [asyncio.create_task(visit()) for _ in range(3)]
        await asyncio.sleep(0)
        go.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        async with places.taken():
            return [answer if isinstance(answer, str) else type(answer).__name__ for answer in answers]

    assert asyncio.run(crowd()) == ["in", "in", "TooManyRequests"]


def test_a_caller_that_asks_too_often_is_told_when_to_return(
    settings: Callable[..., Settings], serve: Callable[..., TestClient]
) -> None:
    made = settings(mode="service", admin_key=ADMIN, requests_per_second=2.0)
    with serve(made, base_url="http://service.example") as client:
        other = key_of(client, role="read")
        answers = [client.get("/v1/runs", headers=bearer(ADMIN)) for _ in range(6)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert refused[0].json()["code"] == "too_many_requests"
        assert refused[0].headers["content-type"] == "application/problem+json"
        assert int(refused[0].headers["retry-after"]) >= 1
        assert client.get("/v1/runs", headers=bearer(other)).status_code == 200
        guesses = [client.get("/v1/runs", headers=bearer("wrong")).status_code for _ in range(6)]
        assert guesses[0] == 401
        assert guesses[-1] == 429
        pages = [client.get("/", headers={"Cookie": "a=b"}, follow_redirects=False).status_code for _ in range(6)]
        assert pages[-1] == 429


def test_bad_keys_beyond_an_address_s_rate_are_refused_without_a_look_at_the_database(
    settings: Callable[..., Settings], serve: Callable[..., TestClient]
) -> None:
    """Whoever has shown a good key from that address, as through a proxy, is let in all the same."""
    made = settings(mode="service", admin_key=ADMIN, requests_per_second=0.01)
    with serve(made, base_url="http://service.example") as client:
        reads = key_of(client, role="read")
        assert client.get("/v1/runs", headers=bearer(reads)).status_code == 200
        asked: list[str] = []
        listen(client.app.state.service.engine, "before_cursor_execute", lambda *of: asked.append(of[2]))
        statuses = [client.get("/v1/runs", headers=bearer(f"tf_guess_{n}")).status_code for n in range(5)]
        assert statuses == [401, 429, 429, 429, 429]
        first = len(asked)
        assert client.get("/v1/runs", headers=bearer("tf_guess_5")).status_code == 429
        assert client.get("/v1/runs", headers={"Cookie": "transfusion_session=guess"}).status_code == 429
        assert len(asked) == first
        answer = client.get("/v1/runs", headers=bearer(reads))
        assert answer.status_code == 429, "its own rate is as low"
        assert len(asked) > first, "but it was looked at"


def test_keys_that_were_good_are_remembered_ten_thousand_at_most_and_forgotten_when_they_are_not() -> None:
    known = Known()
    for number in range(10_001):
        known.add(str(number))
    assert [known.has(each) for each in ("0", "1", "10000")] == [False, True, True]
    known.forget("1")
    assert not known.has("1")


def test_one_address_gets_four_fifths_of_the_places() -> None:
    async def crowd() -> list[str]:
        places, go = Places(5, what="x"), asyncio.Event()

        async def visit(address: str) -> str:
            async with places.taken_by(address):
                await go.wait()
                return "in"

        tasks = [asyncio.create_task(visit(address)) for address in "aaaaabb"]
        await asyncio.sleep(0)
        go.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert not places._held
        return [answer if isinstance(answer, str) else type(answer).__name__ for answer in answers]

    assert asyncio.run(crowd()) == ["in"] * 4 + ["TooManyRequests", "in", "TooManyRequests"]


def test_a_service_may_be_called_by_its_names_alone(
    settings: Callable[..., Settings], serve: Callable[..., TestClient]
) -> None:
    made = settings(mode="service", admin_key=ADMIN, allowed_hosts=["transfusion.example"])
    with serve(made, base_url="http://transfusion.example") as client:
        assert client.get("/readyz").status_code == 200
        for host in ("evil.example", "", "[x", "transfusion.example.evil.example"):
            answer = client.get("/readyz", headers={"Host": host})
            assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
        assert client.get("/healthz", headers={"Host": "10.1.2.3:8000"}).status_code == 200, "probes call by address"


@contextmanager
def serving(settings: Settings, app: FastAPI | None = None) -> Iterator[tuple[str, int]]:
    """A real server, in a thread: what is tested is how it treats connections."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(app or create_app(settings), log_level="critical", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.005)
        try:
            yield listener.getsockname()
        finally:
            server.should_exit = True
            thread.join()


def opened(address: tuple[str, int], method: str, path: str, *headers: str) -> socket.socket:
    connection = socket.create_connection(address, timeout=10)
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{address[1]}", "Connection: close", *headers]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    return connection


def answer_of(connection: socket.socket) -> tuple[int, Any]:
    """Status and problem of the answer, read to its end."""
    data = b""
    while piece := connection.recv(65536):
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_a_chunked_body_without_end_is_refused_before_it_is_read(settings: Callable[..., Settings]) -> None:
    with serving(settings(max_body_bytes=100_000)) as address:
        connection = opened(
            address, "POST", "/v1/experiments", "Content-Type: application/json", "Transfer-Encoding: chunked"
        )
        sent = 0
        try:
            for _ in range(2000):
                connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
                sent += 65536
        except OSError:
            pass  # it has hung up on us
        assert sent < 100 * 65536
        connection.close()


def test_a_body_that_is_announced_too_large_is_not_waited_for(settings: Callable[..., Settings]) -> None:
    with serving(settings()) as address:
        connection = opened(
            address, "POST", "/v1/experiments", "Content-Type: application/json", "Content-Length: 999999999"
        )
        status, told = answer_of(connection)
        assert (status, told["code"]) == (413, "too_large")
        connection.close()


def test_a_body_that_does_not_go_on_is_let_go(settings: Callable[..., Settings]) -> None:
    with serving(settings(body_seconds=0.2)) as address:
        for path, method, headers in (
            ("/v1/experiments", "POST", ["Content-Type: application/json", "Content-Length: 500"]),
            ("/login", "POST", ["Content-Type: application/x-www-form-urlencoded", "Content-Length: 500"]),
        ):
            connection = opened(address, method, path, *headers)
            connection.sendall(b'{"name":')
            status, told = answer_of(connection)
            assert (status, told["code"]) == (408, "timeout")
            connection.close()


@pytest.mark.parametrize(
    ("path", "kind"), [("/v1/experiments", "application/json"), ("/login", "application/x-www-form-urlencoded")]
)
def test_a_body_that_comes_in_drops_is_let_go(settings: Callable[..., Settings], path: str, kind: str) -> None:
    with serving(settings(body_seconds=5, whole_body_seconds=0.3)) as address:
        connection = opened(address, "POST", path, f"Content-Type: {kind}", "Content-Length: 500")
        connection.settimeout(0.02)
        data, deadline = b"", time.monotonic() + 4
        while not data and time.monotonic() < deadline:
            connection.sendall(b"x")
            with suppress(TimeoutError):
                data = connection.recv(65536)
        assert data.startswith(b"HTTP/1.1 408")
        connection.close()


def test_attempts_to_log_in_are_counted_before_their_body_is_read(settings: Callable[..., Settings]) -> None:
    form = ["Content-Type: application/x-www-form-urlencoded", "Content-Length: 500"]
    made = settings(mode="service", admin_key=ADMIN, body_seconds=5, requests_per_second=0.5)
    with serving(made) as address:
        first = opened(address, "POST", "/login", *form)
        second = opened(address, "POST", "/login", *form)
        first.settimeout(0.5)
        second.settimeout(0.5)
        refused = [answer for each in (first, second) if (answer := _answer_or_none(each))]
        assert [(status, told["code"]) for status, told in refused] == [(429, "too_many_requests")]
        first.close()
        second.close()


def _answer_or_none(connection: socket.socket) -> tuple[int, Any] | None:
    try:
        return answer_of(connection)
    except TimeoutError:
        return None


def test_more_requests_than_places_are_told_to_return(settings: Callable[..., Settings]) -> None:
    with serving(settings(max_requests=1, body_seconds=5)) as address:
        slow = opened(address, "POST", "/v1/experiments", "Content-Type: application/json", "Content-Length: 500")
        deadline = time.monotonic() + 5
        status = 200
        while status != 429 and time.monotonic() < deadline:
            connection = opened(address, "GET", "/v1/runs")
            status, told = answer_of(connection)
            connection.close()
        assert (status, told["code"]) == (429, "too_many_requests")
        probe = opened(address, "GET", "/healthz")
        assert answer_of(probe)[0] == 200, "a full service lives all the same"
        probe.close()
        slow.close()


def test_a_stream_is_given_back_when_its_reader_has_vanished(
    settings: Callable[..., Settings], spec: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    made = settings(max_streams=3)
    app = create_app(made)
    with serving(made, app) as address:
        body = json.dumps(spec).encode()
        post = opened(
            address, "POST", "/v1/experiments", "Content-Type: application/json", f"Content-Length: {len(body)}"
        )
        post.sendall(body)
        experiment_id = answer_of(post)[1]["id"]
        post.close()
        path = f"/v1/experiments/{experiment_id}/events"
        for _ in range(4):
            streams = _all_places(address, path, 3)
            assert 0 in {app.state.service.engine.pool.checkedout() for _ in _moments()}, "streams hold connections"
            full = opened(address, "GET", path)
            assert answer_of(full)[0] == 429
            for stream in [*streams, full]:
                stream.close()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def _moments() -> Iterator[None]:
    for _ in range(100):
        time.sleep(0.001)
        yield


def _all_places(address: tuple[str, int], path: str, count: int) -> list[socket.socket]:
    """So many open streams, as soon as those of vanished readers have been given back."""
    streams: list[socket.socket] = []
    deadline = time.monotonic() + 10
    while len(streams) < count:
        assert time.monotonic() < deadline, "streams of vanished readers are still open"
        connection = opened(address, "GET", path)
        if connection.recv(12) == b"HTTP/1.1 200":
            streams.append(connection)
        else:
            connection.close()
    return streams


@pytest.mark.parametrize(
    "raw",
    [
        '{"name": NaN}',
        '{"name": 1e400}',
        DEEP,
        '{"name": "\\ud800"}',
        '{"name": "\\u0000"}',
        '{"a":' * 5000,
        "\x00",
        "9" * 5000,
    ],
    ids=["NaN", "1e400", "deep", "surrogate", "NUL", "open", "raw NUL", "digits"],
)
def test_what_cannot_be_stored_is_refused_in_a_moment(client: TestClient, raw: str) -> None:
    paths = ("/v1/experiments", "/v1/experiments/plan", "/v1/datasets", "/v1/comparisons", "/v1/weights", "/v1/keys")
    client.post("/v1/experiments", content="{}")
    for path in paths:
        # Time of the processor, as other tests run beside; the best of some, as other threads of ours do too.
        taken = []
        for _ in range(3):
            began = time.process_time()
            answer = client.post(path, content=raw, headers={"Content-Type": "application/json"})
            taken.append(time.process_time() - began)
            assert answer.status_code == 422, (path, answer.text[:200])
        assert min(taken) < 0.05, path


def test_one_idempotency_key_fifty_times_at_once_makes_one_experiment(client: TestClient, spec: dict[str, Any]) -> None:
    def post(_: int) -> str:
        answer = client.post("/v1/experiments", json=spec, headers={"Idempotency-Key": "once"})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    with ThreadPoolExecutor(50) as pool:
        assert len(set(pool.map(post, range(50)))) == 1
    assert len(client.get("/v1/experiments").json()["items"]) == 1


def test_pages_give_each_row_once_while_ten_write(client: TestClient, spec: dict[str, Any]) -> None:
    before = {client.post("/v1/experiments", json=spec).json()["id"] for _ in range(12)}
    stop = threading.Event()

    def write(_: int) -> None:
        while not stop.is_set():
            assert client.post("/v1/experiments", json=spec).status_code == 201

    with ThreadPoolExecutor(10) as pool:
        writers = [pool.submit(write, number) for number in range(10)]
        seen: list[str] = []
        cursor = None
        while True:
            page = client.get("/v1/experiments", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
            seen += [item["id"] for item in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
        stop.set()
        for writer in writers:
            writer.result()
    assert len(seen) == len(set(seen))
    assert before <= set(seen)
