"""A tiny network and toy data that it can learn in a few steps."""

from collections import OrderedDict
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from transfusion_core.science.seeds import generator
from transfusion_core.science.training.batches import Sampling, TrainingData


def _batch_indices(step: int, *, n: int, batch_size: int, seed: int) -> Tensor:
    return torch.randint(n, (batch_size,), generator=generator(seed, "order", str(step)))


def _epoch_of(step: int, *, n: int, batch_size: int) -> int:
    return step * batch_size // n


def _uniform(samples: Tensor, *, purpose: str, epoch: int, seed: int) -> Tensor:
    return torch.rand(80, generator=generator(seed, purpose, str(epoch)), dtype=torch.float64)[samples]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads, and on a busy machine waiting for one took most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cpu() -> torch.device:
    return torch.device("cpu")


@pytest.fixture
def make_data() -> Callable[..., TrainingData]:
    """Noise images whose brightness is their class: 40 to train on, 20 each in val and test."""

    def make(task: str = "multiclass", classes: int = 2) -> TrainingData:
        draw = generator(0, "toy")
        grades = torch.arange(80) % classes
        noise = torch.randint(0, 60, (80, 3, 8, 8), generator=draw)
        images = (noise + (grades * 180 // max(classes - 1, 1))[:, None, None, None]).to(torch.uint8)
        one_hot = nn.functional.one_hot(grades, classes).float()
        return TrainingData(
            images=images,
            labels=one_hot if task == "multilabel" else grades,
            train=torch.arange(40),
            val=torch.arange(40, 60),
            test=torch.arange(60, 80),
            mean=torch.full((3,), 0.5),
            std=torch.full((3,), 0.25),
            classes=tuple(f"c{i}" for i in range(classes)),
            sampling=Sampling(_batch_indices, _epoch_of, _uniform),
        )

    return make


@pytest.fixture
def make_noisy(make_data) -> Callable[[], TrainingData]:
    """Toy data of which a quarter of the validation labels are wrong: the surer a network is, the worse is its loss."""

    def make() -> TrainingData:
        data = make_data()
        data.labels[40:60:4] = 1 - data.labels[40:60:4]
        return data

    return make


@pytest.fixture
def make_model() -> Callable[..., nn.Module]:
    """Conv, batch norm, dropout, pool, head: each part that could break a promise of the loop."""

    def make(classes: int = 2, seed: int = 0) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1, bias=False),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.Dropout(0.1),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(8, classes),
            )

    return make


@pytest.fixture
def make_staged() -> Callable[..., nn.Module]:
    """A network of two named stages and a head."""

    def make(classes: int = 2, seed: int = 0) -> nn.Module:
        def stage(channels: int) -> nn.Module:
            return nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            parts = {
                "stage1": stage(3),
                "stage2": stage(8),
                "pool": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1)),
                "head": nn.Linear(8, classes),
            }
        model = nn.Sequential(OrderedDict(parts))
        model.feature_info = [{"module": "stage1"}, {"module": "stage2"}]
        model.default_cfg = {"classifier": "head"}
        return model

    return make


class Fragile(nn.Module):
    """Its answers in training are no numbers once its head has moved further than `limit`."""

    def __init__(self, model: nn.Module, limit: float) -> None:
        super().__init__()
        self.model, self.limit = model, limit
        self.start = model[-1].weight.detach().clone()

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.model(images)
        moved = (self.model[-1].weight - self.start).abs().max()
        return answer * float("nan") if self.training and moved > self.limit else answer


@pytest.fixture
def make_fragile(make_model) -> Callable[[float], nn.Module]:
    """Adam at a learning rate of 0.1 breaks it after five updates, where `limit` is 0.45; at 0.01 it is safe."""
    return lambda limit=0.45: Fragile(make_model(), limit)
