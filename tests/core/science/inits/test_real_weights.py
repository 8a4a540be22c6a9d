"""Real ImageNet weights: every tensor has its place, and the networks then know what is on real pictures."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from transfusion_core.science.inits.initialise import initialise
from transfusion_core.science.inits.matching import match
from transfusion_core.science.inits.naming import map_keys
from transfusion_core.science.inits.sources import load_weights
from transfusion_core.science.models.build import build_random, head_names
from transfusion_core.specs.init import InitSpec

DATA = Path(os.environ.get("TRANSFUSION_TEST_DATA", Path(__file__).parents[5] / "shared" / "data")) / "weights"
SAMPLES = DATA / "imagenet_sample_100.zip"

pytestmark = pytest.mark.skipif(
    not SAMPLES.is_file(), reason=f"no real weights: {SAMPLES} is not there (TRANSFUSION_TEST_DATA)"
)


def samples(*, mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """100 pictures (100, 3, 224, 224), the middle of each, and their classes (100,)."""
    images, classes = [], []
    with zipfile.ZipFile(SAMPLES) as archive:
        for name in sorted(name for name in archive.namelist() if not name.endswith("/")):
            start = Path(name).name.partition("_")[0]
            if start.isdigit():
                images.append(_picture(archive.read(name)))
                classes.append(int(start))
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255  # (n, h, w, c) to (n, c, h, w)
    moments = [torch.tensor(moment).view(3, 1, 1) for moment in (mean, std)]
    return (pixels - moments[0]) / moments[1], torch.tensor(classes)


def _picture(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    return np.asarray(image.crop((left, top, left + 224, top + 224)))


def fill(model: nn.Module, file: str) -> nn.Module:
    """The network with all that the file has, head and all; nothing is left over, adapted or skipped."""
    found = match(model, map_keys(load_weights(DATA / file), model), head=())
    assert (found.skipped, found.adapted, found.unused) == ({}, {}, [])
    model.load_state_dict(found.tensors)
    return model.eval()


def right(model: nn.Module, images: Tensor, classes: Tensor) -> float:
    with torch.inference_mode():
        answers = torch.cat([model(some).argmax(1) for some in images.split(20)])
    return float((answers == classes).float().mean())


def test_mobilenet_knows_most_of_the_sample_pictures() -> None:
    images, classes = samples(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    model = fill(timm.create_model("mobilenetv2_100", pad_type="same"), "mobilenetv2_100.pth")
    assert len(classes) == 100
    assert right(model, images, classes) > 0.75  # .86 in the data's own description


def test_squeezenet_knows_half_of_the_sample_pictures() -> None:
    images, classes = samples(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    model = fill(torchvision.models.squeezenet1_0(), "squeezenet1_0.pth")
    assert right(model, images, classes) > 0.5  # .60 in the data's own description


def test_mobilenet_starts_a_run_with_every_tensor_copied_but_a_new_head() -> None:
    model = build_random("mobilenetv2_100", classes=5, image_size=32, seed=0)
    source = map_keys(load_weights(DATA / "mobilenetv2_100.pth"), model)
    init = InitSpec(kind="pretrained", source="s")
    report = initialise(model, init, source=source, source_digest=None, head=head_names(model), seed=0)
    actions = [row.action for row in report.tensors]
    assert (actions.count("copied"), actions.count("random"), len(actions)) == (312, 2, 314)


def test_weights_of_another_network_are_refused_with_a_bounded_list() -> None:
    model = build_random("mobilenetv2_100", classes=5, image_size=32, seed=0)
    with pytest.raises(Exception, match=r"missing: conv_stem\.weight.* and \d+ more; unexpected: features") as caught:
        match(model, map_keys(load_weights(DATA / "squeezenet1_0.pth"), model), head=head_names(model))
    assert len(str(caught.value)) < 3000
