"""Hostile datasets through API and worker: each is refused with words that name file and row, and nothing stays."""

import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from corpus.dicoms import dicom
from worker_bench import until
from worker_service import Platform

MANY = 3000
"""Rows; of a hundred thousand the reader alone is tested, as all images are opened before anything is told."""
Attack = Callable[[Path], dict[str, Any]]
"""Changes a good folder; the fields of the spec besides its location, and `location` where that is another one."""


def image(number: int, form: str = "PNG", size: int = 12) -> bytes:
    stream = BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 good images and their table."""
    made = tmp_path / "set"
    made.mkdir()
    for number in range(40):
        (made / f"{number}.png").write_bytes(image(number))
    (made / "labels.csv").write_text("file,label\n" + "".join(f"{n}.png,{n % 2}\n" for n in range(40)))
    return made


def rows(folder: Path, *more: str, header: str = "file,label") -> None:
    table = folder / "labels.csv"
    _, *old = table.read_text().splitlines()
    table.write_text("\n".join([header, *old, *more]))


def archived(folder: Path, *members: tuple[str | zipfile.ZipInfo, bytes], **words: Any) -> dict[str, Any]:
    path = folder.parent / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(folder.iterdir()):
            packed.write(file, file.name)
        for name, data in members:
            packed.writestr(name, data)
    return {"location": path.as_uri(), **words}


def link_member() -> zipfile.ZipInfo:
    made = zipfile.ZipInfo("link.png")
    made.external_attr = 0o120777 << 16
    return made


def bomb_png() -> bytes:
    """A hundred kilobytes that say they are 30,000 x 30,000 pixels."""
    raw = zlib.compress(bytes(100_000))
    size = (30_000).to_bytes(4, "big")
    chunks = [(b"IHDR", size + size + bytes([8, 2, 0, 0, 0])), (b"IDAT", raw), (b"IEND", b"")]
    told = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        told += len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
    return told


def _zip_slip(folder: Path) -> dict[str, Any]:
    return archived(folder, ("../../../tmp/hostile-input-ran", b"x"))


def _absolute(folder: Path) -> dict[str, Any]:
    return archived(folder, ("/tmp/hostile-input-ran", b"x"))


def _link_in_zip(folder: Path) -> dict[str, Any]:
    return archived(folder, (link_member(), b"/etc/passwd"))


def _zip_bomb(folder: Path) -> dict[str, Any]:
    return archived(folder, ("bomb.png", bytes(200_000_000)))


def _link_in_folder(folder: Path) -> dict[str, Any]:
    (folder / "0.png").unlink()
    (folder / "0.png").symlink_to("/etc/hostname")
    return {}


def _pixel_bomb(folder: Path) -> dict[str, Any]:
    (folder / "3.png").write_bytes(bomb_png())
    return {}


def _truncated(folder: Path) -> dict[str, Any]:
    whole = image(3, "JPEG", 64)
    (folder / "3.png").write_bytes(whole[: len(whole) // 2])
    return {}


def _text(folder: Path) -> dict[str, Any]:
    (folder / "3.png").write_text("this is a text file")
    return {}


def _empty(folder: Path) -> dict[str, Any]:
    (folder / "3.png").write_bytes(b"")
    return {}


def _no_pixels(folder: Path) -> dict[str, Any]:
    (folder / "3.dcm").write_bytes(dicom(PixelData=None))
    rows(folder, "3.dcm,1")
    return {}


def _columns(folder: Path) -> dict[str, Any]:
    return {"columns": {"file": "image", "label": "lable"}}


def _label(folder: Path) -> dict[str, Any]:
    (folder / "new.png").write_bytes(image(50))
    rows(folder, "new.png,severe")
    return {"task": "ordinal"}


def _twice(folder: Path) -> dict[str, Any]:
    rows(folder, "3.png,1")
    return {}


def _outside(folder: Path) -> dict[str, Any]:
    rows(folder, "../../etc/passwd,1")
    return {}


def _one_bad_of_many(folder: Path) -> dict[str, Any]:
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "0.png").write_bytes(image(0))
    for number in range(1, MANY):
        os.link(folder / "0.png", folder / f"{number}.png")
    table = [f"{number}.png,{number % 2}" for number in range(MANY)]
    table[1776] = "1776.png,"
    (folder / "labels.csv").write_text("file,label\n" + "\n".join(table))
    return {}


def _no_table(folder: Path) -> dict[str, Any]:
    (folder / "labels.csv").unlink()
    return {"kind": "aptos"}


ATTACKS: list[tuple[str, Attack, str, tuple[str, int | None] | None]] = [
    ("zip slip", _zip_slip, "hostile-input-ran", None),
    ("absolute path", _absolute, "hostile-input-ran", None),
    ("link in an archive", _link_in_zip, "link.png", None),
    ("zip bomb", _zip_bomb, "bomb.png|unpack", None),
    ("link in a folder", _link_in_folder, "0.png: the file is a link", ("0.png", 1)),
    ("pixel bomb", _pixel_bomb, "900000000|pixels are more", ("3.png", 4)),
    ("truncated JPEG", _truncated, "cut off|broken|truncated", ("3.png", 4)),
    ("text called PNG", _text, "not an image", ("3.png", 4)),
    ("0 bytes", _empty, "the file is empty", ("3.png", 4)),
    ("DICOM without pixels", _no_pixels, "no pixels", ("3.dcm", 41)),
    ("wrong columns", _columns, "no such column.*did you mean 'label'", None),
    ("unknown label", _label, "row 41, new.png: the grade is 'severe'", ("new.png", 41)),
    ("duplicate row", _twice, "named by row 4 already", ("3.png", 41)),
    ("path outside", _outside, "leads out of the dataset's folder", ("../../etc/passwd", 41)),
    ("no table", _no_table, "a dataset of kind 'aptos' has a table", None),
]


@pytest.mark.parametrize(
    ("attack", "words", "fault"), [each[1:] for each in ATTACKS], ids=[each[0] for each in ATTACKS]
)
def test_what_is_hostile_fails_with_words_and_leaves_nothing(
    platform: Platform, folder: Path, attack: Attack, words: str, fault: tuple[str, int | None] | None
) -> None:
    more = attack(folder)
    failed = platform.add(**{"name": "set", "kind": "csv", "location": folder.as_uri(), **more})
    assert (failed["state"], failed["reason"]) == ("failed", "data"), failed
    assert re.search(words, failed["error"], re.DOTALL), failed["error"]
    if fault:
        assert fault in [(each["file"], each["row"]) for each in failed["faults"]]
    assert platform.ask("GET", "/v1/datasets/set/manifest").json()["code"] == "conflict"
    assert platform.ask("GET", "/readyz").status_code == 200
    store = platform.bench.folder / "store"
    assert not [path for path in store.rglob("*") if path.is_file()], "bytes of a dataset that failed"
    scratch = platform.bench.settings.cache_dir / "scratch"
    # A job's end is told before its folder is removed; a worker's own sign of life stays.
    until(lambda: {path.name for path in scratch.rglob("*") if path.is_file()} <= {"pulse"})
    assert platform.ask("DELETE", "/v1/datasets/set@1").status_code == 200
    assert platform.ask("GET", "/v1/datasets").json()["items"] == []


def test_one_bad_row_of_many_is_found(platform: Platform, folder: Path) -> None:
    _one_bad_of_many(folder)
    failed = platform.add(name="many", kind="csv", location=folder.as_uri())
    assert failed["faults"] == [{"file": "1776.png", "row": 1777, "message": "the label is empty"}]


def test_names_of_any_language_and_with_spaces_are_fine(platform: Platform, folder: Path) -> None:
    for number, name in enumerate(["Ärzte Blatt.png", "眼底 写真.png", "صورة.png", "a'b\"c;d.png", "🩻.png"]):
        (folder / f"{number}.png").rename(folder / name)
        table = (folder / "labels.csv").read_text()
        quoted = '"{}"'.format(name.replace('"', '""'))
        (folder / "labels.csv").write_text(table.replace(f"\n{number}.png,", f"\n{quoted},"))
    made = platform.add(name="names", kind="csv", location=folder.as_uri())
    assert (made["state"], made["images"]) == ("succeeded", 40), made["error"]
    manifest = platform.client.get("/v1/datasets/names/manifest").text
    assert "眼底 写真.png" in manifest


def test_after_it_is_mended_a_dataset_that_failed_is_the_next_version(platform: Platform, folder: Path) -> None:
    _text(folder)
    assert platform.add(name="set", kind="csv", location=folder.as_uri())["state"] == "failed"
    (folder / "3.png").write_bytes(image(3))
    mended = platform.add(name="set", kind="csv", location=folder.as_uri())
    assert (mended["name"], mended["state"]) == ("set@2", "succeeded")
