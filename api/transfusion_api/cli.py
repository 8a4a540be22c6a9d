"""The server's commands, found by the client's command line through the entry points `transfusion.commands`."""

from typing import Annotated

import typer

from transfusion_core.logs import configure
from transfusion_core.settings import Settings


def api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
) -> None:
    """Serve the REST API. Settings come from the environment."""
    from transfusion_api.serving import serve

    settings = Settings()
    configure(settings.log_level, settings.log_format)
    serve(settings, host, port)


def migrate() -> None:
    """Bring the database's tables to this version. Several may start at once."""
    from transfusion_core.db.engine import connect
    from transfusion_core.db.engine import migrate as migrate_database

    engine = connect(Settings().database_url)
    migrate_database(engine)
    engine.dispose()
