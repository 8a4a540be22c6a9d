"""A pack: a dataset's images as they are kept, in the order in which they came, in pieces that are read one at a time.

Of files it holds the bytes that their pixels depend on, of arrays the pixels. It has no labels and no names: those are
in the dataset's annotations.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from transfusion_core.errors import DataError
from transfusion_core.science.data.batching import Batches, Keep
from transfusion_core.science.data.decoders import Decoders
from transfusion_core.science.data.images import narrowed
from transfusion_core.specs.dataset import StoredObject

Kept = bytes | NDArray[np.uint8]
"""An image as a pack has it: a cleaned file, or pixels (h, w, c) with c 1 or 3."""


class PackWriter(Batches[Kept, StoredObject]):
    """Writes the images that it is given, all of them files or all of them arrays, to the pieces of a pack."""

    def __init__(self, keep: Keep) -> None:
        super().__init__(lambda number, images: keep(piece_of(images), f"pack-{number:05d}.safetensors"))


def piece_of(images: Sequence[Kept]) -> bytes:
    """Images as a safetensors file: arrays as they are, files end to end and where each begins and ends."""
    if isinstance(images[0], np.ndarray):
        return save({"images": np.stack([np.asarray(image) for image in images])})
    offsets = np.cumsum([0, *map(len, images)], dtype=np.int64)
    return save({"encoded": np.frombuffer(b"".join(map(bytes, images)), np.uint8), "offsets": offsets})


def images_in(piece: bytes) -> list[Kept]:
    """The images of a piece. Raises DataError for what is none."""
    try:
        tensors = load(piece)
        if "images" in tensors:
            return list(tensors["images"])
        encoded, offsets = tensors["encoded"], tensors["offsets"].tolist()
    except (SafetensorError, LookupError) as error:
        raise DataError(f"this is no readable piece of a pack: {error}") from error
    return [encoded[start:end].tobytes() for start, end in pairwise(offsets)]


def pixels_in(image: Kept, decoders: Decoders) -> NDArray[np.uint8]:
    """An image's pixels, as large as it came, uint8 (h, w, c): c is 1 where every pixel is grey, else 3.

    Files are decoded by processes apart. Raises UnreadableImage.
    """
    return decoders.pixels(image) if isinstance(image, bytes) else narrowed(image)
