"""A patient is planted in file names, tables, EXIF and DICOM; whatever an ingest leaves behind is searched for her."""

import logging
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from corpus.dicoms import dicom
from transfusion_core.specs.manifest import pseudonym, read_manifest
from worker_bench import until
from worker_service import Platform

PATIENT = "Mustermann_Erika"
FORMS = ("jpeg", "png", "tiff", "dcm")


def picture(number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (24, 24, 3), np.uint8))


def told_of(form: str, number: int) -> bytes:
    """An image that names the patient wherever its format can."""
    stream, image = BytesIO(), picture(number)
    exif = Image.Exif()
    exif[0x010E] = exif[0x013B] = PATIENT  # the description, the artist
    if form == "dcm":
        return dicom(PatientName=PATIENT, PatientID=PATIENT, StudyDescription=PATIENT, rows=8 + number)
    if form == "png":
        texts = PngImagePlugin.PngInfo()
        texts.add_text("Comment", PATIENT)
        texts.add_itxt("Title", PATIENT, zip=False)
        image.save(stream, "PNG", pnginfo=texts, exif=exif)
    elif form == "tiff":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[270] = tags[315] = PATIENT
        image.save(stream, "TIFF", tiffinfo=tags)
    else:
        image.save(stream, "JPEG", exif=exif, comment=PATIENT.encode())
    return stream.getvalue()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A manifest whose patients are `Mustermann_Erika_N`, one file each, which is named after its patient too."""
    folder = tmp_path / "source"
    rows = ["file,label,patient"]
    for number in range(40):
        form, who = FORMS[number % 4], f"{PATIENT}_{number}"
        path = folder / who / f"{who} scan.{form}"
        path.parent.mkdir(parents=True)
        path.write_bytes(told_of(form, number))
        rows.append(f"{path.relative_to(folder)},{number // 4 % 2},{who}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture
def printed(caplog: pytest.LogCaptureFixture, capfd: Any) -> Callable[[], str]:
    """All that API and worker have logged and printed."""
    caplog.set_level(logging.DEBUG)

    def read() -> str:
        out, err = capfd.readouterr()
        return f"{caplog.text}{out}{err}"

    return read


def holds_patient(data: bytes) -> bool:
    return any(PATIENT.encode(coding) in data for coding in ("utf-8", "utf-16-le", "utf-16-be"))


def test_no_patient_is_left_in_what_is_stored_answered_or_logged(
    platform: Platform, source: Path, tmp_path: Path, printed: Callable[[], str]
) -> None:
    assert all(holds_patient(path.read_bytes()) for path in source.rglob("*.*"))
    columns = {"file": "file", "label": "label", "patient": "patient"}
    made = platform.add(name="scans", kind="csv", location=source.as_uri(), columns=columns)
    assert (made["state"], made["images"]) == ("succeeded", 40), made
    platform.answers.clear()
    until(lambda: platform.ask("GET", "/v1/datasets/scans/profile").status_code == 200)
    for path in ("/v1/datasets/scans", "/v1/datasets/scans/manifest", "/datasets/scans", "/v1/datasets/scans/samples"):
        assert platform.ask("GET", path).status_code == 200
    left = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_relative_to(source)]
    kept = {path.name.rpartition("-")[2] for path in left}
    assert {"manifest.csv", "profile.json"} <= kept
    assert not [path for path in left if holds_patient(path.read_bytes())]
    assert not holds_patient("\n".join(platform.answers).encode())
    assert not holds_patient(printed().encode())


def test_a_team_that_knows_its_patients_can_check_the_split(platform: Platform, source: Path) -> None:
    columns = {"file": "file", "label": "label", "patient": "patient"}
    platform.add(name="scans", kind="csv", location=source.as_uri(), columns=columns)
    salt = bytes.fromhex(platform.ask("GET", "/v1/datasets/scans/salt").json()["salt"])
    rows = list(read_manifest([platform.client.get("/v1/datasets/scans/manifest").content]))
    assert {row.patient for row in rows} == {pseudonym(salt, f"{PATIENT}_{number}") for number in range(40)}


def test_files_that_cannot_be_used_are_named_to_who_asks_and_in_no_log(
    platform: Platform, source: Path, tmp_path: Path, printed: Callable[[], str]
) -> None:
    broken = [path for path in sorted(source.rglob("*.*")) if path.suffix in (".jpeg", ".dcm")][:5]
    for path in broken:
        path.write_bytes(path.read_bytes()[:200])
    archive = tmp_path / "source" / "more.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(f"{PATIENT}.png", b"no image")
    made = platform.add(name="scans", kind="csv", location=source.as_uri())
    assert (made["state"], made["reason"], len(made["faults"])) == ("failed", "data", 5)
    assert {fault["file"] for fault in made["faults"]} == {str(path.relative_to(source)) for path in broken}
    assert made["faults"][0]["row"] is not None
    assert "5 of 40 files or rows cannot be used" in made["error"]
    log = "\n".join(line for line in printed().splitlines())
    assert made["job"] in log, "the worker says which job it does"
    assert not holds_patient(log.encode())
    stored = [path for path in tmp_path.rglob("*") if path.is_file() and "store" in path.parts]
    assert not [path for path in stored if holds_patient(path.read_bytes())]
    removed = platform.ask("DELETE", "/v1/datasets/scans@1").json()
    assert (removed["kind"], removed["state"]) == ("dataset", "done")
