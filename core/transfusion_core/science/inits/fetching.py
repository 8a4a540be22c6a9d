"""Opens a URL at addresses of the open internet alone: not this machine, not its network, not a cloud's metadata.

Every address that a host's name stands for must be global, and the connection goes to the very address that was
checked, so that a name cannot mean something else a moment later. What it redirects to is a connection of its own and
is checked like the first. The operator's own proxy, which does the asking where one is set, may be anywhere.
"""

import http.client
import ipaddress
import socket
import urllib.request
from typing import Any
from urllib.parse import urlsplit

_CLOSED = (ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("fec0::/10"))
"""Not of the open internet, whatever the `ipaddress` of a Python takes them for."""
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class AddressRefused(OSError):
    """The host stands for an address that is not of the open internet."""


def open_url(url: str, *, timeout_seconds: float) -> Any:
    """What `urllib.request.urlopen` gives. Raises AddressRefused, or ValueError for what is no http or https URL."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"expected an http or https URL, got {url!r}")
    return _opener().open(url, timeout=timeout_seconds)


def _opener() -> urllib.request.OpenerDirector:
    """Of these handlers alone: `build_opener` would add some for ftp, files and data, which check no address."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirects(),
        _Plain(),
        _Secure(),
    ):
        opener.add_handler(handler)
    return opener


def checked_addresses(host: str, port: int) -> list[str]:
    """The addresses of a host, all of them global. Raises AddressRefused, or OSError where it has none."""
    found = list(dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
    for address in found:
        if not _is_global(address):
            raise AddressRefused(f"{host} stands for {address}, which is no address of the open internet")
    return found


def _is_global(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return all(map(_is_open, (parsed, *_carried(parsed))))


def _is_open(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if address.is_multicast or address.is_reserved or any(address in network for network in _CLOSED):
        return False
    return address.is_global


def _carried(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """The addresses of the old internet that one of the new carries, and that a gateway would go to."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found = [each for each in (address.ipv4_mapped, address.sixtofour, *(address.teredo or ())) if each is not None]
    return [*found, ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)] if address in _NAT64 else found


def _connected(host: str, port: int, timeout: Any) -> socket.socket:
    if host in _proxies():
        return socket.create_connection((host, port), timeout)
    failed: OSError | None = None
    for address in checked_addresses(host, port):
        try:
            return socket.create_connection((address, port), timeout)
        except OSError as error:
            failed = error
    raise failed or AddressRefused(f"{host} has no address")


def _proxies() -> set[str]:
    return {host for url in urllib.request.getproxies().values() if (host := urlsplit(url).hostname)}


class _PlainConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = _connected(self.host, self.port, self.timeout)
        if self._tunnel_host:  # type: ignore[attr-defined]
            self._tunnel()  # type: ignore[attr-defined]


class _SecureConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        self.sock = _connected(self.host, self.port, self.timeout)
        through: str | None = self._tunnel_host  # type: ignore[attr-defined]
        if through:
            self._tunnel()  # type: ignore[attr-defined]
        context = self._context  # type: ignore[attr-defined]
        self.sock = context.wrap_socket(self.sock, server_hostname=through or self.host)


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise AddressRefused(f"{req.host} redirects to {newurl!r}: expected an http or https URL")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Plain(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_PlainConnection, req)


class _Secure(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_SecureConnection, req)
