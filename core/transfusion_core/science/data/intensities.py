"""How bright images are: moments and a histogram of each channel, every image counting alike however large it is."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transfusion_core.specs.profile import INTENSITY_BINS, Intensity

Channel = Literal["grey", "red", "green", "blue"]
_COLOURS: tuple[Channel, ...] = ("red", "green", "blue")


def shares(image: Image.Image) -> NDArray[np.float64]:
    """Shares of an RGB image's pixels by channel and value, (3, 256)."""
    return np.array(image.histogram(), np.float64).reshape(3, 256) / (image.width * image.height)


def intensities(mean_shares: NDArray[np.float64], *, channels: int) -> list[Intensity]:
    """What the mean of `shares` over images comes to; of grey images (one channel) the three are one."""
    values = np.arange(256) / 255
    names: tuple[Channel, ...] = ("grey",) if channels == 1 else _COLOURS
    found = []
    for name, share in zip(names, mean_shares, strict=False):
        mean = float(share @ values)
        std = float(np.sqrt(share @ (values - mean) ** 2))
        histogram = share.reshape(INTENSITY_BINS, -1).sum(1).tolist()
        found.append(Intensity(channel=name, mean=mean, std=std, histogram=histogram))
    return found
