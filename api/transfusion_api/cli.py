"""The server's commands, found by the client's command line through the entry points `transfusion.commands`."""

from typing import Annotated

import typer

from transfusion_core.logs import configure
from transfusion_core.settings import Settings

KEEP_ALIVE_SECONDS = 30
"""An idle connection stays: one that is closed just as its client asks again costs an answer."""


def api(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
) -> None:
    """Serve the REST API. Settings come from the environment."""
    import uvicorn

    from transfusion_api.app import create_app

    settings = Settings()
    configure(settings.log_level, settings.log_format)
    uvicorn.run(
        create_app(settings),
        host=host,
        port=port,
        log_config=None,  # its own would print records of another form than ours, without the request's id
        log_level=settings.log_level.lower(),
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=10,
    )


def migrate() -> None:
    """Bring the database's tables to this version. Several may start at once."""
    from transfusion_core.db.engine import connect
    from transfusion_core.db.engine import migrate as migrate_database

    engine = connect(Settings().database_url)
    migrate_database(engine)
    engine.dispose()
