"""What the tests of the pages share with the screenshots: what keeps people out, and images to upload."""

from pathlib import Path
from zipfile import ZipFile

import numpy as np
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Page

SERIOUS = ("serious", "critical")


def serious_faults(page: Page) -> list[str]:
    """What axe-core finds that keeps people out."""
    found = Axe().run(page).response["violations"]
    return [
        f"{page.url}: {each['id']}: {each['help']}: {node['html'][:200]} {node.get('failureSummary', '')[:200]}"
        for each in found
        if each["impact"] in SERIOUS
        for node in each["nodes"]
    ]


def zipped_images(file: Path, *, each: int = 40) -> Path:
    """A folder of two classes, dark and bright noise, as a zip."""
    generator = np.random.default_rng(0)
    with ZipFile(file, "w") as archive:
        for number, name in enumerate(("healthy", "ill")):
            for index in range(each):
                pixels = generator.integers(0, 120, (32, 32, 3)) + 100 * number
                with archive.open(f"{name}/{index}.png", "w") as member:
                    Image.fromarray(pixels.astype(np.uint8)).save(member, "PNG")
    return file
