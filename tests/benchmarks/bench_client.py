"""What the client costs before it does anything: `import transfusion_client`, its Client, and `transfusion --help`.

Run `python tests/benchmarks/bench_client.py [times]`; each line is the fastest of so many fresh processes, wall clock,
with the modules that were loaded. The limits are 0.3 s for the import and 0.5 s for the help. How many packages a bare
client needs besides itself is counted from the metadata of what is installed; 11 are allowed.
"""

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

COUNT = "import sys; {}; print(len(sys.modules), file=sys.stderr)"
TRANSFUSION = Path(sys.executable).with_name("transfusion")
MEASURED: dict[str, Sequence[str]] = {
    "python": (sys.executable, "-c", COUNT.format("pass")),
    "import transfusion_client": (sys.executable, "-c", COUNT.format("import transfusion_client")),
    "from transfusion_client import Client": (
        sys.executable,
        "-c",
        COUNT.format("from transfusion_client import Client"),
    ),
    "transfusion --help": (str(TRANSFUSION), "--help"),
}


def best_of(command: Sequence[str], times: int) -> tuple[float, str]:
    """Seconds of the fastest, and what it said of its modules."""
    best, told = float("inf"), ""
    for _ in range(times):
        begun = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        best, told = min(best, time.perf_counter() - begun), done.stderr.strip()
    return best, told


def packages(name: str, seen: set[str]) -> set[str]:
    """A package, and all that it needs without extras."""
    name = re.sub(r"[-_.]+", "-", name).lower()
    if name not in seen:
        seen.add(name)
        for written in requires(name) or []:
            needed = Requirement(written)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                packages(needed.name, seen)
    return seen


def main(times: int) -> None:
    """Print the figures."""
    for name, command in MEASURED.items():
        seconds, modules = best_of(command, times)
        print(f"{seconds:6.3f} s  {name}" + (f"  ({modules} modules)" if modules else ""))
    needed = sorted(packages("transfusion", set()) - {"transfusion"})
    print(f"{len(needed)} packages: {', '.join(needed)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
