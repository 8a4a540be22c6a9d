"""A headless Chromium, from the installed binary, with the network off."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

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
    done = subprocess.run(
        [
            *_chromium(folder),
            *(f"--screenshot={folder / 'page.png'}", "--dump-dom", "--enable-logging=stderr", "--v=0"),
            *("--virtual-time-budget=30000", "--window-size=1200,3000", file.resolve().as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    return Opened(content=done.stdout, console=re.findall(r"CONSOLE.*", done.stderr))


def _chromium(folder: Path) -> list[str]:
    binary = next((found for name in NAMES if (found := shutil.which(name))), None)
    if binary is None:
        missing_server("no Chromium is installed")
    return [
        str(binary),
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        # No name is resolved and no proxy is asked: what the page would load is an error on its console.
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--no-proxy-server", "--disable-background-networking"),
        f"--user-data-dir={folder / 'profile'}",
    ]


class Driven:
    """An open page that keys are pressed on, over DevTools' own pipe."""

    def __init__(self, asked: IO[bytes], answers: IO[bytes]) -> None:
        self._asked, self._answers = asked, answers
        self._number, self._rest, self._session = 0, b"", {}

    def attach(self, file: Path) -> None:
        """Open a file in the one page that there is; it has run when its charts are drawn."""
        (page,) = [each for each in self.call("Target.getTargets")["targetInfos"] if each["type"] == "page"]
        session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        self.call("Page.enable")
        self.call("Page.navigate", url=file.resolve().as_uri())
        drawn = "document.documentElement.dataset.drawn"
        self.run(f"new Promise(done => setInterval(() => {drawn} && done(1), 50))")

    def call(self, method: str, **words: Any) -> Any:
        """One command of the DevTools protocol, and its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": words, **self._session}
        self._asked.write(json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self) -> Any:
        while b"\0" not in self._rest:
            more = os.read(self._answers.fileno(), 1 << 20)
            assert more, "Chromium has ended"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def run(self, script: str) -> Any:
        """What an expression comes to, promises kept."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """One key, down and up."""
        words = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", **words, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **words)


@contextmanager
def driven(file: Path, *, folder: Path) -> Iterator[Driven]:
    """Open a file by its path to press keys on it; the browser ends with the block."""
    (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
    command = [*_chromium(folder), "--remote-debugging-pipe", "about:blank"]
    # Chromium reads commands from descriptor 3 and answers on 4.
    shell = f'exec 3<&{their_in} 4>&{their_out}; exec "$@"'
    with (
        subprocess.Popen(
            ["bash", "-c", shell, "bash", *command], pass_fds=(their_in, their_out), stderr=subprocess.DEVNULL
        ) as process,
        os.fdopen(our_out, "wb", 0) as asked,
        os.fdopen(our_in, "rb", 0) as answers,
    ):
        os.close(their_in)
        os.close(their_out)
        page = Driven(asked, answers)
        try:
            page.attach(file)
            yield page
        finally:
            process.terminate()
