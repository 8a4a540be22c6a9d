"""MedMNIST files: the ways they come, and the ways they are wrong."""

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transfusion_core.errors import DataError
from transfusion_core.science.data.archive import Limits
from transfusion_core.science.data.readers.npz import read_npz
from transfusion_core.science.data.tree import ZipTree


def _file(path: Path, **arrays: Any) -> Path:
    np.savez(path / "set.npz", **arrays)
    return path / "set.npz"


def _images(n: int, *shape: int) -> Any:
    return np.arange(n * int(np.prod(shape)), dtype=np.int64).astype(np.uint8).reshape(n, *shape)


def test_grey_and_colour_are_read_with_their_splits(tmp_path: Path) -> None:
    for shape in ((4, 4), (4, 4, 3)):
        file = _file(
            tmp_path,
            train_images=_images(3, *shape),
            train_labels=np.array([[0], [2], [1]], np.uint8),
            test_images=_images(2, *shape),
            test_labels=np.array([1, 0])[:, None],
        )
        arrays = read_npz(file, task="ordinal")
        assert arrays.shape == (4, 4, 1 if len(shape) == 2 else 3)
        expected = np.concatenate([_images(3, *shape), _images(2, *shape)]).reshape(5, *arrays.shape)
        for _ in range(2):  # they can be gone through again
            np.testing.assert_array_equal(list(arrays.images), expected)
        assert arrays.labels.tolist() == [0, 2, 1, 1, 0]
        assert arrays.splits == ["train"] * 3 + ["test"] * 2
        assert arrays.classes == ["0", "1", "2"]


def test_fortran_order_is_read_right(tmp_path: Path) -> None:
    images = _images(2, 4, 5)
    file = _file(tmp_path, train_images=np.asfortranarray(images), train_labels=np.array([0, 1]))
    np.testing.assert_array_equal(list(read_npz(file, task="multiclass").images), images[..., None])


def test_a_multilabel_task_takes_rows_of_zero_and_one(tmp_path: Path) -> None:
    file = _file(tmp_path, train_images=_images(2, 4, 4), train_labels=np.array([[0, 1, 1], [1, 0, 0]]))
    arrays = read_npz(file, task="multilabel")
    assert arrays.labels.dtype == np.float32
    assert arrays.classes == ["0", "1", "2"]
    flat = _file(tmp_path, train_images=_images(2, 4, 4), train_labels=np.array([0, 1]))
    assert read_npz(flat, task="multilabel").labels.shape == (2, 1)


GOOD = {"train_images": _images(2, 4, 4), "train_labels": np.array([0, 1])}


@pytest.mark.parametrize(
    ("changes", "task", "match"),
    [
        ({"train_images": _images(2, 4, 4).astype(float)}, "multiclass", "expected uint8"),
        ({"train_images": _images(2, 4, 4, 2)}, "multiclass", "expected uint8"),
        ({"train_images": _images(2, 0, 4)}, "multiclass", "images of 4 x 0 pixels: expected 1"),
        ({"train_labels": np.array([0, 1, 2])}, "multiclass", "one row for each of 2 images"),
        ({"train_labels": np.array(0)}, "multiclass", "one row for each"),
        ({"train_labels": np.array([0.5, 1])}, "multiclass", "whole numbers"),
        ({"train_labels": np.array([-1, 1])}, "ordinal", "found -1 to 1"),
        ({"train_labels": np.array([[0, 1], [1, 0]])}, "multiclass", "2 labels per image are for task 'multilabel'"),
        ({"train_labels": np.array([[0, 2], [1, 0]])}, "multilabel", "0 and 1 alone"),
        ({"train_labels": np.array([None, {}], dtype=object)}, "multiclass", "Python objects"),
        ({"test_images": _images(2, 5, 5), "test_labels": np.array([0, 1])}, "multiclass", "differ in shape"),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, changes: dict[str, Any], task: Any, match: str) -> None:
    with pytest.raises(DataError, match=match):
        read_npz(_file(tmp_path, **{**GOOD, **changes}), task=task)


def test_missing_arrays_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it holds \\['x'\\]"):
        read_npz(_file(tmp_path, x=np.zeros(1)), task="multiclass")
    with pytest.raises(DataError, match="train_labels"):
        read_npz(_file(tmp_path, train_images=GOOD["train_images"]), task="multiclass")


@pytest.mark.parametrize("data", [b"not an array", b"\x93NUMPY\x07\x00rest"])
def test_a_member_that_is_no_array_is_refused(tmp_path: Path, data: bytes) -> None:
    _refused(tmp_path, data)


def test_a_shape_that_promises_more_than_its_bytes_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    stream = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": (10**12, 28, 28)}
    np.lib.format.write_array_header_1_0(stream, about)
    _refused(tmp_path, stream.getvalue() + b"few")


def test_arrays_that_are_larger_than_an_archive_may_be_are_refused_before_any_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _file(tmp_path, train_images=_images(4, 1000, 1000), train_labels=np.array([0, 1, 0, 1]))
    assert len(list(read_npz(file, task="multiclass").images)) == 4
    monkeypatch.setattr("transfusion_core.science.data.readers.npz.LIMITS", Limits(size_bytes=4_000_000))
    monkeypatch.setattr("transfusion_core.science.data.tree.ZipTree.pieces", None)
    with pytest.raises(DataError, match=r"it unpacks to 400\d{4} bytes, more than the 4000000 allowed"):
        read_npz(file, task="multiclass")


def test_images_are_read_one_after_another_however_many_bytes_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces that end anywhere, in the header too; only what is in memory whole is held to a file's limit."""
    monkeypatch.setattr("transfusion_core.science.data.readers.npz.FILE_MAX_BYTES", 400)
    images = _images(100, 5, 7)
    file = _file(tmp_path, train_images=images, train_labels=np.arange(100, dtype=np.uint8) % 2)
    arrays = read_npz(file, task="multiclass")
    monkeypatch.setattr("transfusion_core.science.data.readers.npz.ZipTree.pieces", _in_pieces_of(3))
    np.testing.assert_array_equal(list(arrays.images), images[..., None])
    monkeypatch.undo()
    monkeypatch.setattr("transfusion_core.science.data.readers.npz.FILE_MAX_BYTES", 400)
    for changed, told in (
        (
            {"train_images": np.asfortranarray(images)},
            "train_images: expected an array in Fortran's order .* 400 bytes",
        ),
        ({"train_labels": np.arange(100) % 2}, "train_labels: expected labels of 400 bytes at most, it has 928"),
    ):
        whole = {"train_images": images, "train_labels": np.arange(100, dtype=np.uint8) % 2, **changed}
        with pytest.raises(DataError, match=told):
            list(read_npz(_file(tmp_path, **whole), task="multiclass").images)


def _in_pieces_of(size: int) -> Callable[..., Iterator[bytes]]:
    whole = ZipTree.pieces

    def pieces(tree: ZipTree, path: str) -> Iterator[bytes]:
        data = b"".join(whole(tree, path))
        yield from (data[at : at + size] for at in range(0, len(data), size))

    return pieces


def test_an_archive_that_breaks_among_its_images_is_told(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (40, 300, 300), dtype=np.uint8)
    file = _file(tmp_path, train_images=images, train_labels=np.arange(40) % 2)
    broken = bytearray(file.read_bytes())
    broken[2_000_000] ^= 255
    file.write_bytes(broken)
    arrays = read_npz(file, task="multiclass")
    with pytest.raises(DataError, match=r"train_images\.npy: the archive is broken there"):
        list(arrays.images)


def test_a_folder_is_no_file_of_arrays(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a file of numpy arrays"):
        read_npz(tmp_path, task="multiclass")


def _refused(folder: Path, data: bytes) -> None:
    with zipfile.ZipFile(folder / "bad.npz", "w") as archive:
        archive.writestr("train_images.npy", data)
    with pytest.raises(DataError, match="train_images: not a plain array"):
        read_npz(folder / "bad.npz", task="multiclass")
