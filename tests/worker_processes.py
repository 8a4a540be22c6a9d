"""`python worker_processes.py SETTINGS_JSON`: a worker in a process of its own, for tests that kill it."""

import json
import logging
import sys

from transfusion_core.settings import Settings
from transfusion_worker.worker import Worker

if __name__ == "__main__":
    logging.basicConfig(level="INFO")
    Worker(Settings(**json.loads(sys.argv[1])), ["cpu", "gpu"], kinds_module="worker_kinds").run_forever()
