"""`make demo`: the quick experiment on an embedded platform of its own, from nothing to a report.

With the address of a service, as in `docker compose run --rm demo`, it runs there, and the report stays there.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from transfusion_client import Client
from transfusion_client.tables import print_report

FOLDER = Path("demo")
PRINTED_WIDTH = 130
STOP_TIMEOUT_SECONDS = 30.0


def main(url: str | None) -> int:
    """Run the demo; the last line printed says where the report is. 0 if every job succeeded."""
    started = time.monotonic()
    console = Console(width=None if sys.stdout.isatty() else PRINTED_WIDTH)
    with _somewhere(url) as (address, folder), Client(address) as client:
        spec = {**client.presets.get("quick"), "dataset": "demo-retina"}
        experiment = client.experiments.create(spec)
        experiment.wait(progress=True)
        report = experiment.report()
        written = report.save(folder) if folder else f"/v1/experiments/{experiment.id}/report.html"
    print_report(report, console)
    print(f"{experiment.state} in {time.monotonic() - started:.0f} s: {experiment.counts}")
    print(f"report: {written}")
    return 0 if experiment.state == "succeeded" else 1


@contextmanager
def _somewhere(url: str | None) -> Iterator[tuple[str, Path | None]]:
    """Where to ask, and a folder for the report; None where it stays with the service."""
    if url:
        yield url, None
        return
    shutil.rmtree(FOLDER / "data", ignore_errors=True)
    with platform(FOLDER / "data") as embedded:
        yield embedded, FOLDER


@contextmanager
def platform(data: Path) -> Iterator[str]:
    """An embedded platform on a free port: its address; stopped softly at the end."""
    command = [str(Path(sys.executable).with_name("transfusion")), "up", "--port", "0", "--data", str(data)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        assert process.stdout is not None
        ready = next((line for line in process.stdout if line.startswith("ready: ")), None)
        if ready is None:
            sys.exit("the platform did not start; its messages are above")
        yield ready.removeprefix("ready: ").strip()
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None))
