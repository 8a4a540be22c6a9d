"""Pictures of every page, to be looked at: `python tests/screenshots.py [FOLDER]`."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

from browser import NAMES
from platforms import TINY, embedded, start, stop, until
from servers import free_port
from transfusion_client import Client
from transfusion_core.errors import TransfusionError

LOOKS = (("light", 1440), ("dark", 1440), ("light", 360))
SETTLE_MS = 2500
ADMIN_KEY = "tf_admin_of_these_pictures_and_of_nothing_else"
SPEC = {**TINY, "name": "Does transfer help on my fundus images?", "seeds": 3, "train_sizes": [64, "all"]}


def main() -> None:
    """Run a small study, then open every page of it."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "screenshots")
    out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        embedded(Path(folder), few=False) as platform,
        Client(platform.url) as client,
    ):
        made = client.experiments.create({**SPEC, "training": {**SPEC["training"], "steps": 24, "eval_every": 4}})
        experiment = made.wait(progress=True)
        client.datasets.profile("demo-retina@1")
        run = next(iter(client.experiments.runs(experiment.id)))
        square = client.comparisons.create(f"{run.id}@init", f"{run.id}@final", pairs="all")
        client.comparisons.wait(square.id)
        pages = {
            "experiments": "/",
            "new": "/experiments/new",
            "fork": f"/experiments/new?from={experiment.id}",
            "experiment": f"/experiments/{experiment.id}",
            "report": f"/experiments/{experiment.id}/report",
            "run": f"/runs/{run.id}",
            "comparisons": "/comparisons",
            "comparison": f"/comparisons/{square.id}",
            "datasets": "/datasets",
            "dataset": "/datasets/demo-retina@1",
            "docs": "/docs",
        }
        _take(platform.url, pages, out)
    with tempfile.TemporaryDirectory() as folder, _with_keys(Path(folder)) as url:
        _take(url, {"login": "/", "keys": "/keys"}, out)


@contextmanager
def _with_keys(folder: Path) -> Iterator[str]:
    """An API in service mode, without workers, and some keys: the address."""
    port = free_port()
    environment = {
        "TRANSFUSION_DATABASE_URL": f"sqlite:///{folder}/database.db",
        "TRANSFUSION_STORE_URL": f"file://{folder}/store",
        "TRANSFUSION_ADMIN_KEY": ADMIN_KEY,
    }
    start(["migrate"], ready=None, environment=environment).process.wait(60)
    api = start(["api", "--port", str(port)], ready=None, environment=environment).process
    try:
        with Client(f"http://127.0.0.1:{port}", ADMIN_KEY) as client:
            until(lambda: _answers(client), "the API")
            for name, role in (("Ward 3, reading room", "read"), ("nightly study", "write")):
                client.keys.create(name, role=role, project="default", expires_in_days=90)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(api)


def _answers(client: Client) -> bool:
    try:
        return bool(client.health())
    except TransfusionError:
        return False


def _take(url: str, pages: dict[str, str], out: Path) -> None:
    with sync_playwright() as playwright:
        binary = next(found for name in NAMES if (found := shutil.which(name)))
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        for scheme, width in LOOKS:
            page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
            for name, path in pages.items():
                page.goto(url + path)
                page.wait_for_timeout(SETTLE_MS)
                # Charts are drawn when they are seen.
                for below in range(0, page.evaluate("document.body.scrollHeight"), 800):
                    page.mouse.wheel(0, 800)
                    page.wait_for_timeout(150 if below else 0)
                page.evaluate("scrollTo(0, 0)")
                page.screenshot(path=out / f"{name}-{scheme}-{width}.png", full_page=True)
                if name == "login":
                    page.get_by_label("API key").fill(ADMIN_KEY)
                    page.get_by_role("button", name="Log in").click()
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
