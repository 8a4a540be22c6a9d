"""Pixels of any size to pixels of one: how an image is resized is part of what a network sees.

Antialiased bilinear to a square, in whole numbers, by torch's kernel: the same pixels on every processor, and those of
Pillow to within one step of 255, in a quarter of its time. Where this changes, the epoch of `pixels` is raised.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


def squared(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """An image uint8 (h, w, c) resized to (size, size, c), in memory of its own, without regard to its aspect ratio."""
    if pixels.shape[:2] == (size, size):
        return np.array(pixels, order="C")
    image = resized(torch.from_numpy(np.require(pixels, requirements="W")), size, size)
    return np.ascontiguousarray(image.numpy())


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """An image uint8 (h, w, c) on the CPU, c 1 or 3, at another size, uint8 (height, width, c)."""
    # Three channels, even of a grey image: only for these has torch a fast kernel.
    planes = image[None].permute(0, 3, 1, 2).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
    planes = functional.interpolate(planes, size=(height, width), mode="bilinear", antialias=True)
    return planes[0, : image.shape[2]].permute(1, 2, 0)
