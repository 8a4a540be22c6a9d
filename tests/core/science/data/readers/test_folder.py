"""Folders named after classes, with and without splits."""

from collections.abc import Collection

import pytest

from transfusion_core.errors import DataError
from transfusion_core.science.data.readers.folder import check_classes, list_folder
from transfusion_core.science.data.samples import Listing


class Names:
    """A tree of names alone."""

    def __init__(self, *files: str, links: Collection[str] = ()) -> None:
        self._files, self._links = sorted(files), frozenset(links)

    def files(self) -> list[str]:
        return self._files

    def links(self) -> frozenset[str]:
        return self._links

    def everything(self) -> list[str]:
        return self._files

    def holds(self, path: str) -> bool:
        return path in self._files

    def read(self, path: str) -> bytes:
        raise AssertionError(path)


def _list(*files: str, links: Collection[str] = ()) -> Listing:
    return list_folder(Names(*files, links=links), task="multiclass")


def _plain(listing: Listing) -> dict[str, tuple[object, object]]:
    return {sample.file: (sample.split, sample.label) for sample in listing.samples}


def test_classes_without_splits_are_sorted() -> None:
    listing = _list("dog/1.png", "cat/2.png", "readme.txt")
    assert listing.classes == ["cat", "dog"]
    assert _plain(listing) == {"cat/2.png": (None, 0), "dog/1.png": (None, 1)}


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Valid"])
def test_splits_are_known_by_their_usual_names(name: str) -> None:
    listing = _list("train/a/1.png", f"{name}/b/2.png", "test/a/3.png", "train/notes.txt")
    assert _plain(listing) == {
        "train/a/1.png": ("train", 0),
        f"{name}/b/2.png": ("val", 1),
        "test/a/3.png": ("test", 0),
    }


def test_whole_numbers_are_sorted_by_value() -> None:
    assert _list("10/a.png", "9/b.png", "2/c.png").classes == ["2", "9", "10"]
    assert _list("10/a.png", "9/b.png", "x/c.png").classes == ["10", "9", "x"]


def test_one_folder_around_everything_is_looked_through() -> None:
    assert _plain(_list("set/train/a/1.png", "set/test/b/2.png", "set/readme")) == {
        "set/train/a/1.png": ("train", 0),
        "set/test/b/2.png": ("test", 1),
    }
    assert _list("only/1.png", "only/2.png").classes == ["only"]
    assert _list("train/a/1.png", "train/b/1.png").classes == ["a", "b"]


def test_folders_below_a_class_belong_to_it() -> None:
    assert _plain(_list("a/x/1.png", "b/2.png")) == {"a/x/1.png": (None, 0), "b/2.png": (None, 1)}


def test_an_image_in_no_class_folder_is_a_fault() -> None:
    listing = _list("1.png", "train/a/1.png", "train/2.JPEG", "train/notes.txt", "val/a/3.png", "labels.csv")
    assert {fault.file: fault.message for fault in listing.faults} == dict.fromkeys(
        ("1.png", "train/2.JPEG"), "the image lies in no folder of a class"
    )
    assert len(listing.samples) == 2
    assert [fault.file for fault in _list("a/1.png", "b/2.png", "3.dcm", "readme").faults] == ["3.dcm"]


def test_a_link_is_a_fault_wherever_it_lies() -> None:
    links = ["train/a/2.png", "train/b", "val", "readme"]
    listing = _list("train/a/1.png", links=links)
    assert {fault.file: fault.message for fault in listing.faults} == dict.fromkeys(
        links, "it is a link, and links are not followed"
    )
    assert _plain(listing) == {"train/a/1.png": ("train", 0)}
    assert [fault.file for fault in _list("readme", links=["cat", "dog"]).faults] == ["cat", "dog"]


def test_a_split_without_class_folders_is_refused_as_ilsvrc_has_it() -> None:
    val = [f"val/ILSVRC2012_val_{number:08}.JPEG" for number in range(1, 51)]
    with pytest.raises(
        DataError, match=r"50 images of 'val' lie .*\(val/ILSVRC2012_val_00000001.JPEG\): expected a .*csv"
    ):
        _list("train/n01440764/a.JPEG", "train/n01443537/b.JPEG", *val)
    assert _list("train/a/1.png", "train/b/1.png", "val/list.txt").faults == []


def test_classes_that_train_has_not_are_refused_as_tiny_imagenet_has_them() -> None:
    listing = _list("train/n1/images/a.JPEG", "train/n2/images/b.JPEG", "val/images/c.JPEG", "val/val_annotations.txt")
    assert listing.classes == ["images", "n1", "n2"]
    with pytest.raises(DataError, match=r"split 'val' has the classes \['images'\], which 'train' has not: expected a"):
        check_classes(listing)
    with pytest.raises(DataError, match=r"split 'test' has the classes \['b', 'c'\]"):
        check_classes(_list("train/a/1.png", "test/a/2.png", "test/b/3.png", "test/c/3.png"))
    check_classes(_list("train/a/1.png", "train/b/1.png", "test/b/2.png"))
    check_classes(_list("a/1.png", "b/2.png"))


def test_splits_beside_something_else_are_refused() -> None:
    with pytest.raises(DataError, match=r"beside the splits \['train'\] lie \['cat'\]"):
        _list("train/a/1.png", "cat/2.png")


def test_no_folders_are_refused() -> None:
    with pytest.raises(DataError, match="no folders of images"):
        _list("1.png")


def test_a_multilabel_task_is_refused() -> None:
    with pytest.raises(DataError, match="use kind 'csv'"):
        list_folder(Names("a/1.png"), task="multilabel")
