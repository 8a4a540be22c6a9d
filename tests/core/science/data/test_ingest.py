"""From a spec and files to a pack, small and real, with every way in which data cannot be used."""

import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from corpus.dicoms import dicom
from packs import Shelf
from transfusion_core.errors import DataError
from transfusion_core.science.data import batching
from transfusion_core.science.data.images import decode
from transfusion_core.science.data.ingest import IngestFaults, ingest
from transfusion_core.science.data.pixels import PixelsWriter, squares
from transfusion_core.specs.dataset import DatasetSpec, IngestResult, StoredObject


def _spec(**fields: Any) -> DatasetSpec:
    return DatasetSpec.model_validate({"name": "d", "kind": "csv", "location": "file:///x", **fields}).resolved()


def _ingest(source: Path, *, keep: Shelf | None = None, threads: int = 1, **fields: Any) -> IngestResult:
    return ingest(_spec(**fields), source=source, keep=keep or Shelf(), threads=threads)


def _recipe(**recipe: Any) -> DatasetSpec:
    return _spec(kind="recipe", location=None, recipe={"name": "demo-retina", "images": 60, "size": 16, **recipe})


def test_a_manifest_becomes_a_pack(manifest_folder: Path) -> None:
    calls: list[tuple[int, int]] = []
    shelf = Shelf()
    found = ingest(_spec(), source=manifest_folder, keep=shelf, progress=lambda *done: calls.append(done))
    annotations = shelf.annotations(found)
    assert found.images == len(annotations) == 40
    assert found.splits == {"train": 26, "val": 6, "test": 8}
    assert found.resolutions == {"8x8": 40}
    assert found.class_counts["test"] == {"0": 4, "1": 4}
    assert calls[-1] == (40, 40)
    for row, (name, image) in enumerate(zip(annotations.names, shelf.images(found), strict=True)):
        assert image == (manifest_folder / name).read_bytes()
        assert int(annotations.labels[row]) == int(Path(name).stem) % 2


def test_folder_zip_and_manifest_path_give_one_digest(manifest_folder: Path) -> None:
    archive = shutil.make_archive(str(manifest_folder.parent / "set"), "zip", manifest_folder)
    mixed = manifest_folder.parent / "mixed"
    mixed.mkdir()
    shutil.copy(manifest_folder / "labels.csv", mixed)
    shutil.copy(archive, mixed / "images.zip")
    sources = [manifest_folder, manifest_folder / "labels.csv", Path(archive), mixed]
    results = [_ingest(source) for source in sources]
    assert len({found.digest for found in results}) == 1


def test_the_digest_ignores_row_order_and_names_but_not_what_counts(manifest_folder: Path) -> None:
    table = manifest_folder / "labels.csv"
    header, *rows = table.read_text().splitlines()
    first = _ingest(manifest_folder)
    table.write_text("\n".join([header, *rows[::-1]]))
    assert _ingest(manifest_folder).digest == first.digest
    digests = {
        first.digest,
        _ingest(manifest_folder, split_seed=1).digest,
        _ingest(manifest_folder, columns={"patient": "patient"}).digest,
        _ingest(manifest_folder, task="ordinal").digest,
    }
    (manifest_folder / "0.png").rename(manifest_folder / "renamed.png")
    table.write_text("\n".join([header, *rows]).replace("\n0.png", "\nrenamed.png"))
    assert _ingest(manifest_folder).digest == first.digest
    table.write_text(table.read_text().replace("renamed.png,0", "renamed.png,1"))
    assert _ingest(manifest_folder).digest not in digests
    assert len(digests) == 4


def test_patients_stay_together_and_are_stored_as_numbers_alone(manifest_folder: Path) -> None:
    shelf = Shelf()
    pack = shelf.annotations(_ingest(manifest_folder, keep=shelf, columns={"patient": "patient"}))
    owners = [f"{int(Path(name).stem) // 4}-{int(Path(name).stem) % 2}" for name in pack.names]
    assert len(set(zip(owners, pack.split.tolist(), strict=True))) == len(set(owners))
    assert pack.patients is not None
    assert len(set(zip(owners, pack.patients.tolist(), strict=True))) == len(set(owners)) == pack.patients.max() + 1
    assert list(dict.fromkeys(pack.patients.tolist())) == list(range(len(set(owners)))), (
        "in the order in which they come"
    )
    assert b"p3-1" not in b"".join(shelf.kept.values())


def test_faults_are_all_listed_with_file_and_row(manifest_folder: Path, png) -> None:
    (manifest_folder / "3.png").write_bytes(b"")
    (manifest_folder / "4.png").write_bytes(b"text called png")
    whole = png(9, form="JPEG", size=(64, 64))
    (manifest_folder / "5.png").write_bytes(whole[: len(whole) // 2])
    (manifest_folder / "6.png").unlink()
    with pytest.raises(IngestFaults, match="4 of 40 files or rows cannot be used") as caught:
        _ingest(manifest_folder)
    assert sorted((fault.file, fault.row) for fault in caught.value.files) == [
        ("3.png", 4),
        ("4.png", 5),
        ("5.png", 6),
        ("6.png", 7),
    ]
    assert "row 4, 3.png: the file is empty" in str(caught.value)
    assert isinstance(caught.value, DataError)
    found = _ingest(manifest_folder, skip_unreadable=True)
    assert found.images == 36
    assert len(found.faults) == 4


def test_no_image_of_class_folders_is_left_out_without_a_word(tmp_path: Path, png) -> None:
    for number in range(24):
        place = tmp_path / ("train", "val", "test")[number % 3] / ("cat", "dog")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(png(number))
    assert _ingest(tmp_path, kind="folder").images == 24
    (tmp_path / "val" / "loose.png").write_bytes(png(90))
    with pytest.raises(
        IngestFaults, match=r"(?s)1 of 25 files .* val/loose\.png: the image lies in no folder of a class"
    ):
        _ingest(tmp_path, kind="folder")
    assert [fault.file for fault in _ingest(tmp_path, kind="folder", skip_unreadable=True).faults] == ["val/loose.png"]
    (tmp_path / "val" / "dog").rename(tmp_path / "val" / "dogs")
    with pytest.raises(DataError, match=r"split 'val' has the classes \['dogs'\], which 'train' has not"):
        _ingest(tmp_path, kind="folder")


def test_class_folders_become_a_pack_and_name_their_broken_files(class_folder: Path) -> None:
    assert _ingest(class_folder, kind="folder").classes == ["cat", "dog"]
    (class_folder / "cat" / "0.png").write_bytes(b"x")
    with pytest.raises(IngestFaults, match=r"cat/0\.png: not an image"):
        _ingest(class_folder, kind="folder")


def test_multilabel_counts_positives_and_keeps_missing_labels(manifest_folder: Path) -> None:
    rows = [f"{number}.png,{number % 2},{'' if number < 5 else (number // 2) % 2}" for number in range(40)]
    (manifest_folder / "labels.csv").write_text("\n".join(["file,x,y", *rows]))
    shelf = Shelf()
    found = _ingest(manifest_folder, keep=shelf, task="multilabel", columns={"label": ["x", "y"]})
    labels = shelf.annotations(found).labels
    assert labels.dtype == torch.float32
    assert int(labels[:, 1].isnan().sum()) == 5
    assert sum(counts["x"] for counts in found.class_counts.values()) == 20


def test_grey_images_make_a_pack_of_one_channel(class_folder: Path, png) -> None:
    for number, path in enumerate(sorted(class_folder.rglob("*.png"))):
        path.write_bytes(png(number, grey=True))
    assert _ingest(class_folder, kind="folder").channels == 1


def test_a_recipe_is_drawn_and_its_digest_depends_on_its_seed() -> None:
    shelf = Shelf()
    first, again, other = (ingest(_recipe(seed=seed), source=None, keep=shelf) for seed in (0, 0, 1))
    assert first == again
    assert first.digest != other.digest
    assert first.task == "ordinal"
    assert {image.shape for image in shelf.images(other)} == {(16, 16, 3)}


def test_one_class_only_is_refused(manifest_folder: Path) -> None:
    table = manifest_folder / "labels.csv"
    table.write_text(table.read_text().replace(",0,", ",1,"))
    with pytest.raises(DataError, match="split 'train' has images of one class only"):
        _ingest(manifest_folder)


def test_no_images_are_refused(manifest_folder: Path) -> None:
    (manifest_folder / "labels.csv").write_text("file,label\n")
    with pytest.raises(DataError, match="no images"):
        _ingest(manifest_folder)


def test_an_unresolved_spec_or_a_missing_source_is_our_own_mistake(tmp_path: Path) -> None:
    bare = DatasetSpec.model_validate({"name": "d", "kind": "csv", "location": "file:///x"})
    with pytest.raises(ValueError, match="resolved"):
        ingest(bare, source=tmp_path, keep=Shelf())
    with pytest.raises(ValueError, match="needs a source"):
        ingest(_spec(), source=None, keep=Shelf())


def test_real_idrid_goes_through(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    columns = {"file": "file", "label": "dr_grade", "split": "split"}
    found = ingest(_spec(task="ordinal", columns=columns), source=real_data("idrid"), keep=Shelf())
    assert found.images == 516
    assert found.splits == {"train": 351, "val": 62, "test": 103}
    assert found.resolutions == {"640x640": 516}
    assert found.class_counts["test"] == {"0": 34, "1": 5, "2": 32, "3": 19, "4": 13}


def test_real_retinamnist_goes_through(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    source = real_data("retinamnist.npz")
    shelf = Shelf()
    found = ingest(_spec(kind="npz", task="ordinal"), source=source, keep=shelf)
    assert found.splits == {"train": 1080, "val": 120, "test": 400}
    np.testing.assert_array_equal(shelf.images(found)[0], np.load(source)["train_images"][0])


def test_real_chest_films_go_through_as_grey(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    found = ingest(_spec(kind="folder"), source=real_data("nih1000/nih1000_64.zip"), keep=Shelf())
    assert found.splits == {"train": 600, "val": 200, "test": 200}
    assert found.classes == ["0_normal", "1_abnormal"]
    assert found.channels == 1


def test_real_tiny_imagenet_draws_its_test_out_of_train(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    """Ten of its 200 classes: all of them take longer than a test may."""
    with (
        zipfile.ZipFile(real_data("natural/tiny_imagenet_20k.zip")) as archive,
        zipfile.ZipFile(tmp_path / "ten.zip", "w") as ten,
    ):
        files = [name for name in archive.namelist() if name.count("/") > 1]
        kept = set(sorted({name.split("/")[1] for name in files})[:10])
        for name in (name for name in files if name.split("/")[1] in kept):
            ten.writestr(name, archive.read(name))
    shelf = Shelf()
    found = ingest(_spec(kind="folder"), source=tmp_path / "ten.zip", keep=shelf)
    assert found.splits == {"train": 800, "val": 100, "test": 200}
    assert decode(shelf.images(found)[0]).size == (64, 64)


def test_dicom_files_are_images_of_folders_and_manifests(tmp_path: Path) -> None:
    """What their tags say is in no pack, and one with text burned in needs the spec's word."""
    rows = ["file,label"]
    for number in range(40):
        name = f"images/{number}.dcm"
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = bytes((number * 3 + place) % 256 for place in range(64))
        words = {"BurnedInAnnotation": "YES"} if number == 7 else {}
        (tmp_path / "set" / name).write_bytes(dicom(PixelData=pixels, PatientName="Doe^Jane", **words))
        rows.append(f"{name},{number % 2}")
    (tmp_path / "set" / "labels.csv").write_text("\n".join(rows))
    with pytest.raises(IngestFaults, match=r"row 8, images/7\.dcm: .*text is burned into"):
        _ingest(tmp_path / "set")
    shelf = Shelf()
    found = _ingest(tmp_path / "set", keep=shelf, burned_in=True)
    assert (found.images, found.channels, found.resolutions) == (40, 1, {"8x8": 40})
    pack = b"".join(shelf.kept.values())
    assert b"Doe" not in pack
    assert b"DICM" not in pack
    for number in range(40):
        place = tmp_path / "classes" / str(number % 2)
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "set" / "images" / f"{number}.dcm", place)
    assert _ingest(tmp_path / "classes", kind="folder", burned_in=True, threads=3).images == 40
    (tmp_path / "classes" / "0" / "0.dcm").write_bytes(b"no dicom")
    with pytest.raises(IngestFaults, match=r"0/0\.dcm: expected DICOM, got a file without"):
        _ingest(tmp_path / "classes", kind="folder", burned_in=True)


def test_as_many_threads_as_there_are_give_the_same_pack(manifest_folder: Path) -> None:
    one, other = Shelf(), Shelf()
    sizes = {"image_sizes": [8, 12]}
    assert _ingest(manifest_folder, keep=one, **sizes) == _ingest(manifest_folder, keep=other, threads=4, **sizes)
    assert one.kept == other.kept


def test_pixels_made_at_ingest_are_those_that_are_made_of_the_pack(manifest_folder: Path, png) -> None:
    """Grey images first: what has one channel so far is followed by shards of three."""
    for number in range(10):
        (manifest_folder / f"{number}.png").write_bytes(png(number, grey=True, size=(20, 10)))
    shelf = Shelf()
    found = _ingest(manifest_folder, keep=shelf, image_sizes=[8, 9])
    assert [pixels.size for pixels in found.pixels] == [8, 9]
    for pixels in found.pixels:
        assert [(shard.channels, shard.images) for shard in pixels.shards] == [(1, 10), (3, 30)]
        later = Shelf()
        with PixelsWriter(pixels.size, later) as writer:
            for square in squares(shelf.pack(found.pack), size=pixels.size, threads=2):
                writer.add_image(square)
            assert writer.pixels() == pixels
        assert later.kept == {name: shelf.kept[name] for name in later.kept}


def test_the_digest_of_a_dataset_is_what_it_was(manifest_folder: Path, class_folder: Path) -> None:
    """Of the files and the recipe of these tests, as the first version of the platform found them."""
    digests = [
        _ingest(manifest_folder, columns={"patient": "patient"}).digest,
        _ingest(class_folder, kind="folder", image_sizes=[8]).digest,
        ingest(_recipe(), source=None, keep=Shelf()).digest,
    ]
    assert [digest[:16] for digest in digests] == ["66628a2963ec7f0c", "264fe7cac8c5191d", "56acd018f2ffd444"]


def test_what_is_kept_does_not_stay_in_memory(class_folder: Path, png, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten megabytes of files, and as much of pixels, pass through less than a third of that."""
    monkeypatch.setattr(batching, "BATCH_BYTES", 1 << 18)
    for number in range(200):
        (class_folder / ("cat", "dog")[number % 2] / f"{number}.png").write_bytes(png(number, size=(128, 128)))
    kept = 0

    def keep(data: bytes, name: str) -> StoredObject:
        nonlocal kept
        kept += len(data)
        return StoredObject(key=name, size_bytes=len(data), sha256="0" * 64)

    spec = _spec(kind="folder", image_sizes=[128])
    tracemalloc.start()
    try:
        found = ingest(spec, source=class_folder, keep=keep)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (found.images, kept > 19_000_000) == (200, True)
    assert most < 6_000_000
