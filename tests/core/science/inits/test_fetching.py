"""Addresses are checked before a connection is made, and the connection goes to the checked one."""

import http.server
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.error import URLError
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from transfusion_core.science.inits import fetching
from transfusion_core.science.inits.fetching import AddressRefused, checked_addresses, open_url


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/away"):
            self.send_response(302)
            to = parse_qs(urlsplit(self.path).query).get("to", ["http://169.254.169.254/latest/meta-data"])
            self.send_header("Location", to[0])
        else:
            self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def here_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take this machine, where the test's server is, for the open internet."""
    real = fetching._is_global
    monkeypatch.setattr(fetching, "_is_global", lambda address: address == "127.0.0.1" or real(address))


def test_this_machine_is_not_asked(port: int) -> None:
    with pytest.raises(URLError, match=r"127\.0\.0\.1, which is no address of the open internet"):
        open_url(f"http://127.0.0.1:{port}/", timeout_seconds=5)
    with pytest.raises(URLError, match="no address of the open internet"):
        open_url(f"https://127.0.0.1:{port}/", timeout_seconds=5)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/x", "data:,x", "gopher://x", "/etc/passwd"])
def test_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected an http or https URL"):
        open_url(url, timeout_seconds=5)


@pytest.mark.usefixtures("here_is_open")
def test_a_redirect_is_checked_like_the_first_address(port: int) -> None:
    with open_url(f"http://127.0.0.1:{port}/", timeout_seconds=5) as answer:
        assert answer.read() == b"ok"
    with pytest.raises(URLError, match=r"169\.254\.169\.254, which is no address"):
        open_url(f"http://127.0.0.1:{port}/away", timeout_seconds=5)


@pytest.mark.usefixtures("here_is_open")
@pytest.mark.parametrize("to", ["ftp://127.0.0.1:{}/x", "file:///etc/passwd", "data:,x", "gopher://127.0.0.1:{}/x"])
def test_a_redirect_to_another_scheme_is_refused_and_nobody_is_asked(port: int, to: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as asked:
        asked.setblocking(False)
        target = to.format(asked.getsockname()[1])
        with pytest.raises(
            OSError, match=r"(?i)redirects to .*: expected an http or https URL|redirection to url .* is not allowed"
        ):
            open_url(f"http://127.0.0.1:{port}/away?to={quote(target)}", timeout_seconds=5)
        with pytest.raises(BlockingIOError):
            asked.accept()


@pytest.mark.parametrize("scheme", ["ftp", "file", "data"])
def test_no_handler_for_another_scheme_is_there(scheme: str) -> None:
    assert scheme not in fetching._opener().handle_open


@pytest.mark.usefixtures("here_is_open")
def test_the_connection_goes_to_the_address_that_was_checked(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name means something else when it is asked a second time: it is not asked."""
    asked: list[str] = []

    def answer(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        address = "127.0.0.1" if host in ("weights.example", "127.0.0.1") and asked.count(host) == 1 else "10.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    with open_url(f"http://weights.example:{port}/", timeout_seconds=5) as got:
        assert got.read() == b"ok"
    assert asked == ["weights.example", "127.0.0.1"]


def test_one_closed_address_among_open_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, 1, 6, "", (address, 80)) for address in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1"):
        checked_addresses("rebind.example", 80)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found[:1])
    assert checked_addresses("weights.example", 80) == ["93.184.216.34"]


def test_the_operators_proxy_does_the_asking(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("no_proxy", "")
    with open_url("http://weights.example/", timeout_seconds=5) as got:
        assert got.read() == b"ok"


@pytest.mark.usefixtures("here_is_open")
def test_where_nobody_answers_it_is_told() -> None:
    with pytest.raises(URLError, match="refused"):
        open_url("http://127.0.0.1:9/", timeout_seconds=5)
