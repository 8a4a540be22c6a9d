"""`transfusion worker` and `transfusion sweep`: found by the client's command line as entry points."""

from typing import Annotated

import typer

from transfusion_core.db.engine import connect
from transfusion_core.errors import InvalidRequest
from transfusion_core.janitor import Findings, Janitor
from transfusion_core.logs import configure
from transfusion_core.settings import Settings
from transfusion_core.specs.job import QUEUES
from transfusion_core.store import open_store
from transfusion_worker.room import Room
from transfusion_worker.worker import Worker


def worker(queues: str = "gpu,cpu") -> None:
    """Do the jobs of these queues until SIGTERM or Ctrl-C; a second one does not wait for them."""
    names = {name.strip() for name in queues.split(",") if name.strip()}
    known = sorted(set(QUEUES.values()))
    if not names or not names <= set(known):
        raise InvalidRequest(f"expected queues among {', '.join(known)}, got {queues!r}")
    settings = Settings()
    configure(settings.log_level, settings.log_format)
    Worker(settings, [queue for queue in known if queue in names]).run_forever()


def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
) -> None:
    """Remove what nothing points at from the store, and what is too much from this machine's cache.

    Workers do the same by themselves, now and then; a running platform need not be stopped for it.
    """
    settings = Settings()
    engine = connect(settings.database_url)
    try:
        janitor = Janitor(engine, open_store(settings), settings)
        _tell(janitor.look() if dry_run else janitor.sweep(), done=not dry_run)
        if not dry_run:
            typer.echo(f"cache: {Room(settings).tidy()} bytes freed")
    finally:
        engine.dispose()


def _tell(found: Findings, *, done: bool) -> None:
    for listed in found.objects:
        typer.echo(f"object {listed.key}: {listed.size_bytes} bytes, of {listed.modified_at:%Y-%m-%d %H:%M} UTC")
    for upload in found.uploads:
        typer.echo(f"upload {upload}")
    for unfinished in found.unfinished:
        typer.echo(f"unfinished write of {unfinished.key}, of {unfinished.begun_at:%Y-%m-%d %H:%M} UTC")
    for removal in found.removals:
        typer.echo(f"deletion {removal}, which was interrupted")
    typer.echo(f"{len(found.objects)} objects of {found.size_bytes} bytes {'are gone' if done else 'would go'}")
