"""Small data and networks of which it is known what they rest on."""

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from transfusion_core.science.data.sampling import batch_indices, epoch_of, uniform
from transfusion_core.science.training.batches import Sampling, TrainingData


@pytest.fixture
def cpu() -> torch.device:
    return torch.device("cpu")


@pytest.fixture
def make_data() -> Callable[..., TrainingData]:
    """Data of images and labels: the first `train` of them teach, the others test."""

    def make(images: Tensor, labels: Tensor, *, train: int, classes: int = 2) -> TrainingData:
        return TrainingData(
            images=images,
            labels=labels,
            train=torch.arange(train),
            val=torch.arange(0),
            test=torch.arange(train, len(images)),
            mean=torch.full((3,), 0.5),
            std=torch.full((3,), 0.25),
            classes=tuple(f"c{i}" for i in range(classes)),
            sampling=Sampling(batch_indices, epoch_of, uniform),
        )

    return make


@pytest.fixture
def bright(make_data) -> TrainingData:
    """Noise images whose brightness is their class: 60 to learn from, 40 to be asked about."""
    labels = torch.arange(100) % 2
    noise = torch.randint(0, 60, (100, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    return make_data((noise + labels[:, None, None, None] * 150).to(torch.uint8), labels, train=60)


def stage(inputs: int, outputs: int = 8) -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), bn=nn.BatchNorm2d(outputs), relu=nn.ReLU()
        )
    )


@pytest.fixture
def make_staged() -> Callable[..., nn.Module]:
    """Three named stages, a pool and a head; weights from `seed`."""

    def make(seed: int = 0, classes: int = 2) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = nn.Sequential(
                OrderedDict(
                    stage1=stage(3),
                    stage2=stage(8),
                    stage3=stage(8),
                    pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
                    head=nn.Linear(8, classes),
                )
            )
        model.feature_info = [{"module": f"stage{n}"} for n in (1, 2, 3)]
        model.default_cfg = {"classifier": "head"}
        return model

    return make


@pytest.fixture
def taught() -> Callable[..., nn.Module]:
    """Train a network on the data's train images, whole batches, until it knows them."""

    def teach(model: nn.Module, data: TrainingData, *, steps: int, lr: float = 3e-3) -> nn.Module:
        images = (data.images.float() / 255 - data.mean[:, None, None]) / data.std[:, None, None]
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        order = torch.Generator().manual_seed(0)
        model.train()
        for _ in range(steps):
            rows = data.train[torch.randperm(len(data.train), generator=order)[:64]]
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[rows]), data.labels[rows]).backward()
            optimizer.step()
        return model.eval()

    return teach
