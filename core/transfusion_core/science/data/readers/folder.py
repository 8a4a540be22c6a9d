"""Reads folders named after classes: `split/class/file`, or `class/file` where the splits are still to be drawn.

Class order is the sorted order of their names (by value where all are whole numbers), for grades too. Files
that lie above the class folders (a readme, a list of classes) are passed over; whatever lies in a class folder
must be an image.
"""

from transfusion_core.errors import DataError
from transfusion_core.science.data.samples import SPLIT_NAMES, Listing, Sample, class_order
from transfusion_core.science.data.tree import Tree
from transfusion_core.specs.dataset import Task


def list_folder(tree: Tree, *, task: Task) -> Listing:
    """The files of a folder or zip. Raises DataError where they are not laid out in one of the two ways."""
    if task == "multilabel":
        raise DataError(
            "a folder per class cannot say several labels of one image: use kind 'csv' for a multilabel task"
        )
    return _listing(tree.files())


def _listing(files: list[str]) -> Listing:
    wrap = _wrapping(files)
    nested = {file: file.removeprefix(wrap).split("/") for file in files}
    deep = {file: parts for file, parts in nested.items() if len(parts) > 1}
    if not deep:
        raise DataError("there are no folders of images; expected 'split/class/file' or 'class/file'")
    tops = sorted({parts[0] for parts in deep.values()})
    strange = [top for top in tops if top.lower() not in SPLIT_NAMES]
    if len(strange) == len(tops):
        return _coded([(file, None, parts[0]) for file, parts in deep.items()])
    if strange:
        raise DataError(f"beside the splits {sorted(set(tops) - set(strange))} lie {strange[:10]}, which are none")
    return _coded([(file, parts[0].lower(), parts[1]) for file, parts in deep.items() if len(parts) > 2])


def _wrapping(files: list[str]) -> str:
    """The one folder that everything lies in, with its slash, where it is neither a split nor the only class."""
    tops = {file.split("/")[0] for file in files}
    if len(tops) != 1:
        return ""
    top = tops.pop() + "/"
    below = {file.removeprefix(top).split("/")[0] for file in files if file.count("/") > 1}
    return top if len(below) > 1 and top[:-1].lower() not in SPLIT_NAMES else ""


def _coded(found: list[tuple[str, str | None, str]]) -> Listing:
    """Samples from (file, split's name, class)."""
    classes = class_order(label for _, _, label in found)
    index = {name: number for number, name in enumerate(classes)}
    samples = [
        Sample(file=file, label=index[label], split=SPLIT_NAMES[split] if split else None)
        for file, split, label in found
    ]
    return Listing(samples, classes)
