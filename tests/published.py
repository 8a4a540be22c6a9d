"""Published datasets as they are downloaded, small: their own tables, folders, archives and kinds of image files."""

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

GREY, COLOUR, ALPHA = "L", "RGB", "RGBA"
"""The last for grey pictures too: some films of ChestX-ray14 are so."""


@dataclass(frozen=True)
class Published:
    """One layout's files, and what an ingest is to find in them."""

    files: Mapping[str, bytes]
    classes: list[str]
    splits: dict[str, int]
    """Images by split; empty where the platform draws them."""
    images: int
    channels: int
    patients: int | None = None
    """How many there are; None where the layout knows none."""
    broken: tuple[str, int] = ("", 0)
    """The file that the row of a table names whose picture is cut off, and that row's number."""
    options: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Lay them out under `folder`."""
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder


def picture(seed: int, form: str, mode: str = COLOUR, size: tuple[int, int] = (48, 40)) -> bytes:
    """A round field of some brightness on black, with noise, as a file of the form."""
    draw = np.random.default_rng(seed)
    width, height = size
    rows, columns = np.ogrid[:height, :width]
    disc = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (height / 2) ** 2
    pixels = disc[..., None] * draw.integers(60, 200, 3) + draw.integers(0, 40, (height, width, 3))
    image = Image.fromarray(pixels.astype(np.uint8))
    image = image.convert(GREY).convert(ALPHA) if mode == ALPHA else image.convert(mode)
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def _table(header: str, rows: list[str]) -> bytes:
    return "\n".join([header, *rows, ""]).encode()


def _zip(members: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def chexpert() -> Published:
    """CheXpert-v1.0-small: two films of each patient, one from the side; labels of 1, 0, -1 and none."""
    header = (
        "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,"
        "Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,"
        "Support Devices"
    )
    words = ("1.0", "0.0", "-1.0", "")
    files: dict[str, bytes] = {}
    for split, patients in (("train", range(1, 13)), ("valid", range(64541, 64547)), ("test", range(64741, 64747))):
        rows = []
        for patient in patients:
            for view, side in enumerate(("frontal", "lateral"), start=1):
                path = f"{split}/patient{patient:05d}/study1/view{view}_{side}.jpg"
                labels = ",".join(words[(patient + at + view) % (4 if split == "train" else 2)] for at in range(14))
                ap = "AP" if view == 1 else ""
                rows.append(f"CheXpert-v1.0-small/{path},Female,68,{side.title()},{ap},{labels}")
                files[path] = picture(patient * 2 + view, "JPEG", GREY, (39, 32))
        files[f"{split}.csv"] = _table(header, rows)
    broken = "train/patient00002/study1/view1_frontal.jpg"
    files[broken] = _cut(files[broken])
    return Published(
        files,
        classes=["Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"],
        splits={"train": 11, "val": 6, "test": 6},
        images=23,
        channels=1,
        patients=23,
        broken=(broken, 3),
        options={"uncertain": "ones", "views": "frontal"},
    )


def chestxray14() -> Published:
    """The header with brackets and a comma at its end, as published; films of a patient in several folders, some with
    an alpha channel; lists of train and test."""
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    )
    findings = ("No Finding", "Cardiomegaly|Emphysema", "Hernia", "Pleural_Thickening|Infiltration")
    rows, files, lists = [], {}, {"train_val_list.txt": "", "test_list.txt": ""}
    for patient in range(1, 31):
        for film in range(2):
            name = f"{patient:08d}_{film:03d}.png"
            rows.append(f"{name},{findings[(patient + film) % 4]},{film},{patient},058Y,M,PA,2682,2749,0.143,0.143,")
            mode = ALPHA if patient == 3 else GREY
            files[f"images_{1 + film:03d}/images/{name}"] = picture(patient * 2 + film, "PNG", mode)
            lists["test_list.txt" if patient % 3 == 0 else "train_val_list.txt"] += f"{name}\n"
    files["Data_Entry_2017.csv"] = _table(header, rows)
    files |= {name: lines.encode() for name, lines in lists.items()}
    broken = "images_001/images/00000001_000.png"
    files[broken] = _cut(files[broken])
    return Published(
        files,
        classes=[
            *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia"),
            *("Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax"),
        ],
        splits={"test": 20},
        images=59,
        channels=1,
        patients=30,
        broken=(broken, 1),
    )


def eyepacs() -> Published:
    """Two eyes of each patient; the grades of the test set came after the competition."""
    files: dict[str, bytes] = {}
    rows: dict[str, list[str]] = {"train": [], "test": []}
    for patient in range(1, 25):
        split = "test" if patient > 16 else "train"
        for eye in ("left", "right"):
            files[f"{split}/{patient}_{eye}.jpeg"] = picture(patient * 2 + (eye == "left"), "JPEG")
            usage = ",Private" if split == "test" else ""
            rows[split].append(f"{patient}_{eye},{patient % 5}{usage}")
    files["trainLabels.csv"] = _table("image,level", rows["train"])
    files["retinopathy_solution.csv"] = _table("image,level,Usage", rows["test"])
    files["train/1_right.jpeg"] = b"not a picture at all"
    return Published(
        files,
        classes=["0", "1", "2", "3", "4"],
        splits={"test": 16},
        images=47,
        channels=3,
        patients=24,
        broken=("train/1_right.jpeg", 2),
    )


def aptos() -> Published:
    """Names without a suffix; the test table has no grades and is no part of it."""
    names = [f"{number * 7919:012x}" for number in range(1, 41)]
    files = {f"train_images/{name}.png": picture(at, "PNG") for at, name in enumerate(names)}
    files["train.csv"] = _table("id_code,diagnosis", [f"{name},{at % 5}" for at, name in enumerate(names)])
    files["test.csv"] = _table("id_code", ["0005cfc8afb6"])
    files["test_images/0005cfc8afb6.png"] = picture(99, "PNG")
    broken = f"train_images/{names[4]}.png"
    files[broken] = b""
    return Published(files, classes=["0", "1", "2", "3", "4"], splits={}, images=39, channels=3, broken=(broken, 5))


def idrid() -> Published:
    """Nine columns without a name, rows of commas, the same names in both splits."""
    header = "Image name,Retinopathy grade,Risk of macular edema ,,,,,,,,,"
    pictures, groundtruths = "1. Original Images", "2. Groundtruths/"
    files: dict[str, bytes] = {}
    for letter, split, count in (("a", "Training", 24), ("b", "Testing", 10)):
        rows = [f"IDRiD_{number:03d},{number % 5},{number % 3},,,,,,,,," for number in range(1, count + 1)]
        table = _table(header, [*rows, "," * 11])
        files[f"{groundtruths}{letter}. IDRiD_Disease Grading_{split} Labels.csv"] = table
        for number in range(1, count + 1):
            name = f"{pictures}/{letter}. {split} Set/IDRiD_{number:03d}.jpg"
            files[name] = picture(number + (split == "Testing") * 100, "JPEG")
    broken = f"{pictures}/a. Training Set/IDRiD_007.jpg"
    files[broken] = _cut(files[broken])
    return Published(
        files,
        classes=["0", "1", "2", "3", "4"],
        splits={"test": 10},
        images=33,
        channels=3,
        broken=(broken, 7),
    )


def messidor2() -> Published:
    """Grades of those that could be graded; suffixes that a table writes in another case."""
    header = "image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable"
    rows, files = [], {}
    for number in range(1, 41):
        old = number % 2
        listed = f"IM{number:06d}.jpg" if old else f"20051020_{number:05d}_0100_PP.png"
        rows.append(f"{listed},,,0" if number in (9, 10) else f"{listed},{number % 5},0,1")
        files[f"IMAGES/{listed.replace('.jpg', '.JPG')}"] = picture(number, "JPEG" if old else "PNG")
    files["messidor_data.csv"] = _table(header, rows)
    broken = "IMAGES/IM000003.JPG"
    files[broken] = _cut(files[broken])
    return Published(files, classes=["0", "1", "2", "3", "4"], splits={}, images=37, channels=3, broken=(broken, 3))


def ham10000() -> Published:
    """Two archives of images beside a table without a suffix; two images of each lesion."""
    words = ("bkl", "nv", "df", "mel")
    rows, parts = [], ({}, {})  # type: tuple[list[str], tuple[dict[str, bytes], dict[str, bytes]]]
    for number in range(48):
        lesion, name = number // 2, f"ISIC_{24306 + number:07d}"
        rows.append(f"HAM_{lesion:07d},{name},{words[lesion % 4]},histo,80.0,male,scalp,vidir_modern")
        parts[number % 2][f"{name}.jpg"] = picture(number, "JPEG", size=(60, 45))
    broken = "ISIC_0024311.jpg"
    parts[1][broken] = _cut(parts[1][broken])
    files = {f"HAM10000_images_part_{at}.zip": _zip(part) for at, part in enumerate(parts, start=1)}
    files["HAM10000_metadata"] = _table("lesion_id,image_id,dx,dx_type,age,sex,localization,dataset", rows)
    return Published(
        files, classes=["bkl", "df", "mel", "nv"], splits={}, images=47, channels=3, patients=24, broken=(broken, 6)
    )


def isic() -> Published:
    """ISIC 2018, task 3: a column for each class, lesions in another table, some images of none."""
    classes = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
    files: dict[str, bytes] = {}
    for split, first, count in (("Training", 24306, 42), ("Validation", 34321, 14), ("Test", 34524, 14)):
        rows = []
        for number in range(count):
            hot = ",".join("1.0" if at == number % 7 else "0.0" for at in range(7))
            name = f"ISIC_{first + number:07d}"
            rows.append(f"{name},{hot}")
            files[f"ISIC2018_Task3_{split}_Input/{name}.jpg"] = picture(first + number, "JPEG", size=(60, 45))
        truth = f"ISIC2018_Task3_{split}_GroundTruth"
        files[f"{truth}/{truth}.csv"] = _table(f"image,{','.join(classes)}", rows)
    # The second image of a lesion lies 7 further, as its class does.
    pairs = [f"ISIC_{24306 + at + far:07d},HAM_{at:07d},follow-up" for at in range(7) for far in (0, 7)]
    table = _table("image,lesion_id,diagnosis_confirm_type", pairs)
    files["ISIC2018_Task3_Training_LesionGroupings.csv"] = table
    broken = "ISIC2018_Task3_Test_Input/ISIC_0034524.jpg"
    files[broken] = _cut(files[broken])
    return Published(
        files,
        classes=sorted(classes),
        splits={"train": 42, "val": 14, "test": 13},
        images=69,
        channels=3,
        patients=62,
        broken=(broken, 1),
    )


PUBLISHED: dict[str, Callable[[], Published]] = {
    made.__name__: made for made in (chexpert, chestxray14, eyepacs, aptos, idrid, messidor2, ham10000, isic)
}
"""By the kind of a dataset spec."""
