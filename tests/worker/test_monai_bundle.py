"""A bundle makes of a picture file what the platform makes of it, and its run writes what the network says.

What its JSON says is done by `_preprocessed` here, step by step, and by MONAI itself where that is installed.
"""

import csv
import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from transfusion_core.science.data.images import pixels_in_file
from transfusion_core.science.data.resizing import squared
from transfusion_core.science.export.monai import write_monai
from transfusion_core.science.export.packaged import Contract, Packaged
from transfusion_core.science.models.build import build_random

SIZE = 24


def _noise(*shape: int, most: int = 256) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, most, shape, dtype=np.uint16 if most > 256 else np.uint8)


def _coded(image: Image.Image, form: str = "PNG", **how: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **how)
    return stream.getvalue()


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    return _coded(Image.fromarray(_noise(40, 60, 3)), "JPEG", exif=exif)


PICTURES: dict[str, Callable[[], bytes]] = {
    "colour.png": lambda: _coded(Image.fromarray(_noise(50, 31, 3))),
    "small.png": lambda: _coded(Image.fromarray(_noise(9, 13, 3))),
    "of-this-size.png": lambda: _coded(Image.fromarray(_noise(SIZE, SIZE, 3))),
    "grey.png": lambda: _coded(Image.fromarray(_noise(40, 44))),
    "grey16.png": lambda: _coded(Image.fromarray(_noise(40, 44, most=65_536))),
    "transparent.png": lambda: _coded(Image.fromarray(_noise(40, 44, 4))),
    "grey-transparent.png": lambda: _coded(Image.fromarray(_noise(40, 44, 2), "LA")),
    "palette.png": lambda: _coded(Image.fromarray(_noise(40, 44, 3)).quantize(50)),
    "turned.jpg": _turned,
    "cmyk.jpg": lambda: _coded(Image.fromarray(_noise(40, 44, 3)).convert("CMYK"), "JPEG"),
    "many-bits.tiff": lambda: _coded(Image.fromarray(_noise(40, 44, most=65_536)), "TIFF"),
}


def _ours(data: bytes) -> torch.Tensor:
    """What the platform shows a network of a file, before it is normalised: (3, size, size) in 0..1."""
    pixels = np.broadcast_to(squared(pixels_in_file(data), SIZE), (SIZE, SIZE, 3))
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32) / 255)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "bundle"
    words = {"model": "cbr-tiny", "checkpoint_sha256": "0", "dataset": "d"}
    contract = Contract(classes=3, image_size=SIZE, mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.25], **words)
    write_monai(Packaged(build_random("cbr-tiny", classes=3, image_size=SIZE, seed=1), contract), folder)
    return folder


@pytest.mark.parametrize("name", PICTURES)
def test_a_bundle_makes_of_a_picture_what_the_platform_makes_of_it(name: str, bundle: Path, tmp_path: Path) -> None:
    data = PICTURES[name]()
    (tmp_path / name).write_bytes(data)
    found = _preprocessed(json.loads((bundle / "configs/inference.json").read_text()), tmp_path / name)
    assert torch.allclose(found, _ours(data), atol=1e-6, rtol=0)
    told = json.loads((bundle / "configs/metadata.json").read_text())["network_data_format"]["inputs"]["image"]
    assert list(found.shape) == [told["num_channels"], *told["spatial_shape"]]
    assert str(found.dtype) == f"torch.{told['dtype']}"
    assert told["value_range"][0] <= float(found.min()) <= float(found.max()) <= told["value_range"][1]


def _preprocessed(config: dict[str, Any], file: Path) -> torch.Tensor:
    """What MONAI 1.6 makes of a file by these transforms; any other is an error."""
    names: dict[str, Any] = {}
    for line in config["imports"]:
        exec(line.removeprefix("$"), names)

    def evaluated(expression: str) -> Any:
        return eval(expression.removeprefix("$"), names)

    image: Any = file
    for step in config["preprocessing"]["transforms"]:
        match step:
            case {"_target_": "LoadImaged", "reader": "@reader"}:
                assert config["reader"]["_target_"] == "PILReader"
                with Image.open(file) as opened:
                    plain = np.asarray(evaluated(config["reader"]["converter"])(opened))
                image = torch.from_numpy(np.moveaxis(plain, 0, 1).astype(np.float32))  # (w, h, 3)
            case {"_target_": "EnsureChannelFirstd"}:
                image = image.movedim(-1, 0)  # (3, w, h)
            case {"_target_": "Transposed", "indices": indices}:
                image = image.permute(indices)  # (3, h, w)
            case {"_target_": "Lambdad", "func": func}:
                image = evaluated(func)(image)
            case {"_target_": "ScaleIntensityRanged", "a_min": 0, "a_max": 255, "b_min": 0, "b_max": 1, "clip": True}:
                image = (image / 255).clip(0, 1)
            case _:
                pytest.fail(f"nobody here knows {step}")
    assert isinstance(image, torch.Tensor)
    return image


def test_a_run_of_the_bundle_writes_the_logits_of_every_picture(bundle: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("monai") is None or importlib.util.find_spec("ignite") is None:
        pytest.skip("monai and pytorch-ignite are not installed: only who runs a bundle needs them")
    (tmp_path / "images").mkdir()
    for name, made in PICTURES.items():
        (tmp_path / "images" / name).write_bytes(made())
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    command += ["--meta_file", "configs/metadata.json"]
    command += [f"--dataset_dir={tmp_path}/images", f"--output_dir={tmp_path}/made"]
    subprocess.run(command, cwd=bundle, check=True, capture_output=True, text=True, timeout=120)
    with (tmp_path / "made" / "predictions.csv").open() as file:
        written = {Path(name).name: [float(value) for value in values] for name, *values in csv.reader(file)}
    assert set(written) == set(PICTURES)
    with pytest.warns(FutureWarning, match=r"torch\.export"):
        script = torch.jit.load(str(bundle / "models/model.ts"))  # type: ignore[no-untyped-call]
    for name, made in PICTURES.items():
        assert torch.allclose(torch.tensor(written[name]), script(_ours(made())[None])[0], atol=1e-4), name
