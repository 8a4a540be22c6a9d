"""`make demo`: the quick experiment on an embedded platform of its own, from nothing to a report."""

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


def main() -> int:
    """Run the demo; the last line printed is the report's path. 0 if every job succeeded."""
    started = time.monotonic()
    console = Console(width=None if sys.stdout.isatty() else PRINTED_WIDTH)
    shutil.rmtree(FOLDER / "data", ignore_errors=True)
    with platform(FOLDER / "data") as url, Client(url) as client:
        spec = {**client.presets.get("quick"), "dataset": "demo-retina"}
        experiment = client.experiments.create(spec)
        experiment.wait(progress=True)
        report = experiment.report()
        written = report.save(FOLDER)
    print_report(report, console)
    print(f"{experiment.state} in {time.monotonic() - started:.0f} s: {experiment.counts}")
    print(f"report: {written}")
    return 0 if experiment.state == "succeeded" else 1


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
    sys.exit(main())
