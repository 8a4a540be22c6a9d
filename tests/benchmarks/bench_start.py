"""How long an idle platform takes to start a run: from the POST of an experiment to the start of its run.

On the embedded platform (SQLite, a real training), and on a service with a broker (PostgreSQL, Redis, a worker whose
trainings do nothing). `START_TIMES` (40) posts each, one after the other: each waits until all is done. Exits 1 where a
bar is missed.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench_fleet import ADMIN, _worker, fleet

from platforms import TINY, embedded
from transfusion_client import Client

TIMES = int(os.environ.get("START_TIMES", "40"))
EMBEDDED_MS, BROKER_MS = 300.0, 100.0
IDLE_SECONDS = 0.5
"""After the end of all that was posted: the worker has found that there is nothing."""


def _spec(number: int) -> dict[str, Any]:
    """One run that nobody has asked for, on a dataset that is there."""
    training = {"steps": 2, "eval_every": 2, "batch_size": 16, "checkpoints": 0, "lr": 1e-4 * (1 + number)}
    alone = {"inits": ["random"], "sources": {}, "seeds": 1, "sections": ["performance"]}
    return {**TINY, **alone, "name": f"start {number}", "training": training}


def _started_after(client: Client, number: int) -> float:
    """Milliseconds; the run's start is told to the millisecond by the database, whose clock is this machine's."""
    began = datetime.now(UTC)
    made = client.experiments.create(_spec(number))
    moves = [event.data for event in made.events() if event.kind == "state" and event.data.get("kind") == "train"]
    assert moves[-1]["to"] == "succeeded", moves
    started = next(move["at"] for move in moves if move["to"] == "running")
    time.sleep(IDLE_SECONDS)
    return (datetime.fromisoformat(started) - began).total_seconds() * 1e3


def report(name: str, client: Client, most_ms: float) -> bool:
    """p50 and p95 beside the bar; whether it is met."""
    for number in range(2):  # the dataset, and whatever is loaded at first use
        _started_after(client, 1000 + number)
    took = sorted(_started_after(client, number) for number in range(TIMES))
    p50, p95 = took[len(took) // 2], took[int(0.95 * (len(took) - 1))]
    print(f"{name}: from POST to start, idle: p50 {p50:.0f} ms, p95 {p95:.0f} ms (<= {most_ms:.0f})", flush=True)
    return p95 <= most_ms


def on_an_embedded_platform() -> bool:
    """`transfusion up`, as it is."""
    with (
        tempfile.TemporaryDirectory() as folder,
        embedded(Path(folder)) as platform,
        Client(platform.url) as client,
    ):
        return report("embedded, SQLite", client, EMBEDDED_MS)


def with_a_broker() -> bool:
    """A service with one worker."""
    with fleet() as found, _worker(found, 2), Client(f"http://127.0.0.1:{found.port}", ADMIN) as client:
        store = Path(found.environment["TRANSFUSION_STORE_URL"].removeprefix("file://"))
        store.mkdir(exist_ok=True)
        (store / "nothing").touch()  # what its jobs say they made: else the dataset is lost, and made again each time
        return report("service, PostgreSQL and Redis", client, BROKER_MS)


def main() -> None:
    """Both."""
    wanted: dict[str, Callable[[], bool]] = {"embedded": on_an_embedded_platform, "broker": with_a_broker}
    met = [wanted[name]() for name in sys.argv[1:] or wanted]
    sys.exit(not all(met))


if __name__ == "__main__":
    main()
