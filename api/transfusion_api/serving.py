"""The service behind a port: one process, or several that share it and are started anew when they die."""

import ctypes
import os
import signal
import sys
import tempfile
from contextlib import suppress

import uvicorn
from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from transfusion_core.logs import configure
from transfusion_core.settings import Settings

KEEP_ALIVE_SECONDS = 30
"""An idle connection stays: one that is closed just as its client asks again costs an answer."""
SIGN_OF_LIFE_SECONDS = 10
"""A process that gives none for so long is taken for dead. One that dies as it is asked is noticed no sooner."""
_COUNTS = "PROMETHEUS_MULTIPROC_DIR"
"""The folder in which processes keep what they count, so that each can tell it of all: read by prometheus_client."""
_SHARED = "/dev/shm"
"""Memory that processes share: what a parent leaves there that is killed goes with its container."""
_PR_SET_PDEATHSIG = 1
"""linux/prctl.h."""


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C. Exits with 3 where a process could not start."""
    if settings.api_processes == 1:
        server = uvicorn.Server(_config(_app(settings), settings, host, port))
        with suppress(KeyboardInterrupt):
            server.run()
        has_failed = not server.started
    else:
        has_failed = _serve_by_several(settings, host, port)
    if has_failed:
        sys.exit(STARTUP_FAILURE)


def _serve_by_several(settings: Settings, host: str, port: int) -> bool:
    memory = _SHARED if os.path.isdir(_SHARED) else None
    with tempfile.TemporaryDirectory(prefix="transfusion-counts-", dir=memory) as folder:
        os.environ[_COUNTS] = folder
        config = _config(f"{__name__}:app_of_environment", settings, host, port)
        parent = Multiprocess(config, sockets=[config.bind_socket()])
        parent.run()
    return any(process.exitcode == STARTUP_FAILURE for process in parent.processes)


def app_of_environment() -> FastAPI:
    """The service of one of several processes, which ends with the one that started it."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    settings = Settings()
    configure(settings.log_level, settings.log_format)
    return _app(settings)


def _app(settings: Settings) -> FastAPI:
    from transfusion_api.app import create_app  # not for the parent of several, which has no use for all of that

    return create_app(settings)


def _config(app: FastAPI | str, settings: Settings, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        host=host,
        port=port,
        workers=settings.api_processes,
        log_config=None,  # its own would print records of another form than ours, without the request's id
        log_level=settings.log_level.lower(),
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=10,
        timeout_worker_healthcheck=SIGN_OF_LIFE_SECONDS,
    )
