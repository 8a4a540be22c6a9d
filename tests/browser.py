"""A headless Chromium, from the installed binary, with the network off."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from servers import missing_server

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A page after its scripts have run."""

    content: str
    console: list[str]
    """What it said on the console: errors, refusals by its policy, and the rest."""


def open_page(file: Path, *, folder: Path) -> Opened:
    """Open a file by its path, run its scripts, and say what has become of it."""
    binary = next((found for name in NAMES if (found := shutil.which(name))), None)
    if binary is None:
        missing_server("no Chromium is installed")
    done = subprocess.run(
        [
            str(binary),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            # No name is resolved and no proxy is asked: what the page would load is an error on its console.
            *("--host-resolver-rules=MAP * ~NOTFOUND", "--no-proxy-server", "--disable-background-networking"),
            *(f"--user-data-dir={folder / 'profile'}", f"--screenshot={folder / 'page.png'}", "--dump-dom"),
            *("--enable-logging=stderr", "--v=0", "--virtual-time-budget=30000", "--window-size=1200,3000"),
            file.resolve().as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    return Opened(content=done.stdout, console=re.findall(r"CONSOLE.*", done.stderr))
