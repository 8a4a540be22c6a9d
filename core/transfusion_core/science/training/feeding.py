"""Feeds networks: batches gathered, changed and normalised, on their device.

Where all images fit they live on the device and are gathered there. Else one thread gathers a few batches ahead, on
CUDA into pinned memory and over by a stream of its own. Either way gives the same batches, to the bit.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from threading import Barrier
from typing import NamedTuple

import torch
from torch import Tensor

from transfusion_core.science.training.batches import TrainingData, layout, normalise

RESIDENT_SHARE = 0.5
"""Images live on the device where they fill at most this share of its free memory; on the CPU, of the machine's, where
the system keeps the pages of a mapped file."""
AHEAD = 2
"""Batches that wait for the network at most."""


Each = Callable[..., Iterable[None]]
CHUNK_PIXELS = 16 * 224 * 224
"""A CPU finishes so many at a time: enough that Python's share is small, and few enough for its caches (measured)."""


def unchanged(images: Tensor, rows: Tensor) -> Tensor:
    """Images as they are."""
    return images


@dataclass(frozen=True)
class Part:
    """What a network takes at once."""

    rows: Tensor
    """int64 (b,) on the CPU."""
    change: Callable[[Tensor, Tensor], Tensor] = unchanged
    """What becomes of images, uint8 (b, c, h, w) on the device, at some of the rows (b,) before they are normalised."""


def gathered(images: Tensor, at: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The images (n, c, h, w) at `at` (b,), with their channels last in memory where all have them there."""
    if not _has_channels_last(images):
        return torch.index_select(images, 0, at, out=out)
    pixels = images.permute(0, 2, 3, 1)
    return torch.index_select(pixels, 0, at, out=None if out is None else out.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _has_channels_last(images: Tensor) -> bool:
    return images.is_contiguous(memory_format=torch.channels_last)


def resident(data: TrainingData, device: torch.device) -> TrainingData:
    """The data with their pixels on the device, where there is room for them."""
    if device.type != "cuda" or data.images.device == device:
        return data
    free, _ = torch.cuda.mem_get_info(device)
    if data.images.nbytes > RESIDENT_SHARE * free:
        return data
    return replace(data, images=data.images.to(device))


@contextmanager
def feed(data: TrainingData, parts: Iterable[Part], *, device: torch.device) -> Iterator[Iterator[Tensor]]:
    """The images of each part in order, float32 (b, 3, h, w); at the end no thread is left, however it comes.

    On the CPU a batch is good until the next is asked for, which may lie in the same memory: new memory comes from the
    system page by page, and took more time than all that is done to the images (measured).
    """
    with closing(_placed(data.images, parts, device)) as placed, _beside(device) as each:
        yield _finished(data, placed, device, each)


class _Placed(NamedTuple):
    part: Part
    images: Tensor
    """uint8 (n, c, h, w) on the device."""
    at: Tensor
    """Which of them are the part's, int64 (b,) on the CPU."""


def _placed(images: Tensor, parts: Iterable[Part], device: torch.device) -> Generator[_Placed]:
    if not _is_resident(images, device):
        yield from _ahead(_Fetcher(images, device), parts)
        return
    for part in parts:
        yield _Placed(part, images, part.rows)


def _finished(data: TrainingData, placed: Iterable[_Placed], device: torch.device, each: Each) -> Iterator[Tensor]:
    memory = None
    for part, images, at in placed:
        b, (h, w) = len(at), images.shape[2:]
        if memory is None or device.type != "cpu" or len(memory) < b:
            with torch.inference_mode(False):  # other threads write to it, which would not know of that mode
                memory = torch.empty((b, 3, h, w), device=device, memory_format=layout(device))

        def finish(rows: Tensor, at: Tensor, out: Tensor, part: Part = part, images: Tensor = images) -> None:
            changed = part.change(gathered(images, at.to(device)), rows)
            normalise(changed, mean=data.mean, std=data.std, out=out)

        size = max(1, CHUNK_PIXELS // (h * w)) if device.type == "cpu" else max(1, b)
        for _ in each(finish, *(torch.split(whole, size) for whole in (part.rows, at, memory[:b]))):
            pass
        yield memory[:b]


@contextmanager
def _beside(device: torch.device) -> Iterator[Each]:
    """`map`, on the CPU by as many threads as torch has: they wait for one another once a batch, torch's own within
    every operation, which on a busy machine takes ten times as long (measured).
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield map
        return
    with _threads(threads) as pool:
        yield pool.map


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """So many, in each of which torch has no further ones."""
    before, started = torch.get_num_threads(), Barrier(count + 1)

    def start() -> None:
        torch.get_num_threads()  # makes the setting this thread's own: only then can it be another than theirs
        torch.set_num_threads(1)
        started.wait()

    with ThreadPoolExecutor(count, thread_name_prefix="feed") as pool:
        for _ in range(count):
            pool.submit(start)
        started.wait()
        torch.set_num_threads(before)  # what threads begin with, and some libraries' own, is again as it was
        yield pool


def _is_resident(images: Tensor, device: torch.device) -> bool:
    if device.type == "cuda":
        return images.device == device
    return images.nbytes <= RESIDENT_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _ahead(fetcher: "_Fetcher", parts: Iterable[Part]) -> Iterator[_Placed]:
    coming: deque[tuple[Part, Future[_Fetched]]] = deque()
    with _threads(1) as pool:
        try:
            for part in parts:
                coming.append((part, pool.submit(fetcher.fetch, part.rows)))
                if len(coming) > AHEAD:
                    yield fetcher.arrived(*coming.popleft())
            while coming:
                yield fetcher.arrived(*coming.popleft())
        finally:
            for _, fetched in coming:
                fetched.cancel()


class _Fetched(NamedTuple):
    images: Tensor
    copied: torch.cuda.Event | None
    """When they are on the device; None where they are there already."""


class _Fetcher:
    """Takes images (n, c, h, w) from memory to a device."""

    def __init__(self, images: Tensor, device: torch.device) -> None:
        self._images, self._device = images, device
        stream: Callable[[torch.device], torch.cuda.Stream] = torch.cuda.Stream
        self._stream = stream(device) if device.type == "cuda" else None

    def fetch(self, rows: Tensor) -> _Fetched:
        """In a thread of its own: the images at `rows`, on their way."""
        shape = (len(rows), *self._images.shape[1:])
        images = torch.empty(
            shape,
            dtype=self._images.dtype,
            pin_memory=self._stream is not None,
            memory_format=torch.channels_last if _has_channels_last(self._images) else torch.contiguous_format,
        )
        gathered(self._images, rows, out=images)
        if self._stream is None:
            return _Fetched(images, None)
        with torch.cuda.stream(self._stream):
            return _Fetched(images.to(self._device, non_blocking=True), self._stream.record_event())

    def arrived(self, part: Part, fetched: "Future[_Fetched]") -> _Placed:
        """The part with its images, for the stream that computes."""
        images, copied = fetched.result()
        if copied is not None:
            computing = torch.cuda.current_stream(self._device)
            computing.wait_event(copied)
            images.record_stream(computing)  # the memory is another stream's
        return _Placed(part, images, torch.arange(len(images)))
