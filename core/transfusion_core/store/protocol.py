"""What a store of objects promises, in prose and as a Protocol. `folder.py` and `s3.py` keep it."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from transfusion_core.errors import InvalidRequest, ObjectCorrupt
from transfusion_core.specs.dataset import StoredObject

KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
MAX_KEY_LENGTH = 512
_DAMAGED = re.compile(r"object '([^']+)': expected sha256 [0-9a-f]{64}, got ")
CHUNK_BYTES = 1 << 20
Data = bytes | bytearray | memoryview
"""Of a whole object; a store has none of it any more when it is done."""


class Listed(NamedTuple):
    """An object as a list tells it."""

    key: str
    size_bytes: int
    modified_at: datetime
    """Aware UTC, by the store's own clock."""


class Unfinished(NamedTuple):
    """Something whose writer has not finished it, and perhaps never will: it is no object."""

    key: str
    token: str
    """What the store calls it."""
    begun_at: datetime
    """Aware UTC, by the store's own clock."""


class Part(NamedTuple):
    """A part of an object that comes in parts, as the store has it."""

    number: int
    """Counted from 1."""
    size_bytes: int
    tag: str
    """What the store calls these bytes."""


class Store(Protocol):
    """Large things by key: packs, checkpoints, similarity reports, reports, uploads.

    A key is one or more names joined by `/`; a name has letters, digits, `.`, `_` and `-`, and no leading dot.
    Every method that takes a key raises InvalidRequest for another one.

    An object appears whole or not at all, and never changes: putting the same bytes at a key again is fine, putting
    other bytes there raises StoreError. Two writers who put different bytes at one new key at the same moment are not
    told apart; keys hold an attempt or a digest so that this does not happen. Who puts is told only once the store has
    the object with the very bytes: size and digest were compared. What a writer that died leaves behind is
    `unfinished`, not an object, and stays until it is abandoned.

    A StoredObject is a promise about bytes: whoever reads by it gets those bytes, or ObjectMissing, or ObjectCorrupt
    where they have another digest. Reading by key alone checks nothing.

    A store that does not answer is asked again, with pauses, for as long as the settings say; then Unavailable tells
    what failed and how often. So is one that is too slow. A refusal (credentials, rights) is a StoreError at once.
    Every method may be called from any thread, and again after it failed.
    """

    def put_file(self, key: str, path: Path) -> StoredObject:
        """Store a file's bytes, and check that they arrived."""

    def put_bytes(self, key: str, data: Data) -> StoredObject:
        """Store bytes, and check that they arrived."""

    def get_file(self, stored: StoredObject, path: Path) -> None:
        """Write an object's bytes to `path`, which appears whole, with the right digest, or not at all."""

    def get_bytes(self, stored: StoredObject | str) -> bytes:
        """An object's bytes; checked against their digest unless only the key is known."""

    def open_stream(self, stored: StoredObject | str) -> Iterator[bytes]:
        """An object's bytes in pieces. ObjectMissing comes from this call, not from the first piece.

        Of a StoredObject the last piece comes only after all were found to have the digest: where they do not,
        ObjectCorrupt comes in its place, so that nobody can have taken the whole for right. By key alone nothing is
        checked.
        """

    def size(self, key: str) -> int | None:
        """Bytes at this key, or None where there is no object."""

    def exists(self, key: str) -> bool:
        """Whether there is an object at this key."""

    def delete(self, key: str) -> None:
        """Remove an object; fine where there is none."""

    def list(self, prefix: str) -> Iterator[Listed]:
        """Objects whose keys start with `prefix`, in order of their keys."""

    def unfinished(self) -> Iterator[Unfinished]:
        """What is being written, or was when its writer died."""

    def abandon(self, unfinished: Unfinished) -> None:
        """Free what an unfinished one takes; its writer, if it lives, fails. Fine where it is no more."""

    def begin_parts(self, key: str) -> str:
        """Begin an object that comes in parts; the token that stands for it. It is `unfinished` until it is joined."""

    def put_part(self, key: str, token: str, number: int, path: Path) -> None:
        """Store a file's bytes as a part, in the place of an earlier one of its number."""

    def parts(self, key: str, token: str) -> Sequence[Part]:
        """The parts that are there, in order. ObjectMissing, or none, where they were joined or abandoned."""

    def join_parts(self, key: str, token: str, parts: Sequence[Part]) -> None:
        """Make the object of these parts, each but the last of 5 MiB at least; fine where that was done."""

    def abandon_parts(self, key: str, token: str) -> None:
        """Free the parts that there are; fine where there are none."""

    def presign_get(self, key: str, *, seconds: int, filename: str) -> str | None:
        """A link to download one object as an attachment; None where the store has no links."""

    def presign_put(self, key: str, *, seconds: int, size_bytes: int) -> str | None:
        """A link to upload one object of exactly this size; None where the store has no links."""

    def presign_part(
        self, key: str, token: str, number: int, *, seconds: int, size_bytes: int, md5: str | None
    ) -> str | None:
        """A link to upload one part of exactly this size, and with this MD5 (base64); None where there are no links."""


def check_key(key: str) -> str:
    """The key, if it is one."""
    if len(key) > MAX_KEY_LENGTH or not KEY.fullmatch(key):
        raise InvalidRequest(
            f"expected a key of names joined by '/' (letters, digits, '.', '_', '-', no leading dot,"
            f" {MAX_KEY_LENGTH} characters at most), got {key[:80]!r}"
        )
    return key


def damaged_in(told: str) -> str | None:
    """The key of the object of which these words say that it is damaged, as `check_digest` says it."""
    found = _DAMAGED.search(told)
    return found and found[1]


def check_digest(stored: StoredObject, sha256: str) -> None:
    """ObjectCorrupt unless the bytes that were read have the digest that was promised."""
    if sha256 != stored.sha256:
        raise ObjectCorrupt(f"object '{stored.key}': expected sha256 {stored.sha256}, got {sha256}")


def checked(stored: StoredObject | str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces; of a StoredObject the last of them only once all have the digest that was promised."""
    if isinstance(stored, str):
        yield from pieces
        return
    sha256, held = hashlib.sha256(), b""
    for piece in pieces:
        sha256.update(piece)
        if held:
            yield held
        held = piece
    check_digest(stored, sha256.hexdigest())
    if held:
        yield held


def key_of(stored: StoredObject | str) -> str:
    """The key of something to read."""
    return check_key(stored if isinstance(stored, str) else stored.key)
