"""`transfusion backup` and `transfusion restore`: database and store into a folder, and back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Engine

from transfusion_api.data_folder import DATABASE, embedded_settings, sole_owner
from transfusion_core.backup import MANIFEST, Backup, Manifest
from transfusion_core.db.engine import connect
from transfusion_core.errors import NotFound, ObjectMissing
from transfusion_core.settings import Settings
from transfusion_core.store import Store, open_store

Data = Annotated[Path | None, typer.Option(help="Folder of a 'transfusion up'; what the settings say, unless given.")]


def backup(
    folder: Annotated[Path, typer.Argument(help="An empty or new folder, or an earlier backup, which is brought up.")],
    data: Data = None,
) -> None:
    """Copy the database and every object that its rows point at into a folder. The platform may run meanwhile.

    The folder holds what API keys are hashed with: keep it as you keep the database itself.
    """
    if data and not (data / DATABASE).exists():
        raise NotFound(f"there is no platform in {data}: expected {DATABASE} there")
    with _platform(embedded_settings(data) if data else Settings()) as (engine, store):
        manifest = Backup(folder).write(engine, store)
    _tell("backed up", manifest)
    if manifest.lost:
        raise ObjectMissing(
            f"the rest is backed up; {len(manifest.lost)} objects that rows point at are gone from the store, or are"
            f" damaged there, the first of them {manifest.lost[0]}"
        )


def restore(
    folder: Annotated[Path, typer.Argument(help="A backup.")],
    data: Data = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check all of it, and change nothing.")] = False,
) -> None:
    """Put a backup into an empty database and an empty store. Nothing of the platform may run meanwhile.

    Every file is checked before anything is written. Jobs that ran go on when their lease has ended.
    """
    if dry_run:
        _tell("whole and readable:", Backup(folder).check())
    elif data:
        data.mkdir(parents=True, exist_ok=True)
        with sole_owner(data):
            _restore(folder, embedded_settings(data))
    else:
        _restore(folder, Settings())


def _restore(folder: Path, settings: Settings) -> None:
    with _platform(settings) as (engine, store):
        _tell("restored", Backup(folder).restore(engine, store))


@contextmanager
def _platform(settings: Settings) -> Iterator[tuple[Engine, Store]]:
    engine = connect(settings.database_url)
    try:
        yield engine, open_store(settings)
    finally:
        engine.dispose()


def _tell(done: str, manifest: Manifest) -> None:
    rows = sum(each.rows for each in manifest.tables)
    typer.echo(
        f"{done} {rows} rows and {manifest.objects} objects of {manifest.size_bytes} bytes, as of {manifest.created_at}"
    )
    if manifest.lost:
        typer.echo(f"{len(manifest.lost)} objects were lost before the backup was made; {MANIFEST} names them")
