"""A process apart answers, refuses, dies or hangs; whoever asks is told which, and goes on."""

import os
import socket
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from transfusion_core.science import apart
from transfusion_core.science.answering import Refused
from transfusion_core.science.apart import Apart, Died
from transfusion_core.science.frames import BrokenFrame, Frame

PROGRAM = """
import os, signal, socket, sys, time
from transfusion_core.science.answering import MORE, Refused, serve
from transfusion_core.science.frames import Frame
from transfusion_core.science.isolation import Limits

def answer(question):
    exec(question.head["code"], globals())
    yield from do(question)

serve(answer, limits=Limits(memory_bytes=100_000_000, cpu_seconds=1, file_bytes=1000))
"""
"""A process that was taken over: it does whatever it is told to, behind its walls."""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Apart]]:
    (tmp_path / "taken_over.py").write_text(PROGRAM)
    words = apart.environment()
    monkeypatch.setattr(
        apart, "environment", lambda: words | {"PYTHONPATH": f"{words['PYTHONPATH']}{os.pathsep}{tmp_path}"}
    )
    started: list[Apart] = []

    def make() -> Apart:
        started.append(Apart("taken_over"))
        return started[-1]

    yield make
    for each in started:
        each.close()


def told(asked: Apart, body: str, *, within_seconds: float = 200) -> Frame:
    code = "def do(question):\n" + textwrap.indent(textwrap.dedent(body), "    ")
    return asked.ask(Frame({"code": code}, b"bytes"), within_seconds=within_seconds)


@pytest.fixture
def _default_timeout() -> Iterator[None]:
    """What a library may leave behind in a process: sockets that are made do not wait for long."""
    socket.setdefaulttimeout(0.01)
    yield
    socket.setdefaulttimeout(None)


@pytest.mark.usefixtures("_default_timeout")
def test_it_waits_for_questions_whatever_the_default_of_sockets_is(start: Callable[[], Apart]) -> None:
    asked = start()
    for _ in range(2):
        assert told(asked, "yield Frame({}, bytes(10_000_000))").data == bytes(10_000_000)
        time.sleep(0.1)


def test_it_answers_one_question_after_the_other_and_a_refusal_is_no_end(start: Callable[[], Apart]) -> None:
    asked = start()
    assert told(asked, "yield Frame({'got': len(question.data)}, question.data * 2)") == Frame({"got": 5}, b"bytes" * 2)
    with pytest.raises(Refused, match="it is not mine"):
        told(asked, "raise Refused('it is not mine')")
    with pytest.raises(Refused, match=r"it is broken: odd (ValueError)".replace("(", r"\(").replace(")", r"\)")):
        told(asked, "raise ValueError('odd')")
    with pytest.raises(Refused, match="more memory than a file may"):
        told(asked, "bytes(1_000_000_000); yield Frame({})")
    assert told(asked, "yield Frame({'more': True}); yield Frame({'last': 1})").head == {"last": 1}
    assert asked.busy_seconds > 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV); yield", "was killed by SIGSEGV"),
        ("print('why', file=sys.stderr, flush=True); os._exit(7); yield", r"ended with exit code 7 \(why\)"),
        ("while True: pass\nyield", "was killed by SIGXCPU"),
        ("os.write(1, b'x' * 100); yield Frame({})", "answered nonsense"),
    ],
)
def test_a_death_is_told_and_the_next_question_is_for_another_process(
    start: Callable[[], Apart], body: str, words: str
) -> None:
    asked = start()
    with pytest.raises(Died, match=words):
        told(asked, body)
    with pytest.raises(Died):
        told(asked, "yield Frame({})")
    assert told(start(), "yield Frame({'well': 1})").head == {"well": 1}


def test_one_that_hangs_is_given_up(start: Callable[[], Apart]) -> None:
    asked = start()
    told(asked, "yield Frame({})")
    began = time.monotonic()
    with pytest.raises(Died, match=r"longer than 0\.3 seconds"):
        told(asked, "time.sleep(60); yield Frame({})", within_seconds=0.3)
    assert time.monotonic() - began < 10


def test_it_opens_nothing_and_knows_no_credentials(start: Callable[[], Apart], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "TRANSFUSION_DATABASE_URL", "TRANSFUSION_ADMIN_KEY"):
        monkeypatch.setenv(name, "planted-secret")
    body = """
        failed = []
        for act in (lambda: open("/etc/passwd"), socket.socket, os.pipe, lambda: os.listdir("/")):
            try:
                failed.append(act() != 0)
            except OSError:
                failed.append(True)
        yield Frame({"failed": failed, "environment": dict(os.environ)})
    """
    head = told(start(), body).head
    assert head["failed"] == [True] * 4
    assert "planted-secret" not in str(head["environment"])


@pytest.mark.parametrize("head", [b"[1]", b"{", b"\xff", b"[" * 100_000])
def test_a_frame_that_is_no_object_is_broken(head: bytes) -> None:
    data = iter([len(head).to_bytes(4, "big") + (0).to_bytes(8, "big"), head, b""])
    with pytest.raises(BrokenFrame):
        Frame.read(lambda count: next(data), data_max_bytes=10)


def test_a_frame_that_claims_too_much_is_broken_before_memory_is_taken_for_it() -> None:
    for lengths in ((1 << 31).to_bytes(4, "big") + bytes(8), (2).to_bytes(4, "big") + (11).to_bytes(8, "big")):
        data = iter([lengths])
        with pytest.raises(BrokenFrame, match="more than is taken"):
            Frame.read(lambda count, data=data: next(data), data_max_bytes=10)
