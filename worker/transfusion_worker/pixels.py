"""A worker's local copies of pixels: one file for all shards, its images in the order of a dataset's rows, mapped.

Each use checks the copy, shard by shard, and fetches again what is missing or damaged. A copy is held as those of
`cache.py` are, by a shared lock, for as long as it is mapped: a mapping keeps the handle that has the lock.
"""

import errno
import fcntl
import hashlib
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from transfusion_core.errors import DataError, Unavailable
from transfusion_core.settings import Settings
from transfusion_core.specs.dataset import Pixels
from transfusion_core.store import Store
from transfusion_worker.room import make_room

THREADS = 4
"""That fetch or check shards; each has one in memory."""


def fetch_pixels(store: Store, pixels: Pixels, places: Tensor, *, key: str, settings: Settings) -> Tensor:
    """The images at `places` (n,) of the shards, uint8 (n, c, size, size) with its channels last in memory, mapped.

    `key` is that of the job that made them. Writing to the tensor does not change the file. Processes that fetch at
    once wait for each other, and would write the same bytes. Unavailable where the disk is full.
    """
    path = settings.cache_dir / "pixels" / f"{key}.bin"
    with _held(path) as handle:
        copy = _Copy(handle, pixels, places)
        try:
            _complete(copy, store, path, settings)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            path.unlink(missing_ok=True)
            told = f"the worker's disk is full: no room for {copy.size_bytes} bytes of pixels in {path}"
            raise Unavailable(told) from error
        os.utime(handle)  # its last use, by which room is made
        return copy.mapped()


def _complete(copy: "_Copy", store: Store, path: Path, settings: Settings) -> None:
    """Fetch what is missing or damaged."""
    shards = range(copy.shards)
    is_new = os.fstat(copy.handle).st_size < copy.size_bytes
    if is_new:  # All blocks now: a page of a mapped file for which there is no room is a SIGBUS, not an error.
        most_bytes = max(0, settings.cache_bytes - copy.size_bytes)
        make_room(settings.cache_dir, most_bytes=most_bytes, free_bytes=copy.size_bytes)
        os.posix_fallocate(copy.handle, 0, copy.size_bytes)
    if wrong := shards if is_new else copy.damaged(shards):
        with _alone(path) as waited:
            copy.fetch(store, copy.damaged(wrong) if waited else wrong)


class _Copy:
    """The open file of some pixels."""

    def __init__(self, handle: int, pixels: Pixels, places: Tensor) -> None:
        self.handle, self._pixels = handle, pixels
        self._channels = pixels.channels
        self._shape = (len(places), pixels.size, pixels.size, pixels.channels)
        self._image_bytes = pixels.channels * pixels.size**2
        self.size_bytes = len(places) * self._image_bytes
        self.shards = len(pixels.shards)
        ends = np.cumsum([0, *(shard.images for shard in pixels.shards)])
        if ends[-1] != len(places):
            raise DataError(f"expected pixels of {len(places)} images, found those of {ends[-1]}")
        rows = torch.argsort(places).tolist()
        self._rows: list[list[int]] = [rows[a:b] for a, b in pairwise(ends)]

    def damaged(self, numbers: Iterable[int]) -> list[int]:
        """Those of these shards whose images are not what was written."""
        with ThreadPoolExecutor(THREADS) as pool:
            numbers = list(numbers)
            return [
                each for each, is_right in zip(numbers, pool.map(self._is_right, numbers), strict=True) if not is_right
            ]

    def _is_right(self, number: int) -> bool:
        shard, sha256 = self._pixels.shards[number], hashlib.sha256()
        for row in self._rows[number]:
            image = os.pread(self.handle, self._image_bytes, row * self._image_bytes)
            plain = image[:: self._channels // shard.channels]
            sha256.update(plain)
            if shard.channels < self._channels and self._whole(plain) != image:
                return False
        return sha256.hexdigest() == shard.object.sha256

    def fetch(self, store: Store, numbers: Sequence[int]) -> None:
        """Write these shards' images, each to its row."""
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(lambda number: self._fetch(store, number), numbers):
                pass

    def _fetch(self, store: Store, number: int) -> None:
        shard = self._pixels.shards[number]
        data = memoryview(store.get_bytes(shard.object))
        each = shard.channels * self._pixels.size**2
        if len(data) != each * shard.images:
            raise DataError(f"expected {each * shard.images} bytes of pixels at {shard.object.key}, found {len(data)}")
        for place, row in enumerate(self._rows[number]):
            image = data[place * each : (place + 1) * each]
            whole = image if shard.channels == self._channels else self._whole(image)
            os.pwrite(self.handle, whole, row * self._image_bytes)

    def _whole(self, grey: bytes | memoryview) -> bytes:
        """A grey image with its one channel in all."""
        return np.frombuffer(grey, np.uint8).repeat(self._channels).tobytes()

    def mapped(self) -> Tensor:
        """All images."""
        mapping = mmap.mmap(self.handle, self.size_bytes, access=mmap.ACCESS_COPY)
        return torch.frombuffer(mapping, dtype=torch.uint8).view(self._shape).permute(0, 3, 1, 2)


@contextmanager
def _held(path: Path) -> Iterator[int]:
    """The file at this path, made where there is none, open; nobody removes it meanwhile, nor while it is mapped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                yield handle
                return
        finally:
            os.close(handle)


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """One process at a time; whether there was another one before."""
    with path.with_name(f".{path.name}.filling").open("w") as file:
        waited = False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(file, fcntl.LOCK_EX)
            waited = True
        yield waited
