"""Each wall is run into from behind it, by a process of its own."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import transfusion_core

ROOT = Path(transfusion_core.__file__).parents[1]
linux = pytest.mark.skipif(sys.platform != "linux", reason="namespaces and memory limits are Linux's")


def inside(body: str, *, before: str = "", expect: int = 0) -> dict[str, object]:
    """What `body` puts into `told`, in a process that has shut itself in."""
    script = f"""
import json, os, resource, socket, sys, threading
from transfusion_core.science import isolation
told = {{}}
def attempt(name, act):
    try:
        act()
    except BaseException as error:
        told[name] = type(error).__name__
    else:
        told[name] = "went"
{before}
told["cut_off"] = isolation.shut_in(isolation.Limits(memory_bytes=200_000_000, cpu_seconds=1, file_bytes=1000))
{body}
print(json.dumps(told))
"""
    command = [sys.executable, "-P", "-c", script]
    environment = {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert ended.returncode == expect, ended.stderr
    return json.loads(ended.stdout) if ended.stdout else {}


@pytest.mark.parametrize("before", ["", "isolation.leave_network = lambda: False"])
def test_nothing_can_be_opened_with_a_namespace_or_without(before: str) -> None:
    told = inside(
        'attempt("socket", socket.socket); attempt("file", lambda: open("/etc/passwd")); attempt("pipe", os.pipe)\n'
        'os.close(0); attempt("again", socket.socket)',
        before=before,
    )
    assert {told[name] for name in ("socket", "file", "pipe", "again")} == {"OSError"}


@linux
def test_limits_cannot_be_raised_again_by_a_process_in_its_own_namespace() -> None:
    told = inside('attempt("raise", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9)))')
    assert told["raise"] == "ValueError" or (os.geteuid() == 0 and not told["cut_off"])


@linux
def test_a_process_that_left_the_network_does_not_even_reach_this_machine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect = f"lambda: socket.create_connection({server.getsockname()!r}, timeout=5)"
        told = inside(
            "", before=f'left = isolation.leave_network()\nattempt("connect", {connect})\ntold["left"] = left'
        )
    if not told["left"]:
        pytest.skip("this machine gives ordinary processes no user namespaces")
    assert told["connect"] == "OSError"


@linux
def test_memory_is_limited_beyond_what_was_there() -> None:
    told = inside('attempt("some", lambda: bytes(50_000_000)); attempt("much", lambda: bytes(500_000_000))')
    assert (told["some"], told["much"]) == ("went", "MemoryError")


def test_written_files_are_limited(tmp_path: Path) -> None:
    before = f"file = open({str(tmp_path / 'out')!r}, 'wb', buffering=0)"
    told = inside('file.write(bytes(1000)); attempt("more", lambda: file.write(bytes(1000)))', before=before)
    assert told["more"] == "OSError"
    assert (tmp_path / "out").stat().st_size == 1000


def test_a_limit_that_is_lower_already_stays() -> None:
    told = inside(
        'told["files"] = resource.getrlimit(resource.RLIMIT_FSIZE)',
        before="resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))",
    )
    assert told["files"] == [500, 500]


def test_processor_time_is_limited() -> None:
    assert inside("while True: pass", expect=-24) == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root is not held by RLIMIT_NPROC")
def test_no_process_or_thread_is_started() -> None:
    told = inside('attempt("fork", os.fork); attempt("thread", threading.Thread(target=print).start)')
    assert (told["fork"], told["thread"]) == ("BlockingIOError", "RuntimeError")
