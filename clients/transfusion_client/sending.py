"""A file's bytes on their way: whole where they are few, else in parts, several at once, from where they were cut off.

What was begun is remembered in the user's cache folder, by service and by the file's sha256: whoever sends the same
bytes again, be it after a kill, goes on, or finds them there already.
"""

import base64
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from transfusion_client.connection import Connection
from transfusion_core.errors import Conflict, NotFound, TransfusionError
from transfusion_core.specs.base import Record

Sent = Callable[[int, int], None]
"""Called with how many bytes have arrived, and of how many; only for files that go in parts."""
PARALLEL = 4
JOIN_SECONDS = 3600.0
"""The service reads a whole file before it answers that it has it."""


class Upload(Record):
    """Where the service wants the bytes."""

    id: str
    url: str
    headers: dict[str, str] = {}
    state: str
    part_bytes: int
    received: list[int] = []


class Link(Record):
    """Where the service wants a part."""

    url: str
    headers: dict[str, str] = {}


def send(connection: Connection, file: Path, *, filename: str, sent: Sent | None = None) -> str:
    """Send a file, or what is missing of it; the upload's id."""
    size_bytes, sha256 = file.stat().st_size, _sha256(file)
    memory = _memory(connection.url, sha256)
    upload = _begun(connection, memory) or _announced(connection, filename, size_bytes, memory)
    if upload.state == "open":
        if size_bytes > upload.part_bytes:
            _Parts(connection, upload, file, size_bytes, sent or _unwatched).send()
        else:
            # The upload is ours alone: a conflict says that an earlier try arrived, and that only its answer was lost.
            with suppress(Conflict):
                connection.put_file(upload.url, file, headers=upload.headers)
        path, body = f"/v1/uploads/{upload.id}/complete", {"sha256": sha256}
        connection.post(path, body, repeatable=True, answer_seconds=JOIN_SECONDS)
    return upload.id


class _Parts:
    """The parts of one file."""

    def __init__(self, connection: Connection, upload: Upload, file: Path, size_bytes: int, sent: Sent) -> None:
        self._connection, self._upload, self._file = connection, upload, file
        self._size_bytes, self._sent = size_bytes, sent
        self._lock = threading.Lock()
        self._arrived_bytes = 0

    def send(self) -> None:
        """Send those that have not arrived."""
        count = -(-self._size_bytes // self._upload.part_bytes)
        there = set(self._upload.received)
        self._count(sum(self._length(number) for number in there))
        with ThreadPoolExecutor(PARALLEL) as pool:
            waiting = [pool.submit(self._send, number) for number in range(1, count + 1) if number not in there]
            try:
                for done in as_completed(waiting):
                    self._count(done.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _send(self, number: int) -> int:
        with self._file.open("rb") as file:
            file.seek((number - 1) * self._upload.part_bytes)
            data = file.read(self._length(number))
        try:
            self._put(number, data)
        except TransfusionError:  # the link may have run out on the way: once more, by a new one
            self._put(number, data)
        return len(data)

    def _put(self, number: int, data: bytes) -> None:
        md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        body = {"parts": [{"number": number, "md5": md5}]}
        answer = self._connection.post(f"/v1/uploads/{self._upload.id}/parts", body, repeatable=True)
        link = self._connection.read(Link, answer["items"][0])
        self._connection.put_bytes(link.url, data, headers=link.headers)

    def _length(self, number: int) -> int:
        return min(self._upload.part_bytes, self._size_bytes - (number - 1) * self._upload.part_bytes)

    def _count(self, size_bytes: int) -> None:
        with self._lock:
            self._arrived_bytes += size_bytes
            self._sent(self._arrived_bytes, self._size_bytes)


def _announced(connection: Connection, filename: str, size_bytes: int, memory: Path | None) -> Upload:
    body = {"filename": filename, "size_bytes": size_bytes}
    upload = connection.read(Upload, connection.post("/v1/uploads", body, repeatable=True))
    if memory:
        with suppress(OSError):  # then it cannot be gone on with, that is all
            memory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            memory.write_text(json.dumps({"upload": upload.id}))
    return upload


def _begun(connection: Connection, memory: Path | None) -> Upload | None:
    """What was begun with these bytes, if the service still knows of it."""
    try:
        known: Any = json.loads(memory.read_text()) if memory else {}
        return connection.read(Upload, connection.get(f"/v1/uploads/{known['upload']}"))
    except (OSError, ValueError, LookupError, TypeError, NotFound):
        return None


def _memory(url: str, sha256: str) -> Path | None:
    """Where is remembered which upload these bytes have at that service; None where there is no home."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return cache / "transfusion" / "uploads" / f"{hashlib.sha256(f'{url} {sha256}'.encode()).hexdigest()}.json"


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _unwatched(arrived: int, total: int) -> None:
    """Progress that nobody asked for."""


@contextmanager
def shown(stream: Any) -> Iterator[Sent]:
    """Shows what has arrived: a bar where rich and a terminal are there, else a line for every tenth."""
    from transfusion_client.progress import has_bar

    if not has_bar(stream):
        yield _lines(stream)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("sent"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=stream)) as progress:
        task = progress.add_task("", total=None, visible=False)
        yield lambda arrived, total: progress.update(task, completed=arrived, total=total, visible=True)


def _lines(stream: Any) -> Sent:
    told = [-1]

    def show(arrived: int, total: int) -> None:
        tenth = arrived * 10 // total
        if tenth != told[0]:
            told[0] = tenth
            print(f"{arrived / total:4.0%} of {total / 1e6:.1f} MB sent", file=stream, flush=True)

    return show
