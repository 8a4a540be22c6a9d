"""Archives and folders: what is read, and every way in which one is refused."""

import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from transfusion_core.errors import DataError
from transfusion_core.science.apart import Apart
from transfusion_core.science.data.archive import Limits
from transfusion_core.science.data.paths import is_inside
from transfusion_core.science.data.tree import ZipTree, open_tree
from transfusion_core.science.frames import Frame


def _zip(path: Path, members: dict[str, bytes], **options: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def _refused(path: Path, match: str, limits: Limits | None = None) -> None:
    with pytest.raises(DataError, match=match), open_tree(path, limits=limits):
        pass


def test_a_folder_and_its_zip_hold_the_same(tmp_path: Path) -> None:
    files = {"a/ä.png": b"1", "b.png": b"2"}
    for name, data in files.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(data)
    for source in (tmp_path / "folder", _zip(tmp_path / "same.zip", files)):
        with open_tree(source) as tree:
            assert tree.files() == sorted(files)
            assert {name: tree.read(name) for name in tree.files()} == files
            assert tree.holds("b.png")
            assert not tree.holds("c.png")


def test_hidden_files_and_resource_forks_are_passed_over(tmp_path: Path) -> None:
    members = {".DS_Store": b"", "__MACOSX/a.png": b"", "a/.hidden": b"", "a/b.png": b""}
    with open_tree(_zip(tmp_path / "mac.zip", members)) as tree:
        assert tree.files() == ["a/b.png"]


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/etc/evil.png", "..\\evil.png", "C:/evil.png"])
def test_a_member_that_points_outside_is_refused(tmp_path: Path, name: str) -> None:
    _refused(_zip(tmp_path / "slip.zip", {name: b"x"}), "points outside")


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    _refused(tmp_path / "link.zip", "a link or a device")


def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    bomb = _zip(tmp_path / "bomb.zip", {"zeros.png": bytes(100_000)})
    _refused(bomb, "more than 200 times its size", Limits(ratio_from_bytes=10_000))


def test_too_many_bytes_or_files_are_refused(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "large.zip", {"a": b"12345", "b": b"12345"})
    _refused(archive, "unpacks to 10 bytes", Limits(size_bytes=9))
    _refused(archive, "more than 1 files", Limits(files=1))
    (tmp_path / "second").write_bytes(b"")
    with open_tree(tmp_path, limits=Limits(files=1)) as tree, pytest.raises(DataError, match="more than 1 files"):
        tree.files()


def test_a_member_is_refused_from_the_size_of_a_plain_file_in_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = _zip(tmp_path / "large.zip", {"a": b"12345", "b": b"1234"})
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "a").write_bytes(b"12345")
    monkeypatch.setattr("transfusion_core.science.data.tree.FILE_MAX_BYTES", 4)
    for source in (archive, tmp_path / "plain"):
        with open_tree(source, limits=Limits(file_bytes=4)) as tree:
            with pytest.raises(DataError, match=r"^a: expected a file of 4 bytes at most, it has 5$"):
                tree.read("a")
            assert not tree.holds("b") or tree.read("b") == b"1234"


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("a.png", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.png", b"2")
    _refused(tmp_path / "twice.zip", "two members of the same name")


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "secret.zip", {"a.png": b"1"})
    data = bytearray(archive.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    _refused(archive, "encrypted")


def test_a_flipped_byte_in_an_archive_is_found_on_reading(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "flip.zip", "w") as archive:
        archive.writestr("a.png", b"hello world")
    data = (tmp_path / "flip.zip").read_bytes().replace(b"hello", b"jello")
    (tmp_path / "flip.zip").write_bytes(data)
    with open_tree(tmp_path / "flip.zip") as tree, pytest.raises(DataError, match="broken there"):
        tree.read("a.png")


def test_what_is_not_there_or_not_a_zip_is_said_so(tmp_path: Path) -> None:
    _refused(tmp_path / "nothing", "there is nothing at 'nothing'")
    (tmp_path / "text.zip").write_bytes(b"no zip")
    _refused(tmp_path / "text.zip", "neither a folder nor a readable zip")
    with open_tree(tmp_path) as tree, pytest.raises(DataError, match="nor a readable zip"):
        tree.read("missing.png")


def test_missing_files_and_members_are_errors(tmp_path: Path) -> None:
    for source in (tmp_path, _zip(tmp_path / "empty.zip", {})):
        with open_tree(source) as tree, pytest.raises(DataError, match="there is no such"):
            tree.read("missing.png")


def test_a_file_inside_a_zip_in_the_folder_is_found_but_not_listed(tmp_path: Path) -> None:
    _zip(tmp_path / "images.zip", {"a.png": b"1"})
    with open_tree(tmp_path) as tree:
        assert tree.files() == ["images.zip"]
        assert tree.read("a.png") == b"1"


def test_links_in_a_folder_are_told_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "secret").write_bytes(b"s")
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (root / "real" / "1.png").write_bytes(b"1")
    (root / "link.png").symlink_to(tmp_path / "away" / "secret")
    (root / "away").symlink_to(tmp_path / "away")
    (root / "real" / "within").symlink_to(root / "real")
    (root / ".hidden").symlink_to(tmp_path / "away")
    with open_tree(root) as tree:
        assert tree.links() == {"link.png", "away", "real/within"}
        assert tree.files() == tree.everything() == ["real/1.png"]
        assert tree.holds("real/1.png")
        for path in ("link.png", "away/secret", "real/within/1.png", ".hidden/secret", "../secret", "x" * 5000):
            assert not tree.holds(path)
            with pytest.raises(DataError, match="there is no such file"):
                tree.read(path)
    (tmp_path / "way").symlink_to(root)
    with open_tree(tmp_path / "way") as tree:
        assert tree.read("real/1.png") == b"1"


def test_links_count_among_the_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    with open_tree(tmp_path, limits=Limits(files=1)) as tree, pytest.raises(DataError, match="more than 1 files"):
        tree.files()


def test_a_plain_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"1")

    def fail(_: Path) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with open_tree(tmp_path) as tree, pytest.raises(DataError, match=r"a\.png: cannot be read: Input/output error"):
        tree.read("a.png")


@pytest.mark.parametrize(("path", "inside"), [("a/b.png", True), ("", False), ("a/../b", False), ("a\0b", False)])
def test_is_inside(path: str, inside: bool) -> None:
    assert is_inside(path) is inside


class TakenOver:
    """A process apart that says what it likes."""

    def __init__(self, sizes: object, pieces: list[bytes]) -> None:
        self.sizes, self.answers, self.closed = sizes, pieces, False

    def ask(self, question: Frame, *, within_seconds: float) -> Frame:
        return Frame({"sizes": self.sizes})

    def pieces(self, question: Frame, *, within_seconds: float) -> Iterator[Frame]:
        return (Frame({}, piece) for piece in self.answers)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("sizes", [None, [], {"a": "1"}, {"a": None}, 7])
def test_a_list_of_members_that_is_none_is_refused(sizes: object) -> None:
    with pytest.raises(DataError, match="answered nonsense"):
        ZipTree(cast(Apart, TakenOver(sizes, [])), "a.zip", Limits())


def test_more_bytes_than_were_told_are_not_taken() -> None:
    """Neither of one member nor of all together."""
    liar = TakenOver({"a": 2, "b": 2}, [b"1", b"2", b"3"])
    with pytest.raises(DataError, match=r"a: the archive a\.zip unpacks to more than it says"):
        ZipTree(cast(Apart, liar), "a.zip", Limits()).read("a")
    assert liar.closed
    with pytest.raises(DataError, match="a file of 1073741824 bytes at most"):
        ZipTree(cast(Apart, TakenOver({"a": 2**40}, [b"1"])), "a.zip", Limits()).read("a")
    tree = ZipTree(cast(Apart, TakenOver({"a": 2, "b": 2}, [b"1", b"2"])), "a.zip", Limits(size_bytes=3))
    assert tree.read("a") == b"12"
    with pytest.raises(DataError, match="unpacks to more"):
        tree.read("b")
