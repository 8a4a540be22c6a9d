"""How the embedded platform ends: the first signal asks its worker to stop, the second does not wait for the jobs."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from transfusion_api import up
from transfusion_api.data_folder import embedded_settings
from transfusion_core.settings import Settings


class Worker:
    """A worker whose jobs do not end before they are killed."""

    def __init__(self) -> None:
        self.is_killed = threading.Event()
        self.was_asked = threading.Event()

    def start(self) -> None:
        pass

    def stop(self) -> None:
        self.was_asked.set()
        deadline = time.monotonic() + 20
        while not self.is_killed.wait(0.1):  # as `Slots.wait_until_all_free` does
            assert time.monotonic() < deadline

    def kill(self) -> None:
        self.is_killed.set()


@pytest.fixture
def handlers() -> Iterator[None]:
    """Signal handlers are put back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_an_embedded_platform_is_one_process_whatever_a_service_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSFUSION_API_PROCESSES", "3")
    assert Settings().api_processes == 3
    assert embedded_settings(tmp_path).api_processes == 1


@pytest.mark.usefixtures("handlers")
def test_a_second_signal_kills_the_jobs_that_do_not_end(
    settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, ready = Worker(), threading.Event()
    monkeypatch.setattr(up, "_worker", lambda settings: worker)
    monkeypatch.setattr(up, "_announce", lambda url: (_await(url), ready.set()))

    def end_twice() -> None:
        ready.wait(20)
        _end_by_another_process()
        worker.was_asked.wait(20)
        _end_by_another_process()

    ending = threading.Thread(target=end_twice)
    ending.start()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        with pytest.raises(SystemExit) as ended:
            up.serve(settings(), listener)
    ending.join(20)
    assert (ended.value.code, worker.is_killed.is_set()) == (0, True)


def test_a_platform_that_takes_long_says_so_once_and_is_still_announced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([503, 200])

    class Readyz(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(next(answers))
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    monkeypatch.setattr(up, "READY_SECONDS", 0.0)
    with HTTPServer(("127.0.0.1", 0), Readyz) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        url = f"http://127.0.0.1:{server.server_port}"
        up._announce(url)
        server.shutdown()
    printed = capsys.readouterr()
    assert printed.out == f"ready: {url}\n"
    assert printed.err == f"not ready after 0 seconds, still waiting; see {url}/readyz\n"


def _end_by_another_process() -> None:
    """SIGTERM as it comes in life: to the main thread, which it wakes."""
    subprocess.run(["kill", "-TERM", str(os.getpid())], check=True)


def _await(url: str) -> None:
    """Until somebody listens there."""
    host, port = url.removeprefix("http://").split(":")
    while True:
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
