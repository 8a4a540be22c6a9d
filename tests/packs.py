"""What an ingest stores, kept in memory, and read again as jobs read it."""

from collections.abc import Sequence
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from transfusion_core.science.data.annotations import Annotations
from transfusion_core.science.data.pack import Kept, images_in
from transfusion_core.specs.dataset import IngestResult, Pixels, StoredObject


class Shelf:
    """A place to keep bytes by name: the `keep` of an ingest."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self._lock = Lock()

    def __call__(self, data: bytes | bytearray | memoryview, name: str) -> StoredObject:
        with self._lock:
            self.kept[name] = bytes(data)
        return StoredObject(key=name, size_bytes=len(data), sha256="0" * 64)

    def annotations(self, found: IngestResult) -> Annotations:
        """What an ingest found of its images."""
        return Annotations.read(self.kept[found.annotations.key])

    def pack(self, pieces: Sequence[StoredObject]) -> list[Kept]:
        """The images of a pack in its order."""
        return [image for piece in pieces for image in images_in(self.kept[piece.key])]

    def images(self, found: IngestResult) -> list[Kept]:
        """The images of a dataset in the order of its rows."""
        pack = self.pack(found.pack)
        return [pack[place] for place in self.annotations(found).places.tolist()]

    def pixels(self, pixels: Pixels) -> Tensor:
        """The images of a pack at one size, in its order, (n, 3, size, size), channels last in memory."""
        side = pixels.size
        shards = [
            np.frombuffer(self.kept[shard.object.key], np.uint8).reshape(-1, side, side, shard.channels)
            for shard in pixels.shards
        ]
        return torch.cat([torch.tensor(shard).expand(-1, -1, -1, 3) for shard in shards]).permute(0, 3, 1, 2)
