"""Packs: what is written is what is read, and the cache of resized pixels."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from transfusion_core.errors import DataError
from transfusion_core.science.data.images import decode
from transfusion_core.science.data.pack import Encoded, Pack, mean_std, resized


def _arrays(channels: int = 3, n: int = 6, size: int = 8) -> Pack:
    generator = torch.Generator().manual_seed(0)
    return Pack(
        images=torch.randint(0, 256, (n, size, size, channels), dtype=torch.uint8, generator=generator),
        labels=torch.tensor([[0.0, float("nan")]] * n),
        split=torch.tensor([0, 1, 2] * (n // 3), dtype=torch.uint8),
        names=[f"ü/{number}" for number in range(n)],
        task="multilabel",
        classes=["x", "y"],
        channels=channels,
    )


def _files(png) -> Pack:
    return Pack(
        images=Encoded.of([png(0), png(1, size=(16, 8)), png(2, form="JPEG", grey=True)]),
        labels=torch.tensor([0, 1, 1]),
        split=torch.tensor([0, 1, 2], dtype=torch.uint8),
        names=["a", "b", "c"],
        task="multiclass",
        classes=["n", "p"],
        channels=3,
    )


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    pack = _arrays()
    pack.write(tmp_path / "pack")
    again = Pack.read(tmp_path / "pack")
    assert torch.equal(again.images, pack.images)
    assert torch.equal(again.labels.isnan(), pack.labels.isnan())
    assert (again.names, again.task, again.classes, again.channels) == (pack.names, pack.task, pack.classes, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]


def test_files_keep_their_own_bytes(tmp_path: Path, png) -> None:
    _files(png).write(tmp_path / "pack")
    images = Pack.read(tmp_path / "pack").images
    assert isinstance(images, Encoded)
    assert len(images) == 3
    assert images.file(1) == png(1, size=(16, 8))


def test_patients_come_back_and_packs_without_them_say_so(tmp_path: Path) -> None:
    whose = torch.tensor([0, 0, 1, 2, 2, 2])
    replace(_arrays(), patients=whose).write(tmp_path / "with")
    _arrays().write(tmp_path / "without")
    patients = Pack.read(tmp_path / "with").patients
    assert patients is not None
    assert torch.equal(patients, whose)
    assert Pack.read(tmp_path / "without").patients is None


def test_indices_are_those_of_the_split() -> None:
    assert _arrays().indices("val").tolist() == [1, 4]


def test_images_keep_their_pixels_at_their_own_size(png) -> None:
    pack = _files(png)
    pixels = pack.images_at(8)
    assert pixels.shape == (3, 3, 8, 8)
    np.testing.assert_array_equal(pixels[0].permute(1, 2, 0).numpy(), np.asarray(decode(png(0))))
    arrays = _arrays()
    assert torch.equal(arrays.images_at(8), arrays.images.permute(0, 3, 1, 2))


def test_grey_images_have_three_equal_channels() -> None:
    pixels = _arrays(channels=1).images_at(5)
    assert pixels.shape == (6, 3, 5, 5)
    assert torch.equal(pixels[:, 0], pixels[:, 2])


def test_a_file_that_breaks_in_the_pack_is_named(png) -> None:
    pack = _files(png)
    pack.images.data[int(pack.images.offsets[1]) :] = 0
    with pytest.raises(DataError, match="b: not an image"):
        pack.images_at(8)


def test_what_is_not_a_pack_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"no pack")
    save_file({"x": torch.zeros(1)}, tmp_path / "other")
    for name, match in (("text", "not a readable pack"), ("missing", "not a readable pack"), ("other", "found None")):
        with pytest.raises(DataError, match=match):
            Pack.read(tmp_path / name)


def test_the_cache_gives_what_decoding_gives_and_is_not_built_twice(tmp_path: Path) -> None:
    pack = _arrays()
    pixels = resized(pack, digest="d", size=5, cache_dir=tmp_path / "cache")
    assert torch.equal(pixels, pack.images_at(5))
    (file,) = (tmp_path / "cache").glob("*.npy")
    before = file.stat().st_ino
    pixels.zero_()  # private: does not reach the file
    assert torch.equal(resized(pack, digest="d", size=5, cache_dir=tmp_path / "cache"), pack.images_at(5))
    assert file.stat().st_ino == before


@pytest.mark.parametrize("harm", ["empty", "rubbish", "cut", "flipped", "digest missing"])
def test_a_broken_cache_is_built_anew(tmp_path: Path, harm: str) -> None:
    """A pixel that flips would train silently, and a resumed run would end otherwise than its twin."""
    pack = _arrays()
    resized(pack, digest="d", size=5, cache_dir=tmp_path)
    (file,) = tmp_path.glob("*.npy")
    data = file.read_bytes()
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    told = {"empty": b"", "rubbish": b"rubbish", "cut": data[:-10], "flipped": flipped, "digest missing": data}
    file.write_bytes(told[harm])
    if harm == "digest missing":
        file.with_name(f"{file.name}.sha256").unlink()
    assert torch.equal(resized(pack, digest="d", size=5, cache_dir=tmp_path), pack.images_at(5))


def test_a_failed_build_leaves_nothing_behind(tmp_path: Path, png) -> None:
    pack = _files(png)
    pack.images.data.zero_()
    with pytest.raises(DataError):
        resized(pack, digest="d", size=5, cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_builders_at_the_same_time_all_get_the_pixels(tmp_path: Path) -> None:
    pack = _arrays(n=60)
    together = threading.Barrier(4)

    def build(_: int) -> int:
        together.wait(timeout=60)
        return int(resized(pack, digest="d", size=7, cache_dir=tmp_path).sum())

    with ThreadPoolExecutor(4) as pool:
        sums = list(pool.map(build, range(4)))
    assert sums == [int(pack.images_at(7).sum())] * 4
    assert len(list(tmp_path.iterdir())) == 2, "pixels and their digest"


def test_a_cache_that_cannot_be_read_back_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "load", lambda *_, **__: np.zeros((1, 1), np.uint8))
    with pytest.raises(DataError, match="cannot be read back"):
        resized(_arrays(), digest="d", size=5, cache_dir=tmp_path)


def test_moments_are_those_of_the_pixels_asked_for() -> None:
    images = _arrays(n=600).images_at(8)
    indices = torch.arange(0, 600, 2)
    moments = mean_std(images, indices)
    pixels = images[indices].double() / 255
    assert moments.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert moments.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=1e-12)
