"""The proxy of the fault tests does what it says: before anything is blamed on what is tested through it."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from fault_proxy import FaultProxy, fault_proxy, through


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    """A proxy before a server that answers each piece with itself in capitals."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        with fault_proxy(f"tcp://127.0.0.1:{server.getsockname()[1]}") as made:
            yield made
        server.shutdown(socket.SHUT_RDWR)


def _serve(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        connection.setblocking(True)
        threading.Thread(target=_shout, args=(connection,), daemon=True).start()


def _shout(connection: socket.socket) -> None:
    with connection:
        try:
            while piece := connection.recv(1000):
                connection.sendall(piece.upper())
        except OSError:
            return


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as made:
        yield made


def _ask(client: socket.socket, what: bytes = b"hello") -> bytes:
    client.sendall(what)
    answer = b""
    while len(answer) < len(what) and (piece := client.recv(1000)):
        answer += piece
    return answer


def test_it_waits_whatever_the_default_of_sockets_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        socket.setdefaulttimeout(0.01)
        try:
            with fault_proxy(f"tcp://127.0.0.1:{server.getsockname()[1]}") as proxy:
                time.sleep(0.1)
                with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
                    time.sleep(0.1)
                    assert _ask(client) == b"HELLO"
        finally:
            socket.setdefaulttimeout(None)
            server.shutdown(socket.SHUT_RDWR)


def test_what_is_well_goes_through_and_what_is_late_comes_late(proxy: FaultProxy, client: socket.socket) -> None:
    assert _ask(client) == b"HELLO"
    proxy.faults.latency_seconds = 0.1
    started = time.monotonic()
    assert _ask(client) == b"HELLO"
    assert time.monotonic() - started >= 0.2


def test_silence_is_neither_an_answer_nor_an_end_and_heals(proxy: FaultProxy, client: socket.socket) -> None:
    proxy.faults.is_silent = True
    client.settimeout(0.1)
    client.sendall(b"hello")
    with pytest.raises(TimeoutError):
        client.recv(10)
    proxy.heal()
    client.settimeout(5)
    assert client.recv(10) == b"HELLO"


def test_a_reset_ends_what_is_open_and_a_refusal_what_comes(proxy: FaultProxy, client: socket.socket) -> None:
    assert _ask(client) == b"HELLO"
    assert proxy.reset() == 1
    with pytest.raises(ConnectionResetError):
        _ask(client)
    proxy.faults.is_refusing = True
    with pytest.raises(ConnectionError):
        _ask_anew(proxy)


def _ask_anew(proxy: FaultProxy) -> None:
    """Raises when it connects, or at the latest when it writes to what is closed."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as another:
        while True:
            another.sendall(b"hello")
            another.recv(10)


def test_an_answer_is_cut_and_slices_make_a_whole(proxy: FaultProxy, client: socket.socket) -> None:
    proxy.faults.slice_bytes = 1
    assert _ask(client) == b"HELLO"
    proxy.faults.cut_bytes = 8
    assert _ask(client) == b"HEL"
    assert client.recv(10) == b""


def test_a_request_arrives_and_its_answer_does_not(proxy: FaultProxy, client: socket.socket) -> None:
    proxy.lose_the_answer_to(b"COMMIT", after=b"INSERT")
    for before in (b"COMMIT", b"INSERT"):
        assert _ask(client, before) == before
    assert not proxy.has_lost_it
    with pytest.raises(ConnectionResetError):
        _ask(client, b"COMMIT")
    assert proxy.has_lost_it


def test_an_address_leads_through_the_proxy(proxy: FaultProxy) -> None:
    expected = f"postgresql+psycopg://me@127.0.0.1:{proxy.port}/base"
    assert through(proxy, "postgresql+psycopg://me@localhost:5432/base") == expected
