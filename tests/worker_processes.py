"""`python worker_processes.py SETTINGS_JSON`: a worker in a process of its own, for tests that kill it.

With `CLOCK_OFFSET=SECONDS` the clock of its machine is wrong by so much.
"""

import json
import logging
import os
import sys
import time

from transfusion_core.settings import Settings
from transfusion_worker.worker import Worker

if __name__ == "__main__":
    logging.basicConfig(level="INFO")
    offset, right = float(os.environ.get("CLOCK_OFFSET", "0")), time.time
    time.time = lambda: right() + offset
    Worker(Settings(**json.loads(sys.argv[1])), ["cpu", "gpu"], kinds_module="worker_kinds").run_forever()
