"""Reads folders named after classes: `split/class/file`, or `class/file` where the splits are still to be drawn.

Class order is the sorted order of their names (by value where all are whole numbers), for grades too. Whatever lies in
a class folder, or in folders of it, must be an image. What lies above the class folders (a readme, a list of classes)
is passed over, but an image there is a fault, and a split whose images all lie there is not taken. So is every link,
since it may stand for images, or for a folder of them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from transfusion_core.errors import DataError
from transfusion_core.science.data.samples import SPLIT_NAMES, Listing, Sample, class_order
from transfusion_core.science.data.signatures import is_called_image
from transfusion_core.science.data.tree import LINK, Tree
from transfusion_core.specs.dataset import FileFault, Task


def list_folder(tree: Tree, *, task: Task) -> Listing:
    """The files of a folder or zip. Raises DataError where they are not laid out in one of the two ways."""
    if task == "multilabel":
        raise DataError(
            "a folder per class cannot say several labels of one image: use kind 'csv' for a multilabel task"
        )
    files = tree.files()
    linked = [FileFault(file=link, message=f"it {LINK}") for link in sorted(tree.links())]
    return _listing(files, linked)


def check_classes(listing: Listing) -> None:
    """DataError where a new image of `val` or `test` is of a class that `train` has not, which nothing could learn.

    Such as `images` is, where the images of `val` lie in one folder and a table says what they show.
    """
    trained = {sample.label for sample in listing.samples if sample.split == "train"}
    new = [sample for sample in listing.samples if sample.sha256 is None]
    for split in ("val", "test"):
        strange = {sample.label for sample in new if sample.split == split} - trained
        if trained and strange:
            names = [name for code, name in enumerate(listing.classes) if code in strange]
            raise DataError(f"split {split!r} has the classes {names[:10]}, which 'train' has not: {_EXPECTED}")


_EXPECTED = "expected a folder per class, of the same name in every split, or a table of the images (kind 'csv')"


def _listing(files: list[str], faults: list[FileFault]) -> Listing:
    wrap = _wrapping(files)
    nested = {file: file.removeprefix(wrap).split("/") for file in files}
    deep = {file: parts for file, parts in nested.items() if len(parts) > 1}
    if not deep and faults:
        return Listing([], [], faults)
    if not deep:
        raise DataError("there are no folders of images; expected 'split/class/file' or 'class/file'")
    tops = sorted({parts[0] for parts in deep.values()})
    strange = [top for top in tops if top.lower() not in SPLIT_NAMES]
    if len(strange) == len(tops):
        found = [_Found(file, None, parts[0]) for file, parts in deep.items()]
    elif strange:
        raise DataError(f"beside the splits {sorted(set(tops) - set(strange))} lie {strange[:10]}, which are none")
    else:
        found = [_Found(file, parts[0].lower(), parts[1]) for file, parts in deep.items() if len(parts) > 2]
        _check_splits(nested, {nested[each.file][0] for each in found})
    return _coded(found, [*faults, *_loose(nested, found)])


class _Found(NamedTuple):
    """A file in the folder of a class, and the name of its split's folder."""

    file: str
    split: str | None
    label: str


def _loose(nested: Mapping[str, Sequence[str]], found: Sequence[_Found]) -> list[FileFault]:
    """Images that lie in no class folder."""
    classed = {each.file for each in found}
    loose = [file for file in nested if file not in classed and is_called_image(file)]
    return [FileFault(file=file, message="the image lies in no folder of a class") for file in loose]


def _check_splits(nested: Mapping[str, Sequence[str]], classed: set[str]) -> None:
    """DataError for a split that has images and no class folder: its labels are elsewhere, and it is not left out."""
    for split in sorted({parts[0] for parts in nested.values() if len(parts) > 1} - classed):
        images = [file for file, parts in nested.items() if parts[0] == split and is_called_image(file)]
        if images:
            raise DataError(f"{len(images)} images of {split!r} lie in no folder of a class ({images[0]}): {_EXPECTED}")


def _wrapping(files: list[str]) -> str:
    """The one folder that everything lies in, with its slash, where it is neither a split nor the only class."""
    tops = {file.split("/")[0] for file in files}
    if len(tops) != 1:
        return ""
    top = tops.pop() + "/"
    below = {file.removeprefix(top).split("/")[0] for file in files if file.count("/") > 1}
    return top if len(below) > 1 and top[:-1].lower() not in SPLIT_NAMES else ""


def _coded(found: Sequence[_Found], faults: list[FileFault]) -> Listing:
    classes = class_order(each.label for each in found)
    index = {name: number for number, name in enumerate(classes)}
    samples = [
        Sample(file=file, label=index[label], split=SPLIT_NAMES[split] if split else None)
        for file, split, label in found
    ]
    return Listing(samples, classes, faults)
