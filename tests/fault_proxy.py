"""A TCP proxy that does to a connection what networks do: delay, silence, reset, cut, slice, and a lost answer."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PIECE_BYTES = 1 << 16
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER for no time at all: closing then sends RST."""


@dataclass
class Faults:
    """What is wrong at this moment; it holds for connections that are open as well as for new ones."""

    latency_seconds: float = 0.0
    """Each piece, in either direction, comes so much later."""
    slice_bytes: int = PIECE_BYTES
    """Pieces are this long at most."""
    is_silent: bool = False
    """Connections are taken and stay open, and nothing goes through: a peer that vanished without a word."""
    is_refusing: bool = False
    """Connections are reset as soon as they are made."""
    cut_bytes: int | None = None
    """A connection is closed, as if it were the end, after so many bytes of answers."""


@dataclass
class FaultProxy:
    """Listens on `port` of an address of this machine and passes on to one server."""

    target: tuple[str, int]
    host: str = "127.0.0.1"
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        self._listener = socket.create_server((self.host, 0))
        self._listener.setblocking(True)  # whatever the consumers of other tests have made the process's default
        self.port: int = self._listener.getsockname()[1]
        self._lost_answer: bytes | None = None
        self._prelude = b""
        self._closing = threading.Event()
        self._pairs: set[_Pair] = set()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept, name="proxy", daemon=True)]
        self._threads[0].start()

    def heal(self) -> None:
        """Nothing is wrong any more. Pieces that a silence held back are passed on, as a network would."""
        self.faults = Faults()

    def reset(self) -> int:
        """Reset every connection that is open; how many there were."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            pair.end(with_reset=True)
        return len(pairs)

    def lose_the_answer_to(self, request: bytes, *, after: bytes = b"") -> None:
        """Once: pass a piece with `request` in it on to the server, and reset its connection when it answers.

        It must come over a connection over which `after` has gone, then or before, since this call.
        """
        self._prelude, self._lost_answer = after, request

    @property
    def has_lost_it(self) -> bool:
        """Whether the answer that was to be lost has been."""
        return self._lost_answer is None

    def close(self) -> None:
        """End everything."""
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setblocking(True)
            if self.faults.is_refusing:
                _close(client, with_reset=True)
                continue
            try:
                server = socket.create_connection(self.target, timeout=5)
                server.settimeout(None)
            except OSError:
                _close(client, with_reset=True)
                continue
            self._join(_Pair(self, client, server))

    def _join(self, pair: "_Pair") -> None:
        with self._lock:
            self._pairs.add(pair)
        for pump in (pair.ask, pair.answer):
            thread = threading.Thread(target=pump, name="proxy", daemon=True)
            self._threads.append(thread)
            thread.start()

    def forget(self, pair: "_Pair") -> None:
        """A connection has ended."""
        with self._lock:
            self._pairs.discard(pair)

    def delay(self) -> None:
        """Wait as long as a piece has to, however long the silence is."""
        self._closing.wait(self.faults.latency_seconds)
        while self.faults.is_silent and not self._closing.wait(0.02):
            pass

    def is_to_lose(self, pair: "_Pair", piece: bytes) -> bool:
        """Whether this is the request whose answer is to be lost; True once."""
        if self._lost_answer is None:
            return False
        pair.has_said_prelude = pair.has_said_prelude or self._prelude in piece
        if not pair.has_said_prelude or self._lost_answer not in piece:
            return False
        self._lost_answer = None
        return True


_Passes = Callable[[bytes], bool]
"""Says whether a piece goes on."""


class _Pair:
    """One connection: the client's end and the server's."""

    def __init__(self, proxy: FaultProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._loses_answer, self._answered_bytes = False, 0
        self.has_said_prelude = False
        self._ended = threading.Lock()
        self._reads = {client: threading.Lock(), server: threading.Lock()}

    def ask(self) -> None:
        """Pass on what the client says."""
        self._pump(self._client, self._server, self._is_passed_on)

    def answer(self) -> None:
        """Pass on what the server says."""
        self._pump(self._server, self._client, self._is_answered)

    def end(self, *, with_reset: bool) -> None:
        """Close both ends; fine where that is done. What the peers hear of it is on its way at the return."""
        if self._ended.acquire(blocking=False):
            for end, read in self._reads.items():
                _close(end, with_reset=with_reset)
                with read:  # the kernel closes when the last call on it has returned
                    pass
            self._proxy.forget(self)

    def _pump(self, source: socket.socket, sink: socket.socket, passes: _Passes) -> None:
        with suppress(OSError):
            while piece := self._read(source):
                self._proxy.delay()
                if not passes(piece):
                    return
                sink.sendall(piece)
        self.end(with_reset=False)

    def _read(self, source: socket.socket) -> bytes:
        with self._reads[source]:
            return source.recv(min(PIECE_BYTES, self._proxy.faults.slice_bytes))

    def _is_passed_on(self, piece: bytes) -> bool:
        self._loses_answer = self._loses_answer or self._proxy.is_to_lose(self, piece)
        return True

    def _is_answered(self, piece: bytes) -> bool:
        if self._loses_answer:
            self.end(with_reset=True)
            return False
        self._answered_bytes += len(piece)
        cut = self._proxy.faults.cut_bytes
        if cut is not None and self._answered_bytes > cut:
            with suppress(OSError):
                self._client.sendall(piece[: cut - self._answered_bytes])
            self.end(with_reset=False)
            return False
        return True


def _close(end: socket.socket, *, with_reset: bool) -> None:
    with suppress(OSError):
        if with_reset:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        # Wakes a thread that reads here; till then the kernel would keep the connection in spite of the close.
        end.shutdown(socket.SHUT_RD if with_reset else socket.SHUT_RDWR)
    with suppress(OSError):
        end.close()


@contextmanager
def fault_proxy(url: str, *, host: str = "127.0.0.1") -> Iterator[FaultProxy]:
    """A proxy before the server of this URL; `through` gives the URL that leads through it."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = FaultProxy((parts.hostname, parts.port), host)
    try:
        yield proxy
    finally:
        proxy.close()


def through(proxy: FaultProxy, url: str) -> str:
    """The URL, with the proxy in the place of the server."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}{at}{proxy.host}:{proxy.port}").geturl()
