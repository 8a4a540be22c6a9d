"""Files on their way to the service: by name on the same machine, else uploaded, folders as one archive."""

import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from transfusion_client.connection import Connection
from transfusion_client.sending import Sent, send
from transfusion_core.errors import InvalidRequest

COPIED_BYTES = 1 << 20


def location_of(connection: Connection, path: Path, *, sent: Sent | None = None) -> str:
    """Where the service finds the file or folder: `file:///...` if it is on the same machine, else `upload:ID`."""
    path = path.expanduser().absolute()
    if not path.exists():
        raise InvalidRequest(f"there is no file or folder {path}")
    if is_embedded(connection):
        return "file://" + quote(str(path))
    filename = path.name if path.is_file() else f"{path.name}.zip"
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", filename).lstrip(".")[-128:] or "upload"
    with _one_file(path) as file:
        return f"upload:{send(connection, file, filename=safe, sent=sent)}"


def is_embedded(connection: Connection) -> bool:
    """Whether the service is `transfusion up`, which serves its own machine only and reads files of it by name."""
    return bool(connection.get("/healthz").get("mode") == "embedded")


@contextmanager
def _one_file(path: Path) -> Iterator[Path]:
    """The file itself, or a temporary archive of the folder."""
    if path.is_file():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="transfusion-") as folder:
        archive = Path(folder, "folder.zip")
        write_zip(path, archive)
        yield archive


def write_zip(folder: Path, archive: Path) -> None:
    """Everything under a folder, stored as it is: images do not compress. Links to files are followed.

    The same names and contents make the same bytes, whenever files were written: an archive that was cut off on its way
    can be gone on with, and images that were copied anew are the same dataset. What is hidden, which no service reads,
    is left out. Raises InvalidRequest for what else would be: links to folders or to nothing, and what is no file.
    """
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for here, folders, names in os.walk(folder):
            folders[:] = sorted(_shown(folders))
            for link in (Path(here, name) for name in folders):
                if link.is_symlink():
                    raise InvalidRequest(f"{link} is a link to a folder, which is not followed: add that folder")
            for file in (Path(here, name) for name in sorted(_shown(names))):
                if not file.is_file():
                    raise InvalidRequest(f"{file} is no file, and no link to one")
                member = zipfile.ZipInfo(file.relative_to(folder).as_posix())  # of 1980
                member.file_size = file.stat().st_size
                with file.open("rb") as source, packed.open(member, "w") as target:
                    shutil.copyfileobj(source, target, COPIED_BYTES)
        if not packed.namelist():
            raise InvalidRequest(f"there are no files in {folder}")


def _shown(names: list[str]) -> Iterator[str]:
    return (name for name in names if not name.startswith("."))
