"""An HTTP proxy before an S3 server that does what networks and servers do: fails, delays, cuts, loses, damages."""

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_OF_A_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "expect"})
SLICES_PER_SECOND = 10


@dataclass
class Faults:
    """What goes wrong from now on; to be changed while the proxy runs. Numbers count down as they are used."""

    errors: float = 0.0
    """Share of requests that are answered 500."""
    truncated: float = 0.0
    """Share of answers whose bodies break off at half."""
    delay_seconds: float = 0.0
    away: bool = False
    """Connections are closed without a word."""
    bytes_per_second: int | None = None
    cut_uploads: int = 0
    """Bodies that are cut at half on their way to the server."""
    lost_answers: int = 0
    """Uploads that are done, and whose answers nobody gets."""
    flipped_uploads: int = 0
    flipped_downloads: int = 0
    refused: str = ""
    """With this code, 403."""
    foreign_etags: bool = False
    """ETags are not the MD5, as where a server encrypts."""
    on_request: Callable[[str], None] = lambda request: None
    """Told of each request before anything is done to it: it may change what goes wrong."""
    seed: int = 0
    requests: list[str] = field(default_factory=list)
    """Method and path, with `Range` where there is one."""
    done: Counter[str] = field(default_factory=Counter)
    """How often which fault was made."""

    def __post_init__(self) -> None:
        self._random, self._lock = random.Random(self.seed), threading.Lock()

    def happens(self, fault: str) -> bool:
        """Whether this fault befalls this request."""
        with self._lock:
            now = getattr(self, fault)
            hit = self._random.random() < now if isinstance(now, float) else bool(now)
            if hit and isinstance(now, int) and not isinstance(now, bool):
                setattr(self, fault, now - 1)
            self.done[fault] += hit
            return hit

    def heal(self) -> None:
        """Nothing goes wrong any more."""
        fresh = Faults()
        for name in ("errors", "truncated", "delay_seconds", "away", "bytes_per_second", "refused", "foreign_etags"):
            setattr(self, name, getattr(fresh, name))


@contextmanager
def s3_proxy(endpoint: str, faults: Faults) -> Iterator[str]:
    """The endpoint of a proxy before this one."""

    class Handler(_Proxy):
        upstream, is_told = endpoint, faults

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: str
    is_told: Faults

    def do_GET(self) -> None:
        try:
            self._pass_on()
        except (OSError, http.client.HTTPException):  # the client or the server went away: so does the proxy
            self._hang_up()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 - the names that http.server looks for

    def log_message(self, *of: object) -> None:
        """Nothing: the test has `requests`."""

    def _pass_on(self) -> None:
        faults = self.is_told
        request = " ".join(filter(None, [self.command, self.path, self.headers.get("Range")]))
        faults.requests.append(request)
        faults.on_request(request)
        if faults.away:
            return self._hang_up()
        time.sleep(faults.delay_seconds)
        body = self._body()
        if faults.refused:
            return self._fail(403, faults.refused)
        if faults.happens("errors"):
            return self._fail(500, "InternalError")
        is_upload = self.command == "PUT" and len(body) > 1
        if is_upload and faults.happens("cut_uploads"):
            with suppress(OSError, http.client.HTTPException):
                self._ask(body[: len(body) // 2])
            return self._hang_up()
        if is_upload and faults.happens("flipped_uploads"):
            body = _flipped(body)
        answer, content = self._ask(body)
        if self.command in ("PUT", "POST") and faults.happens("lost_answers"):
            return self._hang_up()
        if self.command == "GET" and content and faults.happens("flipped_downloads"):
            content = _flipped(content)
        self._answer(answer, content)

    def _body(self) -> bytes:
        left, pieces = int(self.headers.get("Content-Length", 0)), []
        rate = self.is_told.bytes_per_second
        while left:
            piece = self.rfile.read(min(left, rate // SLICES_PER_SECOND if rate else left))
            if not piece:
                raise ConnectionError("the client went away")
            left -= len(piece)
            pieces.append(piece)
            time.sleep(1 / SLICES_PER_SECOND if rate else 0)
        return b"".join(pieces)

    def _ask(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """The server's answer to a body, which is cut where it is shorter than announced."""
        connection = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _OF_A_CONNECTION:
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            if len(body) < int(self.headers.get("Content-Length", 0)):
                raise ConnectionError("cut")
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def _answer(self, answer: http.client.HTTPResponse, content: bytes) -> None:
        faults = self.is_told
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _OF_A_CONNECTION | {"content-length", "date", "server"}:
                foreign = name.lower() == "etag" and faults.foreign_etags
                self.send_header(name, '"not-the-md5"' if foreign else value)
        announced = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", announced or "0")
        self.end_headers()
        if content and faults.happens("truncated"):
            self.wfile.write(content[: len(content) // 2])
            return self._hang_up()
        self._write(content)

    def _write(self, content: bytes) -> None:
        rate = self.is_told.bytes_per_second
        if not rate:
            self.wfile.write(content)
            return
        size = rate // SLICES_PER_SECOND
        for start in range(0, len(content), size):
            self.wfile.write(content[start : start + size])
            self.wfile.flush()
            time.sleep(1 / SLICES_PER_SECOND)

    def _fail(self, status: int, code: str) -> None:
        told = f"<Error><Code>{code}</Code><Message>by the proxy</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(told)

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(2)


def _flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
