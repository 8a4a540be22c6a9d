"""Pixels of one size: all images of a pack, ready for a network, as shards that are bytes and nothing else.

A shard is uint8 (n, size, size, c), its images in the pack's order. Grey images have one channel for as long as no
image with colours came, three afterwards.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfusion_core.errors import DataError
from transfusion_core.science.data import batching
from transfusion_core.science.data.ahead import ahead
from transfusion_core.science.data.batching import Batches, Keep
from transfusion_core.science.data.decoders import Decoders
from transfusion_core.science.data.images import UnreadableImage
from transfusion_core.science.data.pack import Kept, pixels_in
from transfusion_core.science.data.resizing import squared
from transfusion_core.specs.dataset import Pixels, Shard

_BLOCK = 256
"""Images per piece of work when pixels are counted."""

Square = NDArray[np.uint8]
"""(size, size, c), c 1 or 3."""


class PixelsWriter(Batches[Square, Shard]):
    """Writes shards of the images that it is given, all of one size."""

    def __init__(self, size: int, keep: Keep) -> None:
        self._size, self._channels = size, 1
        # Of this shard and of the one that is written meanwhile: new memory for each image takes longer than its copy.
        self._memory = [np.empty(0, np.uint8)] * 2

        def write(number: int, squares: Sequence[Square]) -> Shard:
            data = self._memory[number % 2][: sum(square.nbytes for square in squares)].data
            stored = keep(data, f"pixels-{size}-{number:05d}.bin")
            return Shard(object=stored, images=len(squares), channels=squares[0].shape[2])

        super().__init__(write)

    def add_image(self, square: Square) -> None:
        """Add an image, after those before it."""
        channels = square.shape[2]
        if channels > self._channels:
            self.end_batch()
        self._channels = max(self._channels, channels)
        shape = (self._size, self._size, self._channels)
        self.make_room(math.prod(shape))
        place = self._place(math.prod(shape)).reshape(shape)
        np.copyto(place, square)
        self.add(place, size_bytes=place.nbytes)

    def _place(self, size_bytes: int) -> NDArray[np.uint8]:
        """Where the next image of the shard belongs."""
        which, begin = self.number % 2, self.size_bytes
        if len(self._memory[which]) < begin + size_bytes:
            self._memory[which] = np.empty(max(batching.BATCH_BYTES, size_bytes), np.uint8)
        return self._memory[which][begin : begin + size_bytes]

    def pixels(self) -> Pixels:
        """Where they lie, all of them."""
        return Pixels(size=self._size, channels=self._channels, order="nhwc", shards=self.end())


def squares(images: Iterable[Kept], *, size: int, threads: int) -> Iterator[Square]:
    """The images of a pack at one size. Raises DataError where one cannot be read again."""
    with Decoders() as decoders:

        def square(image: Kept) -> Square:
            return squared(pixels_in(image, decoders), size)

        try:
            yield from ahead(square, images, threads=threads)
        except UnreadableImage as error:
            raise DataError(f"an image of the pack: {error}") from error


@dataclass(frozen=True)
class ChannelMoments:
    """Mean and standard deviation of each of three channels, of pixels in [0, 1]."""

    mean: list[float]
    std: list[float]


def mean_std(images: Tensor, indices: Tensor) -> ChannelMoments:
    """Moments per channel over images[indices] of uint8 (n, c, h, w), exact: counted per value, summed in float64.

    The one channel of grey images stands for three.
    """
    channels = images.shape[1]
    counts = torch.zeros(channels, 256, dtype=torch.int64)
    for start in range(0, len(indices), _BLOCK):
        pixels = images[indices[start : start + _BLOCK]]
        for channel in range(channels):
            counts[channel] += torch.bincount(pixels[:, channel].flatten().to(torch.int32), minlength=256)
    share = (counts.double() / counts.sum(1, keepdim=True)).expand(3, -1)
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = share @ values
    variance = (share * (values - mean[:, None]) ** 2).sum(1)
    return ChannelMoments(mean.tolist(), variance.sqrt().tolist())
