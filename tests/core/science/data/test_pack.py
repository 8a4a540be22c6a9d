"""Packs: what is written is what is read, piece by piece."""

import numpy as np
import pytest
from safetensors.numpy import save

from packs import Shelf
from transfusion_core.errors import DataError
from transfusion_core.science.data import batching
from transfusion_core.science.data.decoders import Decoders
from transfusion_core.science.data.pack import Kept, PackWriter, images_in, pixels_in


def _written(images: list[Kept]) -> tuple[Shelf, list[Kept]]:
    shelf = Shelf()
    with PackWriter(shelf) as writer:
        for image in images:
            writer.add(image, size_bytes=len(image))
        return shelf, shelf.pack(writer.end())


def test_files_keep_their_own_bytes(png) -> None:
    files: list[Kept] = [png(0), png(1, size=(16, 8)), png(2, form="JPEG", grey=True)]
    assert _written(files)[1] == files


def test_arrays_come_back_as_they_were_and_grey_ones_with_one_channel_of_pixels() -> None:
    arrays = list(np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8))
    arrays[3][:] = arrays[3][..., :1]
    _, again = _written([*arrays])
    np.testing.assert_array_equal(np.stack([np.asarray(image) for image in again]), np.stack(arrays))
    with Decoders() as decoders:
        assert [pixels_in(image, decoders).shape[2] for image in again] == [3, 3, 3, 1, 3, 3]


def test_a_pack_has_as_many_pieces_as_it_takes(png, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "BATCH_BYTES", 2 * len(png(0)))
    files: list[Kept] = [png(number) for number in range(5)]
    shelf, again = _written(files)
    assert sorted(shelf.kept) == [f"pack-0000{number}.safetensors" for number in range(3)]
    assert again == files


def test_the_pixels_of_a_file_are_those_that_decoding_gives(png) -> None:
    with Decoders() as decoders:
        for grey in (False, True):
            file = decoders.clean(png(0, size=(20, 10), grey=grey))
            np.testing.assert_array_equal(pixels_in(file.data, decoders), file.pixels)
            assert file.pixels.shape == (10, 20, 1 if grey else 3)


@pytest.mark.parametrize("data", [b"text", b"", save({"x": np.zeros(1)})])
def test_what_is_no_piece_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="no readable piece"):
        images_in(data)
