"""Manifests: read a row at a time, and held against each other side by side."""

import random
from collections import Counter
from typing import Any

import pytest

from transfusion_core.specs.manifest import MOST_CHANGES, ManifestRow, changes, header, read_manifest


def row(sha256: str, label: str = "0", split: str = "train", file: str = "f") -> ManifestRow:
    return ManifestRow(file, sha256, {"label": label}, split, "", 8, 8)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_manifest_is_read_from_pieces_of_any_size(size: int) -> None:
    text = (
        ",".join(header("multilabel", ["Edema", "Pleural Effusion"])) + "\n"
        '"a, ""b""\u2028ä.png",0a,1,,test,p,8,9\n'
        "c.png,0b,0,1,train,,1,2"
    ).encode()
    rows = list(read_manifest(text[start : start + size] for start in range(0, len(text), size)))
    assert rows == [
        ManifestRow('a, "b"\u2028ä.png', "0a", {"Edema": "1", "Pleural Effusion": ""}, "test", "p", 8, 9),
        ManifestRow("c.png", "0b", {"Edema": "0", "Pleural Effusion": "1"}, "train", "", 1, 2),
    ]
    assert header("ordinal", ["0", "1"]) == ["file", "sha256", "label", "split", "patient", "width", "height"]


def test_images_are_added_removed_relabelled_and_moved() -> None:
    before = [row("a"), row("b"), row("c"), row("d", "1"), row("e", "1", "val")]
    after = [row("b"), row("c", "2"), row("d", "1", "test"), row("e", "0", "train"), row("f", file="new.png")]
    found = changes(after, before)
    assert found.unchanged == 1
    assert [each.file for each in found.added.files] == ["new.png"]
    assert [(each.sha256, each.after) for each in found.removed.files] == [("a", None)]
    assert [each.sha256 for each in found.relabelled.files] == ["c", "e"]
    assert [each.sha256 for each in found.moved.files] == ["d", "e"]
    (moved, _) = found.moved.files
    assert moved.before is not None
    assert moved.after is not None
    assert (moved.before.split, moved.after.split, moved.after.labels) == ("train", "test", {"label": "1"})


def test_copies_of_an_image_are_matched_with_those_that_stand_alike() -> None:
    before = [row("a", "0"), row("a", "1"), row("a", "2")]
    found = changes([row("a", "2"), row("a", "0")], before)
    assert (found.unchanged, found.removed.count, found.relabelled.count, found.added.count) == (2, 1, 0, 0)


def test_copies_of_one_label_are_matched_before_others() -> None:
    found = changes([row("a", "1", "val")], [row("a", "0"), row("a", "1")])
    assert (found.moved.count, found.relabelled.count, found.removed.count) == (1, 0, 1)


def test_many_changes_are_counted_and_cut_short() -> None:
    found = changes([], (row(f"{number:04}") for number in range(MOST_CHANGES + 5)))
    assert (found.removed.count, len(found.removed.files)) == (MOST_CHANGES + 5, MOST_CHANGES)


def test_any_two_manifests_differ_by_what_counting_says() -> None:
    chance = random.Random(0)
    for _ in range(200):
        sides: list[Any] = [sorted(chance.choices("abcdefgh", k=chance.randrange(12))) for _ in range(2)]
        found = changes(*(map(row, side) for side in sides))
        mine, theirs = (Counter(side) for side in sides)
        assert found.added.count == (mine - theirs).total()
        assert found.removed.count == (theirs - mine).total()
        assert found.unchanged == (mine & theirs).total()
