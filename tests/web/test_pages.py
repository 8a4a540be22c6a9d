"""The pages as a person uses them: from their own images to the report, in a real browser on the embedded platform."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from platforms import TINY, Platform
from transfusion_client import Client
from web_tools import serious_faults, zipped_images

pytestmark = pytest.mark.system
SPEC = {**TINY, "name": "shown"}


@pytest.fixture(scope="module")
def study(platform: Platform) -> dict[str, str]:
    """What a finished experiment has: its id, a run, a comparison."""
    with Client(platform.url) as client:
        experiment = client.experiments.create(SPEC).wait(progress=False, timeout_seconds=240)
        assert experiment.state == "succeeded", experiment.counts
        run = next(iter(client.experiments.runs(experiment.id)))
        comparison = next(one for one in client.comparisons.list() if one.state == "succeeded")
        return {"experiment": experiment.id, "run": run.id, "comparison": comparison.id}


def pages_of(study: dict[str, str]) -> list[str]:
    experiment = f"/experiments/{study['experiment']}"
    more = (f"/runs/{study['run']}", "/comparisons", f"/comparisons/{study['comparison']}", "/datasets")
    return ["/", "/experiments/new", experiment, f"{experiment}/report", *more, "/datasets/demo-retina@1", "/docs"]


def go(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_load_state("networkidle") if "/experiments/" not in address else page.wait_for_timeout(700)


def test_from_own_images_to_the_report(platform: Platform, tab: Callable[..., Page], tmp_path: Path) -> None:
    page = tab()
    page.goto(f"{platform.url}/datasets")
    page.get_by_text("Add a dataset").click()
    page.get_by_label("Name", exact=True).fill("mine")
    page.get_by_label("Images", exact=True).set_input_files(zipped_images(tmp_path / "mine.zip"))
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("img.samples").first).to_be_visible()
    assert "mine@1" in page.get_by_role("heading", level=1).inner_text()
    page.get_by_role("link", name="New experiment on it").click()
    fill(page)
    expect(page.locator("#plan")).to_contain_text("images to train")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(re.compile("/experiments/[0-9a-z]{26}$"))
    expect(page.locator("#curves svg.marks")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#state")).to_have_text("cancelled")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#state")).to_have_text("succeeded")
    expect(page.locator("#grid .cell.succeeded")).to_have_count(2)
    page.get_by_role("link", name="Report", exact=True).click()
    expect(page.locator("figure svg.marks").first).to_be_visible()
    with page.expect_download() as told:
        page.get_by_role("link", name="CSV").click()
    assert told.value.path().read_text().startswith("section")


def fill(page: Page) -> None:
    """The form, with a fault first, which is told beside its field."""
    page.get_by_label("name", exact=True).first.fill("by hand")
    assert page.get_by_label("dataset", exact=True).first.input_value() == "mine@1"
    page.get_by_label("models").fill("cbr-tiny")
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_label("seeds").fill("0")
    expect(page.locator(".field", has=page.get_by_label("seeds")).locator(".fault")).to_contain_text("1")
    expect(page.get_by_label("seeds")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_role("button", name="Start")).to_be_disabled()
    page.get_by_label("seeds").fill("2")
    page.get_by_label("image size").fill("24")
    page.get_by_label("steps", exact=True).fill("150")
    page.get_by_label("eval every").fill("5")
    page.get_by_role("button", name="YAML").click()
    text = page.get_by_label("The same spec as YAML")
    assert "steps: 150" in text.input_value()
    text.fill(text.input_value() + "\nsections: [performance]")
    page.get_by_role("button", name="Form").wait_for()


def test_a_comparison_shows_its_values_beside_their_nulls(
    platform: Platform, study: dict[str, str], tab: Callable[..., Page]
) -> None:
    page = tab()
    page.goto(f"{platform.url}/comparisons/{study['comparison']}")
    expect(page.locator("#map svg.marks")).to_be_visible()
    rows = page.locator("#numbers tbody tr")
    count = rows.count()
    assert count > 1
    page.get_by_label("Layer of the first").select_option(index=1)
    expect(rows).not_to_have_count(count)
    page.get_by_label("Measure").select_option("cka")
    expect(page.locator("#map svg.marks")).to_be_visible()


def test_a_fork_says_what_differs(platform: Platform, study: dict[str, str], tab: Callable[..., Page]) -> None:
    page = tab()
    page.goto(f"{platform.url}/experiments/new?from={study['experiment']}")
    page.get_by_label("name", exact=True).first.fill("forked")
    expect(page.locator("#plan")).to_contain_text("images to train")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(re.compile("/experiments/[0-9a-z]{26}$"))
    expect(page.get_by_role("link", name="another one")).to_be_visible()


def test_nothing_keeps_people_out(platform: Platform, study: dict[str, str], tab: Callable[..., Page]) -> None:
    for scheme in ("light", "dark"):
        page = tab(scheme=scheme)
        for path in pages_of(study):
            go(page, platform.url + path)
            assert serious_faults(page) == []


def test_small_screens_need_no_sideways_scrolling(
    platform: Platform, study: dict[str, str], tab: Callable[..., Page]
) -> None:
    page = tab(width=360)
    for path in pages_of(study):
        go(page, platform.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path


def test_the_keyboard_reaches_the_content_first(platform: Platform, tab: Callable[..., Page]) -> None:
    page = tab()
    page.goto(platform.url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "New experiment"


def test_the_grid_is_one_stop_of_the_tab_key(
    platform: Platform, study: dict[str, str], tab: Callable[..., Page]
) -> None:
    page = tab()
    page.goto(f"{platform.url}/experiments/{study['experiment']}")
    expect(page.locator("#grid .cell[aria-pressed=true]")).to_have_count(1)
    expect(page.locator("#grid .cell[tabindex='0']")).to_have_count(1)
    page.locator("#grid .cell[tabindex='0']").focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft"):
        before = page.evaluate("document.activeElement.title")
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.title") != before
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "metric"


def test_a_name_is_text_wherever_it_is_shown(platform: Platform, tab: Callable[..., Page]) -> None:
    evil: dict[str, Any] = {**SPEC, "name": "<img src=x onerror=alert(1)>", "sections": ["performance"]}
    with Client(platform.url) as client:
        made = client.experiments.create(evil)
        page = tab()
        page.on("dialog", lambda dialog: pytest.fail(dialog.message))
        for path in (
            "/",
            f"/experiments/{made.id}",
            f"/experiments/{made.id}/report",
            f"/experiments/new?from={made.id}",
        ):
            go(page, platform.url + path)
            assert page.locator("img[src=x]").count() == 0
