"""A worker's copies of pixels: fetched, checked at each use, held while in use, and made room for."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from small_disk import small_disk
from transfusion_core.errors import DataError, ObjectCorrupt, Unavailable
from transfusion_core.specs.dataset import Pixels, Shard
from transfusion_worker.pixels import fetch_pixels
from transfusion_worker.room import make_room

PLACES = torch.tensor([3, 0, 4, 1, 2])


def _images(count: int = 5, channels: int = 3, size: int = 8) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=draw)


def _stored(store, *shards: torch.Tensor) -> Pixels:
    kept = [
        store.put_bytes(f"jobs/1/1/{number}", shard.permute(0, 2, 3, 1).numpy().tobytes())
        for number, shard in enumerate(shards)
    ]
    told = [Shard(object=o, images=len(s), channels=s.shape[1]) for o, s in zip(kept, shards, strict=True)]
    most = max(shard.channels for shard in told)
    return Pixels(size=shards[0].shape[2], channels=most, order="nhwc", shards=told)


def _fetch(context, pixels: Pixels, places: torch.Tensor = PLACES) -> torch.Tensor:
    return fetch_pixels(context.store, pixels, places, key="k" * 8, settings=context.settings)


def _file(context) -> Path:
    return context.settings.cache_dir / "pixels" / f"{'k' * 8}.bin"


def test_images_come_in_the_order_of_the_rows_and_are_fetched_once(make, monkeypatch):
    context, images = make(), _images()
    pixels = _stored(context.store, images[:2], images[2:])
    found = _fetch(context, pixels)
    assert torch.equal(found, images[PLACES])
    found.zero_()  # private: does not reach the file
    again = make()
    monkeypatch.setattr(again.store, "get_bytes", lambda stored: pytest.fail("it is there"))
    assert torch.equal(_fetch(again, pixels), images[PLACES])


def test_grey_images_have_one_channel(make):
    context, grey = make(), _images(channels=1)
    assert torch.equal(_fetch(context, _stored(context.store, grey)), grey[PLACES])


def test_grey_images_before_others_get_three_channels(make):
    context, grey, coloured = make(), _images(3, channels=1), _images(2)
    pixels = _stored(context.store, grey, coloured)
    for _ in range(2):
        assert torch.equal(_fetch(context, pixels), torch.cat([grey.expand(-1, 3, -1, -1), coloured])[PLACES])


@pytest.mark.parametrize("harm", ["flipped", "cut", "emptied", "flipped in a repeated channel"])
def test_a_damaged_copy_is_mended_from_the_store(make, harm):
    """A pixel that flips would train silently, and a resumed run would end otherwise than its twin."""
    context = make()
    shards = (_images(3, channels=1), _images(2))
    pixels = _stored(context.store, *shards)
    expected = _fetch(context, pixels).clone()
    file = _file(context)
    data = bytearray(file.read_bytes())
    row = PLACES.tolist().index(0 if harm == "flipped in a repeated channel" else 4)
    data[(row + 1) * 3 * 64 - 1] ^= 1
    file.write_bytes({"cut": data[:-70], "emptied": b""}.get(harm, data))
    assert torch.equal(_fetch(make(), pixels), expected)


def test_a_copy_that_was_half_written_is_completed(make, monkeypatch):
    """As a worker that was killed leaves it: all blocks taken, some images there."""
    context, images = make(), _images()
    pixels = _stored(context.store, images[:2], images[2:])
    get = context.store.get_bytes
    fails = iter([False, True])

    def get_or_fail(stored):
        if next(fails):
            raise Unavailable("away")
        return get(stored)

    monkeypatch.setattr("transfusion_worker.pixels.THREADS", 1)
    monkeypatch.setattr(context.store, "get_bytes", get_or_fail)
    with pytest.raises(Unavailable, match="away"):
        _fetch(context, pixels)
    assert torch.equal(_fetch(make(), pixels), images[PLACES])


def test_a_flipped_bit_in_the_store_is_found(make):
    context = make()
    pixels = _stored(context.store, _images())
    path = Path(context.settings.store_url.removeprefix("file://")) / pixels.shards[0].object.key
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)
    with pytest.raises(ObjectCorrupt):
        _fetch(context, pixels)


def test_shards_that_do_not_fit_are_an_error(make):
    context = make()
    pixels = _stored(context.store, _images())
    with pytest.raises(DataError, match="expected pixels of 4 images, found those of 5"):
        _fetch(context, pixels, PLACES[:4])
    short = pixels.model_copy(update={"size": 9})
    with pytest.raises(DataError, match="expected 1215 bytes of pixels"):
        _fetch(context, short)


def test_those_who_fetch_at_once_all_get_the_pixels(make):
    images = _images(60)
    places = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    contexts = [make() for _ in range(4)]
    pixels = _stored(contexts[0].store, *images.split(10))
    together = threading.Barrier(4)

    def fetch(context) -> torch.Tensor:
        together.wait(timeout=60)
        return _fetch(context, pixels, places)

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(fetch, contexts):
            assert torch.equal(found, images[places])


def test_pixels_in_use_are_never_removed_and_others_make_room_for_new_ones(make):
    user = make()
    pixels = _stored(user.store, _images())
    found = _fetch(user, pixels)
    cache_dir, file = user.settings.cache_dir, _file(user)
    assert make_room(cache_dir, most_bytes=0) == 0
    assert torch.equal(found, _images()[PLACES])
    del found
    assert make_room(cache_dir, most_bytes=0) == 5 * 3 * 64
    assert not file.exists()
    _fetch(make(), pixels)
    small = make(cache_bytes=1500)
    fetch_pixels(small.store, pixels, PLACES, key="other", settings=small.settings)
    assert [path.name for path in (cache_dir / "pixels").glob("*.bin")] == ["other.bin"]


def test_a_full_disk_is_an_outage_and_leaves_nothing(make, tmp_path):
    with small_disk(tmp_path / "disk", size_bytes=1 << 20) as disk:
        context = make(cache_dir=disk.folder)
        pixels = _stored(context.store, _images(5, size=400))
        with pytest.raises(Unavailable, match="disk is full: no room for 2400000 bytes of pixels"):
            _fetch(context, pixels)
        assert [path.name for path in (disk.folder / "pixels").glob("*.bin")] == []
