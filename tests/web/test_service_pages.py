"""The pages of a service: PostgreSQL, Redis, a real S3 server, keys of several roles, in a real browser."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from platforms import stop
from service_way import ADMIN_KEY, Service, running_service
from web_tools import serious_faults, zipped_images

pytestmark = pytest.mark.system
REFUSED = re.compile("the server responded with a status of 401")
AWAY = re.compile("net::ERR_(CONNECTION|INCOMPLETE|EMPTY)")


def only(said: list[str], expected: re.Pattern[str]) -> None:
    """What the browser itself says of answers that are no surprise; and no more."""
    assert [line for line in said if not expected.search(line)] == []
    said.clear()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running_service() as running:
        worker = running.start_worker()
        yield running
        assert stop(worker) == 0


@pytest.fixture(scope="module")
def keys(service: Service) -> dict[str, dict[str, str]]:
    """A key of each role, of one project."""
    with service.client() as client:
        made = {role: client.keys.create(role, role=role, project="ward") for role in ("read", "write", "admin")}
    return {role: {"id": key.id, "key": key.key} for role, key in made.items()}


def log_in(page: Page, service: Service, key: str, path: str = "/") -> None:
    page.goto(service.url + path)
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Log in").click()


def test_from_a_key_to_the_report(
    service: Service, keys: dict[str, dict[str, str]], tab: Callable[..., Page], tmp_path: Path
) -> None:
    page = tab()
    log_in(page, service, keys["write"]["key"], "/datasets")
    expect(page.get_by_role("heading", level=1)).to_have_text("Datasets")
    add_dataset(page, zipped_images(tmp_path / "mine.zip"))
    page.get_by_role("link", name="New experiment on it").click()
    fill(page)
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(re.compile("/experiments/[0-9a-z]{26}$"))
    experiment = page.url
    expect(page.locator("#curves svg.marks")).to_be_visible()
    assert page.locator("#state").inner_text() == "running", "curves are seen while the network learns"
    service.stop_api()
    service.start_api()
    expect(page.locator("#state")).to_have_text("succeeded")
    assert serious_faults(page) == []
    page.locator("#chosen a").click()
    expect(page.locator("#filters img")).to_have_count(2)
    download(page, page.get_by_role("link", name="final", exact=True), ".safetensors")
    page.goto(f"{experiment}/report")
    expect(page.locator("figure svg.marks").first).to_be_visible()
    assert download(page, page.get_by_role("link", name="CSV"), ".csv").read_text().startswith("section")
    assert serious_faults(page) == []
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    page.goto(experiment)
    expect(page.get_by_label("API key")).to_be_visible()
    only(tab.said, AWAY)  # type: ignore[attr-defined]


def add_dataset(page: Page, images: Path) -> None:
    """By the page, whose bytes go through the API: its policy lets it speak to nobody else."""
    page.get_by_label("Name", exact=True).fill("mine")
    page.get_by_label("Images", exact=True).set_input_files(images)
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("img.samples").first).to_be_visible()
    assert "mine@1" in page.get_by_role("heading", level=1).inner_text()
    assert serious_faults(page) == []


def fill(page: Page) -> None:
    page.get_by_label("name", exact=True).first.fill("of the ward")
    page.get_by_label("models").fill("cbr-tiny")
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_label("seeds").fill("1")
    page.get_by_label("image size").fill("24")
    page.get_by_label("steps", exact=True).fill("150")
    page.get_by_label("eval every").fill("5")
    page.get_by_role("button", name="YAML").click()
    text = page.get_by_label("The same spec as YAML")
    text.fill(text.input_value() + "\nsections: [performance]")
    expect(page.locator("#plan")).to_contain_text("images to train")


def download(page: Page, link: object, suffix: str) -> Path:
    with page.expect_download() as told:
        link.click()  # type: ignore[attr-defined]
    assert told.value.suggested_filename.endswith(suffix)
    return told.value.path()


def test_a_wrong_key_is_refused_in_words(service: Service, tab: Callable[..., Page]) -> None:
    page = tab()
    log_in(page, service, ADMIN_KEY + "x")
    expect(page.get_by_role("alert")).to_contain_text("no key of this service")
    assert serious_faults(page) == []
    only(tab.said, REFUSED)  # type: ignore[attr-defined]


def test_a_reader_sees_everything_and_starts_nothing(
    service: Service, keys: dict[str, dict[str, str]], tab: Callable[..., Page]
) -> None:
    page = tab()
    log_in(page, service, keys["read"]["key"])
    page.get_by_role("link", name="of the ward", exact=True).click()
    expect(page.locator("#grid .cell.succeeded")).to_have_count(1)
    expect(page.locator("#curves svg.marks")).to_be_visible()
    for name in ("Cancel", "Delete"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    page.goto(f"{service.url}/datasets")
    expect(page.get_by_role("link", name="mine@1")).to_be_visible()
    expect(page.get_by_role("button", name="Add", exact=True)).to_have_count(0)
    page.goto(f"{service.url}/experiments/new?dataset=mine@1")
    fill(page)
    expect(page.get_by_text("Your key may only read")).to_be_visible()
    expect(page.get_by_role("button", name="Start")).to_have_count(0)


def test_a_revoked_key_ends_its_sessions_and_what_was_written_is_kept(
    service: Service, keys: dict[str, dict[str, str]], tab: Callable[..., Page]
) -> None:
    admin, page = tab(), tab()
    log_in(admin, service, keys["admin"]["key"], "/keys")
    assert serious_faults(admin) == []
    admin.get_by_label("Name", exact=True).fill("passing")
    admin.get_by_label("Project").fill("ward")
    admin.get_by_role("button", name="Make a key").click()
    log_in(page, service, admin.locator("#said code").inner_text(), "/experiments/new?dataset=mine@1")
    fill(page)
    admin.on("dialog", lambda dialog: dialog.accept())
    admin.get_by_role("link", name="done").click()
    with admin.expect_navigation():
        admin.get_by_role("row", name=re.compile("passing")).get_by_role("button", name="Revoke").click()
    page.get_by_role("button", name="Form").click()
    page.get_by_label("seeds").fill("2")
    expect(page.get_by_text("Your session has ended")).to_be_visible()
    page.get_by_role("link", name="Log in again").click()
    page.get_by_label("API key").fill(keys["write"]["key"])
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_label("seeds")).to_have_value("2")
    expect(page.get_by_label("name", exact=True).first).to_have_value("of the ward")
    only(tab.said, REFUSED)  # type: ignore[attr-defined]
