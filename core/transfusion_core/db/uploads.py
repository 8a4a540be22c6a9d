"""Uploads: files on their way into the quarantine of the store."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from transfusion_core.db import audit
from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.ids import new_id
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import Upload as Row
from transfusion_core.errors import Conflict, NotFound
from transfusion_core.specs.dataset import StoredObject

PART_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file that is being uploaded (`open`) or was (`finished`)."""

    id: str
    filename: str
    size_bytes: int
    key: str
    part_bytes: int
    """Of each part but the last."""
    token: str | None
    """What the store calls the parts, once some are to come."""
    state: Literal["open", "finished"]
    object: StoredObject | None
    created_at: datetime

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


def begin_parts(scope: Scope, upload_id: str, *, before: str | None, token: str | None) -> Upload:
    """Name the parts, where they were named `before`; whoever is later finds what the first has named."""
    with unit_of_work(scope.engine) as session:
        row = session.get(Row, upload_id, with_for_update=True)
        if row is None or row.project != scope.project:
            raise NotFound(f"there is no upload {upload_id!r}")
        if row.token == before:
            row.token = token
        return _upload(row)


def finish(scope: Scope, upload_id: str, stored: StoredObject) -> Upload:
    """The bytes are in the store. Finishing twice is the same as once; with other bytes it is a Conflict."""
    with unit_of_work(scope.engine) as session:
        row = session.get(Row, upload_id, with_for_update=True)
        if row is None or row.project != scope.project:
            raise NotFound(f"there is no upload {upload_id!r}")
        if row.object is not None and row.object["sha256"] != stored.sha256:
            raise Conflict(f"upload {upload_id} is finished, with sha256 {row.object['sha256']}")
        row.object, row.state = stored.model_dump(mode="json"), "finished"
        return _upload(row)


def get(scope: Scope, upload_id: str) -> Upload:
    """One upload. Raises NotFound."""
    with unit_of_work(scope.engine, write=False) as session:
        row = session.get(Row, upload_id)
        if row is None or row.project != scope.project:
            raise NotFound(f"there is no upload {upload_id!r}")
        return _upload(row)


def _upload(row: Row) -> Upload:
    return Upload(
        id=row.id,
        filename=row.filename,
        size_bytes=row.size_bytes,
        key=row.key,
        part_bytes=row.part_bytes,
        token=row.token,
        state="finished" if row.state == "finished" else "open",
        object=StoredObject.model_validate(row.object) if row.object else None,
        created_at=row.created_at,
    )
