"""`transfusion worker`: found by the client's command line as an entry point."""

from transfusion_core.errors import InvalidRequest
from transfusion_core.logs import configure
from transfusion_core.settings import Settings
from transfusion_core.specs.job import QUEUES
from transfusion_worker.worker import Worker


def worker(queues: str = "gpu,cpu") -> None:
    """Do the jobs of these queues until SIGTERM or Ctrl-C; a second one does not wait for them."""
    names = [name.strip() for name in queues.split(",") if name.strip()]
    known = sorted(set(QUEUES.values()))
    if not names or not set(names) <= set(known):
        raise InvalidRequest(f"expected queues among {', '.join(known)}, got {queues!r}")
    settings = Settings()
    configure(settings.log_level)
    Worker(settings, names).run_forever()
