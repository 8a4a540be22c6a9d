"""Several processes of one service behind one port: they count together, are replaced, and end with their parent."""

import os
import re
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import platforms
from platforms import api_alone, start, stop, until
from servers import free_port

KEY = "tf_admin_of_this_test_and_of_nothing_else"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return api_alone(tmp_path, KEY) | {"TRANSFUSION_API_PROCESSES": "2"}


class Several:
    """A service of two processes."""

    def __init__(self, environment: dict[str, str]) -> None:
        port = free_port()
        self.url, self.answered = f"http://127.0.0.1:{port}", 0
        self.parent = start(["api", "--port", str(port)], ready=None, environment=environment).process
        until(lambda: self.ask("/healthz") and len(self.processes()) == 2, "two processes")

    def ask(self, path: str) -> str | None:
        """What is answered over a connection of its own, by whichever process takes it; None where nobody does."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:
                told = str(answer.read().decode())
        except OSError:
            return None
        self.answered += path == "/healthz"
        return told

    def processes(self) -> list[int]:
        """The ids of those that answer."""
        return [pid for pid in platforms.children(self.parent.pid) if "spawn_main" in platforms.command(pid)]

    def counted(self) -> int:
        """How often all processes say that they have said that they live."""
        told = re.search(r'transfusion_request_seconds_count{.*route="/healthz".*} (\S+)', self.ask("/metrics") or "")
        return int(float(told[1])) if told else 0


@pytest.fixture
def several(environment: dict[str, str]) -> Iterator[Several]:
    made = Several(environment)
    yield made
    stop(made.parent)


def test_several_processes_count_as_one_and_are_replaced(several: Several) -> None:
    assert all(several.ask("/healthz") for _ in range(40))
    # Each counts when its answer is sent, which may be a moment after it was read.
    until(lambda: several.counted() == several.answered, "all to be counted")
    answered = several.answered
    assert [several.counted() for _ in range(8)] == [answered] * 8
    dead = several.processes()[0]
    os.kill(dead, signal.SIGKILL)
    assert all(several.ask("/readyz") is not None or several.ask("/healthz") for _ in range(10)), "the other answers"
    until(lambda: dead not in several.processes() and len(several.processes()) == 2, "another in its place")
    assert several.counted() >= answered, "what the dead one counted stays"
    assert stop(several.parent) == 0
    assert several.ask("/healthz") is None


def test_processes_end_with_a_parent_that_is_killed(several: Several) -> None:
    orphans = several.processes()
    several.parent.kill()
    several.parent.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans), "their end")
    assert several.ask("/healthz") is None


def test_a_service_whose_processes_cannot_start_ends(environment: dict[str, str]) -> None:
    wrong = {**environment, "TRANSFUSION_ADMIN_KEY": "guessed"}
    parent = start(["api", "--port", str(free_port())], ready=None, environment=wrong).process
    assert parent.wait(60) == 3
