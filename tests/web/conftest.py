"""A browser for the pages: Debian's Chromium by Playwright. What a page says on its console, or throws, is a fault."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from browser import NAMES
from platforms import Platform, embedded
from servers import missing_server

PATIENCE_MS = 120_000
"""Jobs run meanwhile, on a machine that does other things too."""


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """One embedded platform for the tests of a file."""
    with tempfile.TemporaryDirectory() as folder, embedded(Path(folder)) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    binary = next((found for name in NAMES if (found := shutil.which(name))), None)
    if binary is None:
        missing_server("no Chromium is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages of a given look; at the end none of them may have said anything on its console."""
    contexts, said = [], []

    def opened(*, width: int = 1440, scheme: str = "light") -> Page:
        context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        page.on("console", lambda message: said.append(f"{page.url}: {message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"{page.url}: {error}"))
        return page

    opened.said = said  # type: ignore[attr-defined]
    yield opened
    for context in contexts:
        context.close()
    assert not said
