"""What a dataset is like: planted duplicates, patients in two splits, samples."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from packs import Shelf
from transfusion_core.science.data.annotations import Annotations
from transfusion_core.science.data.ingest import ingest
from transfusion_core.science.data.profile import labels_of, profile
from transfusion_core.science.data.recipes import RECIPES
from transfusion_core.science.data.recipes.canvas import Drawn
from transfusion_core.specs.dataset import DatasetSpec
from transfusion_core.specs.profile import MOST_FILES, DatasetProfile

Png = Callable[..., bytes]


def profiled(source: Path | None, progress: Any = lambda *told: None, **fields: Any) -> DatasetProfile:
    shelf = fields.pop("shelf", Shelf())
    spec = {"name": "d", "kind": "csv", "location": "file:///x", **fields}
    found = ingest(DatasetSpec.model_validate(spec).resolved(), source=source, keep=shelf)
    return profile(shelf.annotations(found), shelf.pack(found.pack), found, threads=2, progress=progress)


def leaky(folder: Path, png: Png) -> Path:
    """40 images, two of them with the pixels of another, saved in another format; patient 0 is in two splits."""
    folder.mkdir()
    rows = ["file,label,patient,split"]
    for number in range(40):
        split = ("train", "val", "test")[number % 3]
        (folder / f"{number}.png").write_bytes(png(number, size=(32, 32)))
        rows.append(f"{number}.png,{number % 2},{max(number - 3, 0)},{split}")
    for number, split in ((0, "train"), (1, "test")):
        (folder / f"copy{number}.bmp").write_bytes(png(number, size=(32, 32), form="BMP"))
        rows.append(f"copy{number}.bmp,1,p{number},{split}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


SHARED: dict[str, Any] = {"columns": {"patient": "patient", "split": "split"}, "allow_shared_patients": True}


def test_duplicates_and_patients_across_splits_are_found(tmp_path: Path, png: Png) -> None:
    told: list[tuple[str, int, int]] = []
    found = profiled(leaky(tmp_path / "set", png), lambda *each: told.append(each), **SHARED)
    assert [tuple(each.model_dump().values()) for each in found.found] == [
        ("exact", 2, 4, 1, 1),
        ("near", 0, 0, 0, 0),
        ("patient", 1, 4, 1, 1),
    ]
    across, within = found.duplicates
    assert (set(across.files), set(across.splits), set(across.labels)) == (
        {"1.png", "copy1.bmp"},
        {"val", "test"},
        {"1"},
    )
    assert (set(within.splits), set(within.labels), within.kind) == ({"train"}, {"0", "1"}, "exact")
    assert [each.kind for each in found.leaks] == ["exact", "patient"]
    (hidden,) = set(found.leaks[1].files) - {"1.png", "2.png", "3.png"}
    assert re.fullmatch(r"[0-9a-f]{12}\.png", hidden), "named after its patient, 0"
    assert found.patients is not None
    assert found.patients.total == 39
    assert sum(found.patients.splits.values()) == 41
    assert told[0] == ("look", 42, 42)
    assert told[-1] == ("compare", 1, 1)


def test_a_picture_saved_anew_in_another_split_is_a_leak(tmp_path: Path) -> None:
    drawn = Drawn.whole(RECIPES["demo-retina"](30, seed=0, size=96)).images
    rows = ["file,label,split"]
    for number, pixels in enumerate(drawn):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{number % 2},{('train', 'val', 'test')[number % 3]}")
    Image.fromarray(drawn[0]).resize((80, 80)).save(tmp_path / "again.jpg", quality=70)  # 0.png is in train
    (tmp_path / "labels.csv").write_text("\n".join([*rows, "again.jpg,0,test"]) + "\n")
    found = profiled(tmp_path, columns={"split": "split"})
    near = next(each for each in found.found if each.kind == "near")
    assert (near.groups, near.files, near.across_splits, near.across_labels) == (1, 2, 1, 0)
    (leak,) = found.leaks
    assert (leak.kind, dict(zip(leak.files, leak.splits, strict=True))) == (
        "near",
        {"0.png": "train", "again.jpg": "test"},
    )


def test_counts_and_samples_are_of_the_dataset(class_folder: Path) -> None:
    found = profiled(class_folder, kind="folder")
    assert found.patients is None
    assert (found.classes, found.resolutions) == (["cat", "dog"], {"8x8": 40})
    assert sum(sum(counts.values()) for counts in found.counts.values()) == 40
    for each in found.samples:
        assert len(each.files) == 6
        assert all(file.startswith(each.label) for file in each.files)
        assert each.picture.startswith("data:image/jpeg;base64,")
    assert profiled(class_folder, kind="folder") == found


def test_intensities_are_those_of_the_pixels_every_image_counting_alike(tmp_path: Path) -> None:
    for number, (size, colour) in enumerate([((4, 4), (255, 0, 51)), ((40, 40), (0, 0, 51))] * 20):
        place = tmp_path / "set" / ("cat", "dog")[number // 2 % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(place / f"{number}.png")
    found = profiled(tmp_path / "set", kind="folder").intensities
    assert [(each.channel, each.mean, each.std) for each in found] == [
        ("red", 0.5, 0.5),
        ("green", 0.0, 0.0),
        ("blue", pytest.approx(0.2), pytest.approx(0.0)),
    ]
    assert (found[0].histogram[0], found[0].histogram[-1]) == (0.5, 0.5)
    assert all(sum(each.histogram) == pytest.approx(1) for each in found)


def test_grey_images_have_one_channel(tmp_path: Path, png: Png) -> None:
    for number in range(40):
        place = tmp_path / "set" / ("cat", "dog")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(png(number, grey=True))
    (found,) = profiled(tmp_path / "set", kind="folder").intensities
    assert (found.channel, len(found.histogram)) == ("grey", 32)


def test_labels_that_are_missing_are_counted_by_split(tmp_path: Path, png: Png) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    rows = ["file,a,b,split"]
    for number in range(30):
        (folder / f"{number}.png").write_bytes(png(number))
        rows.append(f"{number}.png,{number // 3 % 2},{'' if number < 6 else 1},{('train', 'val', 'test')[number % 3]}")
    (folder / "labels.csv").write_text("\n".join(rows))
    found = profiled(folder, task="multilabel", columns={"label": ["a", "b"], "split": "split"})
    assert found.missing == {split: {"a": 0, "b": 2} for split in ("train", "val", "test")}


def test_many_copies_are_counted_and_cut_short(tmp_path: Path, png: Png) -> None:
    folder = tmp_path / "set"
    for number in range(120):
        place = folder / ("cat", "dog")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(png(number if number < 40 else 0))
    found = profiled(folder, kind="folder")
    assert (found.found[0].groups, found.found[0].files) == (1, 81)
    assert len(found.duplicates[0].files) == MOST_FILES


def test_images_of_several_labels_and_of_none_have_their_words() -> None:
    recipe = {"name": "demo-chest", "images": 60, "size": 32}
    shelf = Shelf()
    found = profiled(None, kind="recipe", location=None, recipe=recipe, shelf=shelf)
    assert len(found.samples) == len(found.classes) == 5
    words = labels_of(Annotations.read(shelf.kept["annotations.safetensors"]))
    assert "none" in words
    assert any(", " in word for word in words)


def test_a_real_set_is_looked_at_whole(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    """The films of NIH ChestX-ray14 that are beside the project: 1,000 of 64 pixels, none of them twice."""
    link = tmp_path / "nih.zip"
    link.symlink_to(real_data("nih1000/nih1000_64.zip"))
    found = profiled(link, kind="folder")
    assert found.splits == {"train": 600, "val": 200, "test": 200}
    assert [each.groups for each in found.found] == [0, 0, 0]
    assert found.leaks == []
