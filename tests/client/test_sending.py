"""Files that go in parts: several at once, sent again where they fail, and gone on with by whoever sends the same."""

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import httpx2
import pytest

from transfusion_client import Client
from transfusion_client.sending import shown
from transfusion_client.uploads import write_zip
from transfusion_core.errors import InvalidRequest, TransfusionError

DATA = bytes(range(100))


@pytest.fixture
def file(tmp_path: Path, service: Any) -> Path:
    service.part_bytes = 8
    path = tmp_path / "x.npz"
    path.write_bytes(DATA)
    return path


def test_a_large_file_goes_in_parts_and_says_how_far_it_is(client: Client, service: Any, file: Path) -> None:
    told: list[tuple[int, int]] = []
    client.datasets.add("retina", file, sent=lambda *now: told.append(now))
    assert service.uploads["u1"] == DATA
    assert (told[0], told[-1], len(told)) == ((0, 100), (100, 100), 14)
    assert [arrived for arrived, _ in told] == sorted(arrived for arrived, _ in told)
    assert service.calls("POST", "/v1/datasets")[0].json["location"] == "upload:u1"
    assert service.calls("PUT", "/v1/uploads/u1/content") == []


def test_the_same_bytes_are_sent_once(client: Client, service: Any, file: Path, tmp_path: Path) -> None:
    client.datasets.add("retina", file)
    copy = tmp_path / "another name.npz"
    copy.write_bytes(DATA)
    service.sent.clear()
    client.datasets.add("retina", copy)
    assert service.calls("POST", "/v1/datasets")[0].json["location"] == "upload:u1"
    assert [sent.method for sent in service.sent if sent.path.startswith("/v1/uploads")] == ["GET"]


def test_what_was_cut_off_goes_on_where_it_was(client: Client, service: Any, file: Path, answering: Any) -> None:
    broken = answering["problem"](500, "internal", "broken")
    service.upset(*[broken] * 2, path="/v1/uploads/u1/parts/5")
    with pytest.raises(TransfusionError, match="broken"):
        client.datasets.add("retina", file)
    there = {number for _, number in service.parts}
    assert 5 not in there
    service.sent.clear()
    client.datasets.add("retina", file)
    sent = [int(each.path.rpartition("/")[2]) for each in service.sent if each.method == "PUT"]
    assert sorted(sent) == sorted(set(range(1, 14)) - there)
    assert service.uploads == {"u1": DATA}


def test_a_part_that_fails_is_sent_again_by_another_link(
    client: Client, service: Any, file: Path, answering: Any
) -> None:
    service.upset(answering["Answer"](403, "<Error>Request has expired</Error>"), path="/v1/uploads/u1/parts/2")
    service.upset(httpx2.ReadError, path="/v1/uploads/u1/parts/3")
    client.datasets.add("retina", file)
    assert service.uploads["u1"] == DATA
    assert sum(sent.path.endswith("/parts") and sent.json["parts"][0]["number"] == 2 for sent in service.sent) == 2


def test_an_upload_that_the_service_does_not_know_any_more_is_begun_anew(
    client: Client, service: Any, file: Path
) -> None:
    client.datasets.add("retina", file)
    service.uploads = {"other": b"x"}
    client.datasets.add("retina", file)
    assert service.calls("POST", "/v1/datasets")[-1].json["location"] == "upload:u2"


def test_bytes_that_arrive_otherwise_are_told(client: Client, service: Any, file: Path) -> None:
    service.parts["u1", 99] = b"more"
    with pytest.raises(InvalidRequest, match="another sha256"):
        client.weights.add("w", file)


def test_without_a_place_to_remember_files_are_sent_all_the_same(
    client: Client, service: Any, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "blocked").write_text("a file where the folder would be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "blocked"))
    client.datasets.add("retina", file)
    assert service.uploads["u1"] == DATA


def test_a_line_is_shown_for_every_tenth() -> None:
    stream = io.StringIO()
    with shown(stream) as sent:
        for arrived in range(0, 10_000_001, 500_000):
            sent(arrived, 10_000_000)
    assert stream.getvalue().splitlines()[1::4] == [
        " 10% of 10.0 MB sent",
        " 50% of 10.0 MB sent",
        " 90% of 10.0 MB sent",
    ]


def test_a_bar_is_drawn_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    with shown(stream) as sent:
        sent(5_000_000, 10_000_000)
    assert "5.0/10.0 MB" in stream.getvalue()


def test_an_archive_depends_on_names_and_contents_alone(tmp_path: Path) -> None:
    made = []
    for name, moment in (("one", 1_000_000_000), ("other", 1_500_000_000)):
        folder = tmp_path / name
        (folder / "a").mkdir(parents=True)
        for file, mode in (("a/1.png", 0o600), ("2.png", 0o644)):
            (folder / file).write_bytes(file.encode() * 1000)
            (folder / file).chmod(mode if name == "one" else 0o666)
            os.utime(folder / file, (moment, moment))
        write_zip(folder, tmp_path / f"{name}.zip")
        made.append((tmp_path / f"{name}.zip").read_bytes())
    assert made[0] == made[1]
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert (archive.testzip(), archive.read("a/1.png")) == (None, b"a/1.png" * 1000)


def test_a_link_to_a_file_is_followed_and_nothing_is_left_out_without_a_word(tmp_path: Path) -> None:
    folder, other = tmp_path / "folder", tmp_path / "other"
    for each in (folder, other):
        each.mkdir()
    (other / "1.png").write_bytes(b"one")
    (folder / "1.png").symlink_to(other / "1.png")
    write_zip(folder, tmp_path / "folder.zip")
    with zipfile.ZipFile(tmp_path / "folder.zip") as archive:
        assert (archive.namelist(), archive.read("1.png")) == (["1.png"], b"one")
    (folder / "more").symlink_to(other)
    with pytest.raises(InvalidRequest, match="more is a link to a folder, which is not followed: add that folder"):
        write_zip(folder, tmp_path / "folder.zip")
    (folder / "more").unlink()
    (folder / "2.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InvalidRequest, match=r"2\.png is no file, and no link to one"):
        write_zip(folder, tmp_path / "folder.zip")
