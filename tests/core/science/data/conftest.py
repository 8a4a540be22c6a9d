"""Small datasets on disk, made by the tests, and the place of the real ones."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Png = Callable[..., bytes]


def _png(seed: int = 0, *, size: tuple[int, int] = (8, 8), form: str = "PNG", grey: bool = False) -> bytes:
    shape = size[::-1] if grey else (*size[::-1], 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


@pytest.fixture
def png() -> Png:
    """Encodes a random image: its pixels depend on the seed."""
    return _png


@pytest.fixture
def manifest_folder(tmp_path: Path) -> Path:
    """A folder of 40 images with a manifest: label by parity, two images per patient."""
    folder = tmp_path / "set"
    folder.mkdir()
    rows = ["file,label,patient"]
    for number in range(40):
        (folder / f"{number}.png").write_bytes(_png(number))
        rows.append(f"{number}.png,{number % 2},p{number // 4}-{number % 2}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def class_folder(tmp_path: Path) -> Path:
    """`class/file`, 20 images of each of two classes."""
    folder = tmp_path / "classes"
    for number in range(40):
        place = folder / ("cat", "dog")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(_png(number))
    return folder


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """The path of real data by name; skips the test where they are missing."""
    beside = Path(__file__).resolve().parents[5] / "shared" / "data"
    root = Path(os.environ.get("TRANSFUSION_TEST_DATA", beside))

    def find(name: str) -> Path:
        if not (root / name).exists():
            pytest.skip(f"real data are missing: {root / name}")
        return root / name

    return find
