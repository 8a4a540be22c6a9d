"""Uploads: files on their way into the quarantine of the store."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy.orm import Session

from transfusion_core.db import audit
from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.ids import new_id
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import Upload as Row
from transfusion_core.errors import Conflict, NotFound
from transfusion_core.specs.dataset import StoredObject

PART_BYTES = 8 << 20
_WHOLE, _ANEW = ":whole:", ":anew:"
"""How marks begin that name no parts: bytes that come whole, by their sha256, and a fresh begin after a refusal."""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file that is being uploaded (`open`) or was (`finished`)."""

    id: str
    filename: str
    size_bytes: int
    key: str
    part_bytes: int
    """Of each part but the last."""
    mark: str | None
    """Who writes the object: what the store calls the parts, or the digest of bytes that come whole. Whoever changes
    the row says which mark he saw, so that none of two can take the other's bytes for his own."""
    state: Literal["open", "finished"]
    object: StoredObject | None
    created_at: datetime

    @property
    def token(self) -> str | None:
        """What the store calls the parts, once some are to come."""
        return None if self.mark is None or self.mark.startswith((_WHOLE, _ANEW)) else self.mark

    @property
    def whole(self) -> str | None:
        """The sha256 of the bytes that come whole, once some do."""
        return self.mark.removeprefix(_WHOLE) if self.mark and self.mark.startswith(_WHOLE) else None

    @property
    def parts(self) -> int:
        """How many parts the file has."""
        return -(-self.size_bytes // self.part_bytes)

    def part_size(self, number: int) -> int:
        """Bytes of a part, counted from 1."""
        return min(self.part_bytes, self.size_bytes - (number - 1) * self.part_bytes)


def create(
    scope: Scope, *, filename: str, size_bytes: int, part_bytes: int = PART_BYTES, key_prefix: str = "uploads"
) -> Upload:
    """Announce a file; its key in the store is built from its id, never from its name."""
    upload_id = new_id()
    with unit_of_work(scope.engine) as session:
        key = f"{key_prefix}/{upload_id}"
        audit.add(session, scope, "upload.create", upload_id)
        words = {"filename": filename, "size_bytes": size_bytes, "part_bytes": part_bytes}
        session.add(Row(project=scope.project, id=upload_id, key=key, **words))
    return get(scope, upload_id)


def begin_parts(scope: Scope, upload_id: str, *, before: str | None, token: str) -> Upload:
    """Name the parts, where the mark was `before`; whoever is later finds what the first has named."""
    with unit_of_work(scope.engine) as session:
        row = _locked(session, scope, upload_id)
        if row.token == before and row.object is None:
            row.token = token
        return _upload(row)


def begin_whole(scope: Scope, upload_id: str, *, sha256: str) -> Upload:
    """Say which bytes are about to be written at once. A Conflict where others are, or come in parts: one key of the
    store does not hold the bytes of two.
    """
    with unit_of_work(scope.engine) as session:
        row = _locked(session, scope, upload_id)
        known = _upload(row)
        if known.token is not None:
            raise Conflict(f"the bytes of upload {upload_id} come in parts: complete it, or announce another")
        if row.object is not None or known.whole not in (None, sha256):
            raise Conflict(f"upload {upload_id} has other bytes already: announce another for these")
        row.token = _WHOLE + sha256
        return _upload(row)


def finish(scope: Scope, upload_id: str, stored: StoredObject, *, before: str | None = None) -> Upload:
    """The bytes are in the store. Finishing twice is the same as once; with other bytes it is a Conflict, and so it is
    where the mark is not `before` any more: then those bytes may be gone.
    """
    with unit_of_work(scope.engine) as session:
        row = _locked(session, scope, upload_id)
        if row.object is not None and row.object["sha256"] != stored.sha256:
            raise Conflict(f"upload {upload_id} is finished, with sha256 {row.object['sha256']}")
        if row.object is None and row.token != before:
            raise Conflict(f"upload {upload_id} was begun anew by another request: send its bytes again")
        row.object, row.state = stored.model_dump(mode="json"), "finished"
        return _upload(row)


def reject(scope: Scope, upload_id: str, *, before: str | None, discard: Callable[[], None]) -> Upload:
    """Throw the bytes away, unless another request has finished them or begun anew since; the upload as it is then.

    `discard` asks the store within the transaction, as nothing else does: what it takes away must not be finished in
    between. Where the transaction fails after it, nothing points at those bytes.
    """
    with unit_of_work(scope.engine) as session:
        row = _locked(session, scope, upload_id)
        if row.object is None and row.token == before:
            discard()
            row.token = _ANEW + new_id()
        return _upload(row)


def get(scope: Scope, upload_id: str) -> Upload:
    """One upload. Raises NotFound."""
    with unit_of_work(scope.engine, write=False) as session:
        row = session.get(Row, upload_id)
        if row is None or row.project != scope.project:
            raise NotFound(f"there is no upload {upload_id!r}")
        return _upload(row)


def _locked(session: Session, scope: Scope, upload_id: str) -> Row:
    row = session.get(Row, upload_id, with_for_update=True)
    if row is None or row.project != scope.project:
        raise NotFound(f"there is no upload {upload_id!r}")
    return row


def _upload(row: Row) -> Upload:
    return Upload(
        id=row.id,
        filename=row.filename,
        size_bytes=row.size_bytes,
        key=row.key,
        part_bytes=row.part_bytes,
        mark=row.token,
        state="finished" if row.state == "finished" else "open",
        object=StoredObject.model_validate(row.object) if row.object else None,
        created_at=row.created_at,
    )
