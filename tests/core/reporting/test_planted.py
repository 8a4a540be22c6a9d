"""Effects planted in networks that are really trained are found by the report, where they are and nowhere else.

Small networks tell gratings of two angles apart; their source told three. What differs between the arms is known, as it
was put there. Without batch norm: pretrained ones begin with all of the source's weights, Mean-Var ones with their
scale alone, which is He's, under which such a network learns at once; torch's own default shrinks what passes a layer.
With batch norm: those that share begin with the source's two lowest stages, which stay as they are.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from studies import expansion, jobs
from transfusion_core.reporting.build import build
from transfusion_core.science.data import sampling
from transfusion_core.science.inits.initialise import initialise
from transfusion_core.science.movement import weight_movement
from transfusion_core.science.similarity.compare import compare
from transfusion_core.science.similarity.options import Options
from transfusion_core.science.training.batches import Sampling, TrainingData
from transfusion_core.science.training.loop import train
from transfusion_core.specs.init import InitSpec
from transfusion_core.specs.report import Report, Row
from transfusion_core.specs.training import TrainingSpec

SIZE, RADIANS_PER_PIXEL, CHANNELS, SEEDS = 16, 0.9, 16, 4
STAGES = ["stage1", "stage2", "stage3", "stage4"]
PLAIN = TrainingSpec(steps=80, eval_every=4, batch_size=32, lr=0.01, optimizer="sgd", momentum=0.9)
NORMED = TrainingSpec(steps=60, eval_every=20, batch_size=32, lr=0.003, optimizer="adam")
SIMILARITY = {"measures": ["svcca"], "images": 120}
OPTIONS = Options(intervals=False, permute=False)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Net(nn.Module):
    """Four convolutions and a head."""

    def __init__(self, classes: int, *, seed: int, norm: bool) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stage1 = _stage(3, norm=norm)
        self.stage2 = nn.Sequential(nn.MaxPool2d(2), *_stage(CHANNELS, norm=norm))
        self.stage3 = nn.Sequential(*_stage(CHANNELS, norm=norm), nn.MaxPool2d(2))
        self.stage4 = _stage(CHANNELS, norm=norm)
        self.head = nn.Linear(CHANNELS, classes)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.stage4(self.stage3(self.stage2(self.stage1(images))))
        return self.head(found.mean((2, 3)))


def _stage(channels: int, *, norm: bool) -> nn.Sequential:
    normed = [nn.BatchNorm2d(CHANNELS)] if norm else []
    return nn.Sequential(nn.Conv2d(channels, CHANNELS, 3, padding=1, bias=False), *normed, nn.ReLU())


def gratings(classes: int, *, seed: int, images: int = 440) -> TrainingData:
    """Stripes at one of so many angles, of any phase, under noise."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % classes
    angles, phases = labels * np.pi / classes, torch.rand(images, generator=draw) * 2 * np.pi
    y, x = torch.meshgrid(torch.arange(SIZE).float(), torch.arange(SIZE).float(), indexing="ij")
    along = x * angles.sin()[:, None, None] + y * angles.cos()[:, None, None]
    waves = torch.sin(RADIANS_PER_PIXEL * along + phases[:, None, None])[:, None].expand(images, 3, SIZE, SIZE)
    pixels = 127 + 60 * waves + 40 * torch.randn(images, 3, SIZE, SIZE, generator=draw)
    order = torch.randperm(images, generator=draw)
    return TrainingData(
        images=pixels.clamp(0, 255).to(torch.uint8)[order],
        labels=labels[order],
        train=torch.arange(300),
        val=torch.arange(300, 320),
        test=torch.arange(320, images),
        mean=torch.full((3,), 0.5),
        std=torch.full((3,), 0.25),
        classes=tuple(f"{number}" for number in range(classes)),
        sampling=Sampling(sampling.batch_indices, sampling.epoch_of, _unflipped),
    )


def _unflipped(samples: Tensor, *, purpose: str, epoch: int, seed: int) -> Tensor:
    """A mirrored grating is one of another angle."""
    return torch.zeros(len(samples), dtype=torch.float64)


TARGET = gratings(2, seed=0)


def source(*, norm: bool) -> dict[str, Tensor]:
    """Weights of a network that began at He's scale and told three angles apart."""
    net = Net(3, seed=1000, norm=norm)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    train(net, gratings(3, seed=1), NORMED if norm else PLAIN, task="multiclass", seed=1000, device=CPU)
    return dict(net.state_dict())


class Trained:
    """One run: the network as it began and ended, and its test AUROC on the way."""

    def __init__(self, init: str, weights: dict[str, Tensor], *, seed: int, shared: int = 0) -> None:
        norm = "stage1.1.weight" in weights
        net = Net(2, seed=seed, norm=norm)
        spec = InitSpec(kind=init, source=None if init == "random" else "natural").resolved()
        initialise(net, spec, source=weights, source_digest=None, head=["head"], seed=seed)
        for stage in STAGES[:shared]:
            getattr(net, stage).load_state_dict(
                {name.removeprefix(f"{stage}."): tensor for name, tensor in weights.items() if name.startswith(stage)}
            )
            getattr(net, stage).requires_grad_(False)
        self.init = deepcopy(net)
        trained = train(net, TARGET, NORMED if norm else PLAIN, task="multiclass", seed=seed, device=CPU)
        self.final = net
        (self.curve,) = [each for each in trained.series if (each.name, each.split) == ("auroc", "test")]


def report(runs: dict[str, list[Trained]], sections: list[str]) -> Report:
    """The report of a study whose runs are these, by init and seed: curves and similarities are real."""
    inits = [init if init == "random" else {"kind": init, "source": "natural"} for init in runs]
    words = {"models": ["cbr-tiny"], "inits": inits, "seeds": SEEDS, "similarity": SIMILARITY}
    expanded = expansion(sections=sections, **words)
    done = jobs(expanded)
    for job in done:
        labels = job["labels"]
        if job["kind"] == "train" and labels["role"] == "cell":
            run = runs[labels["init"]][labels["seed"]]
            job["result"]["series"] = [run.curve.model_dump()]
            job["result"]["metrics"]["test"]["auroc"] = run.curve.values[-1]
        if job["kind"] == "compare":
            sides = (runs[side["init"]][side["seed"]] for side in (labels["a"], labels["b"]))
            names = (labels[side]["checkpoint"] for side in "ab")
            a, b = (getattr(run, name) for run, name in zip(sides, names, strict=True))
            weights = [vars(each) for each in weight_movement(a.state_dict(), b.state_dict())]
            job["result"] |= {"results": similarities(a, b), "layers_a": STAGES, "layers_b": STAGES, "weights": weights}
            job["result"]["between"] = []
    return build(expanded.spec.model_dump(mode="json"), done)


def similarities(a: nn.Module, b: nn.Module) -> list[dict[str, Any]]:
    images = (TARGET.images[TARGET.test].float() / 255 - 0.5) / 0.25
    found = compare(a.eval(), b.eval(), images, layers=STAGES, measures=["svcca"], options=OPTIONS)
    return [vars(each) for each in found]


def in_common(made: Report, pair: str) -> list[float]:
    """Stage by stage, the cosine of what two trained networks have for weights, over pairs."""
    table = made.sections["similarity"].table
    return [row.value for row in table if row.pair == pair and row.measure == "cosine" and row.layer[:6] in STAGES]


def by_stage(made: Report, section: str, pair: str) -> list[Row]:
    table = made.sections[section].table
    return [row for row in table if row.pair == pair and row.layer and row.measure == "svcca" and row.metric is None]


def alike(made: Report, init: str) -> list[bool]:
    """Stage by stage: are trained networks of the arm more alike than random ones, beyond both intervals?"""
    ours, random = (by_stage(made, "similarity", f"{kind}-{kind}") for kind in (init, "random"))
    assert [row.layer for row in ours] == [row.layer for row in random] == STAGES
    return [a.interval[0] > b.interval[1] for a, b in zip(ours, random, strict=True)]


def speeds_up(made: Report, init: str) -> bool:
    """Does the arm reach the threshold sooner than random, after correction for all that was tested?"""
    table = made.sections["convergence"].table
    (row,) = [row for row in table if row.metric == "speed_up" and row.pair == f"{init}-random"]
    assert row.value is None or row.value > 1, "some began above the threshold: there is a lower bound alone"
    return row.p_adjusted is not None and row.p_adjusted < 0.05


@pytest.fixture(scope="module")
def made() -> Report:
    """Of networks from nothing, from a source, and from the scale of its weights alone."""
    weights = source(norm=False)
    kinds = ("random", "pretrained", "mean_var")
    runs = {kind: [Trained(kind, weights, seed=seed) for seed in range(SEEDS)] for kind in kinds}
    return report(runs, ["similarity", "convergence"])


def test_the_scale_of_weights_alone_speeds_up_training_and_is_no_reuse(made: Report) -> None:
    assert speeds_up(made, "mean_var")
    assert alike(made, "mean_var") == [False] * 4


def test_features_that_are_taken_over_speed_up_training_and_are_reuse(made: Report) -> None:
    assert speeds_up(made, "pretrained")
    assert alike(made, "pretrained")[:2] == [True, True]


def test_networks_that_share_their_two_lowest_stages_are_found_to_and_to_share_nothing_else() -> None:
    weights = source(norm=True)
    runs = {
        "random": [Trained("random", weights, seed=seed) for seed in range(SEEDS)],
        "pretrained": [Trained("random", weights, seed=seed, shared=2) for seed in range(SEEDS)],
    }
    made = report(runs, ["similarity", "reuse"])
    assert alike(made, "pretrained") == [True, True, False, False]
    kept = by_stage(made, "reuse", "pretrained-random")
    assert [row.layer for row in kept] == STAGES
    assert all(row.interval[0] > 0 and row.p_adjusted < 0.05 for row in kept[:2])
    assert [value > 0.99 for value in in_common(made, "pretrained-pretrained")] == [True, True, False, False]
    assert all(abs(value) < 0.5 for value in in_common(made, "random-random"))
