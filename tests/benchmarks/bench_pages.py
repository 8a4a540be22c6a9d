"""The page of an experiment of 1,000 runs: until its grid is there in a real browser, and how soon it shows a change.

The API runs in a process of its own on SQLite, without workers; this process ends jobs as workers do.
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench_load import SPEC, Line, served
from playwright.sync_api import sync_playwright

from browser import NAMES
from transfusion_core.db import jobs
from transfusion_core.db.engine import connect

ROUNDS = 5
WIDE = {**SPEC, "models": ["cbr-tiny", "cbr-small"], "train_sizes": [50, 100, 200, 400, "all"], "seeds": 100}


def main() -> None:
    """Print seconds."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        url = f"sqlite:///{folder}/bench.db"
        with served(url, "embedded", folder) as (port, _):
            began = time.perf_counter()
            body = {**WIDE, "sections": ["performance"]}
            status, answer = Line(port).ask("POST", "/v1/experiments", body)
            assert status == 201, answer
            print(f"POST of 1,000 cells: {time.perf_counter() - began:.2f} s")
            path = f"http://127.0.0.1:{port}/experiments/{json.loads(answer)['id']}"
            binary = next(found for name in NAMES if (found := shutil.which(name)))
            browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            first, *again = (_open(page, path) for _ in range(ROUNDS))
            print(
                f"page of {page.locator('.cell').count()} runs: {first:.2f} s (<= 1) in a fresh browser, ",
                end="",
            )
            print(f"{median(again):.2f} s again")
            engine = connect(url)
            job = jobs.claim(engine, worker="bench", queues=["cpu", "gpu"], lease_seconds=60)
            assert job is not None
            began = time.perf_counter()
            page.locator("#counts", has_text="running").wait_for()
            print(f"a claim is on the page after {time.perf_counter() - began:.2f} s, without a reload")
            engine.dispose()
            browser.close()


def _open(page, path: str) -> float:  # type: ignore[no-untyped-def]
    began = time.perf_counter()
    page.goto(path)
    page.locator("html[data-loaded]").wait_for(state="attached")
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
