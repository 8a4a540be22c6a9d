"""One service, spoken to over HTTP: keys, deadlines, retries, problems raised as errors. Knows no nouns."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
from pydantic import BaseModel, TypeAdapter, ValidationError

from transfusion_client.problems import error_of
from transfusion_client.retries import RETRIED_STATUSES, Backoff, Clock, retry_after_seconds
from transfusion_core.errors import InvalidRequest, TransfusionError, Unavailable

Model = TypeVar("Model", bound=BaseModel)
JSON = Any
REPEATABLE_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE"})
SILENCE_SECONDS = 60.0
"""An event stream that is silent for longer is taken for dead; the service sends keep-alives more often."""
DOWNLOAD_SECONDS = 3600.0
"""One try at one file."""
UPLOAD_ANSWER_SECONDS = 600.0
"""A store may take long to answer after the last byte of a large file."""


class Connection:
    """Requests to one service, in staircase order: json > request > one try.

    A request is sent again only if sending it twice is the same as once: by its method, by an Idempotency-Key, or
    because the caller says so (`repeatable`). All tries of a request together take `timeout_seconds` at most.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        timeout_seconds: float,
        transport: httpx2.BaseTransport | None = None,
        clock: Clock | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.url = _checked(url)
        self.clock = clock or Clock()
        self._timeout_seconds = timeout_seconds
        self._backoff = backoff or Backoff()
        self._authorization = {"Authorization": f"Bearer {key}"} if key else {}
        # A proxy of the environment has no business between a client and a service on the same machine.
        trust_env = urlsplit(self.url).hostname not in ("127.0.0.1", "localhost", "::1")
        self._http = httpx2.Client(base_url=self.url, transport=transport, trust_env=trust_env)

    def close(self) -> None:
        """Close the connections; the service is not told."""
        self._http.close()

    def get(self, path: str, **params: object) -> JSON:
        """The JSON behind a path; parameters that are None are left out."""
        return self._json(self.request("GET", path, params=params))

    def post(
        self,
        path: str,
        body: JSON = None,
        *,
        key: str | None = None,
        repeatable: bool = False,
        answer_seconds: float | None = None,
    ) -> JSON:
        """The answer to a JSON body, which may take so long; `key` is sent as Idempotency-Key."""
        headers = {"Idempotency-Key": key} if key else {}
        answer = self.request(
            "POST", path, body=body, headers=headers, repeatable=repeatable, answer_seconds=answer_seconds
        )
        return self._json(answer)

    def delete(self, path: str) -> JSON:
        """Remove what a path names; what the service says of it, None where it says nothing."""
        answer = self.request("DELETE", path)
        return self._json(answer) if answer.content else None

    def text(self, path: str) -> str:
        """The text behind a path: HTML, CSV, LaTeX."""
        return self.request("GET", path).text

    def content(self, path: str) -> bytes:
        """The bytes behind a path: pictures, Parquet."""
        return self.request("GET", path).content

    def pages(self, path: str, **filters: object) -> Iterator[JSON]:
        """Every item of a list, page after page, as far as the caller iterates."""
        cursor = None
        while True:
            page = self.get(path, **filters, cursor=cursor)
            yield from page["items"]
            cursor = page.get("next")
            if cursor is None:
                return

    def read(self, model: type[Model], answer: JSON) -> Model:
        """An answer as a record; fields of a newer service are ignored."""
        try:
            return TypeAdapter(model).validate_python(answer)
        except ValidationError as error:
            raise TransfusionError(
                f"{self.url} answered something that is no {model.__name__}: is it a newer Transfusion? ({error})"
            ) from error

    def put_file(self, url: str, path: Path, *, headers: Mapping[str, str]) -> None:
        """Send a file's bytes to an address of this service or to a signed link elsewhere, which gets no API key."""
        self.request("PUT", url, file=path, headers=headers)

    def put_bytes(self, url: str, data: bytes, *, headers: Mapping[str, str]) -> None:
        """Send bytes to such an address."""
        self.request("PUT", url, data=data, headers=headers, answer_seconds=UPLOAD_ANSWER_SECONDS)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        body: JSON = None,
        data: bytes | None = None,
        file: Path | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
        answer_seconds: float | None = None,
    ) -> httpx2.Response:
        """The answer, once it is a good one; else the error that the last try met.

        `body` is sent as JSON, `data` and `file` as they are.
        """
        headers = {**(headers or {})}
        content = data if body is None else _encoded(body)
        if body is not None:
            headers["Content-Type"] = "application/json"
        repeatable = repeatable or method in REPEATABLE_METHODS or "Idempotency-Key" in headers
        tries = self._backoff.tries if repeatable else 1
        deadline = self.clock.monotonic() + self._timeout_seconds
        for tried in range(1, tries + 1):
            given = {key: str(value) for key, value in (params or {}).items() if value is not None}
            outcome = self._try(
                method,
                path,
                params=given,
                content=content,
                file=file,
                headers=headers,
                answer_seconds=answer_seconds or self._timeout_seconds,
            )
            if isinstance(outcome, httpx2.Response) and outcome.is_success:
                return outcome
            pause_seconds = self._pause_seconds(outcome, tried)
            if tried == tries or pause_seconds is None or self.clock.monotonic() + pause_seconds > deadline:
                break
            self.clock.sleep(pause_seconds)
        raise self._error(outcome)

    def download(self, url: str, path: Path, *, sha256: str | None = None) -> None:
        """Stream bytes into a file, whole, with that digest if any, or not at all; TransfusionError where not."""
        part = path.with_name(f".{path.name}.part")
        try:
            for tried in range(1, self._backoff.tries + 1):
                try:
                    found = self._pieces_into(part, url)
                    break
                except httpx2.RequestError as error:
                    if tried == self._backoff.tries or not is_passing(error):
                        raise self._error(error) from error
                    self.clock.sleep(self._backoff.pause_seconds(tried, self.clock))
            if sha256 and found != sha256:
                raise TransfusionError(f"{path.name}: expected bytes of sha256 {sha256}, got {found}; try again")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _pieces_into(self, part: Path, url: str) -> str:
        """The sha256 of what came. A signed link elsewhere gets no API key."""
        digest, deadline = hashlib.sha256(), self.clock.monotonic() + DOWNLOAD_SECONDS
        headers = self._authorization if self._is_own(url) else {}
        with (
            part.open("wb") as file,
            self._http.stream("GET", url, headers=headers, timeout=self._timeout_seconds) as answer,
        ):
            if not answer.is_success:
                answer.read()
                raise error_of(answer)
            for piece in answer.iter_bytes():
                file.write(piece)
                digest.update(piece)
                if self.clock.monotonic() > deadline:
                    raise Unavailable(f"{url.partition('?')[0]} took longer than {DOWNLOAD_SECONDS:.0f} seconds")
        return digest.hexdigest()

    @contextmanager
    def stream(
        self, path: str, headers: Mapping[str, str], *, silence_seconds: float | None = None
    ) -> Iterator[httpx2.EventSource]:
        """An event stream. The errors of httpx2 come out as they are: who follows a stream knows where to resume."""
        timeout = httpx2.Timeout(self._timeout_seconds, read=silence_seconds or SILENCE_SECONDS)
        with self._http.sse(path, headers={**self._authorization, **headers}, timeout=timeout) as source:
            if not source.response.is_success:
                source.response.read()
                raise error_of(source.response)
            yield source

    def _try(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str],
        content: bytes | None,
        file: Path | None,
        headers: Mapping[str, str],
        answer_seconds: float,
    ) -> httpx2.Response | httpx2.RequestError:
        own = self._authorization if self._is_own(path) else {}
        everything = {"Accept": "application/json", **own, **headers}
        try:
            if file is None:
                return self._http.request(
                    method,
                    path,
                    params=params or None,  # an empty one would take the query of a signed link away
                    content=content,
                    headers=everything,
                    timeout=httpx2.Timeout(self._timeout_seconds, read=answer_seconds),
                )
            timeout = httpx2.Timeout(self._timeout_seconds, read=UPLOAD_ANSWER_SECONDS)
            with file.open("rb") as stream:
                return self._http.request(method, path, content=stream, headers=everything, timeout=timeout)
        except httpx2.RequestError as error:
            return error

    def _is_own(self, path: str) -> bool:
        theirs = urlsplit(path)
        ours = urlsplit(self.url)
        return not theirs.netloc or (theirs.scheme, theirs.netloc) == (ours.scheme, ours.netloc)

    def _pause_seconds(self, outcome: httpx2.Response | httpx2.RequestError, tried: int) -> float | None:
        """How long to wait before the next try; None where another try would change nothing."""
        if isinstance(outcome, httpx2.RequestError):
            return self._backoff.pause_seconds(tried, self.clock) if is_passing(outcome) else None
        if outcome.status_code not in RETRIED_STATUSES:
            return None
        # Not before what was asked for, and a little later each by its own chance: all others were told the same.
        return (retry_after_seconds(outcome, self.clock) or 0.0) + self._backoff.pause_seconds(tried, self.clock)

    def _error(self, outcome: httpx2.Response | httpx2.RequestError) -> TransfusionError:
        if isinstance(outcome, httpx2.Response):
            return error_of(outcome)
        error = Unavailable(f"no answer from {self.url}: {outcome or type(outcome).__name__}")
        error.__cause__ = outcome
        return error

    def _json(self, response: httpx2.Response) -> JSON:
        if not response.content:
            return None
        try:
            return response.json()
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            kind = response.headers.get("content-type", "an unnamed type")
            raise TransfusionError(
                f"expected JSON from {response.request.url}, got {kind}: is this a Transfusion service?"
            ) from error


def is_passing(error: httpx2.RequestError) -> bool:
    """Whether the same request may succeed a moment later: cuts and timeouts, not unusable addresses."""
    return isinstance(error, httpx2.TransportError) and not isinstance(error, httpx2.UnsupportedProtocol)


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InvalidRequest(f"expected the service's address as http://HOST:PORT or https://HOST, got {url!r}")
    return url.rstrip("/")


def _encoded(body: JSON) -> bytes:
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"this cannot be sent as JSON: {error}") from error
