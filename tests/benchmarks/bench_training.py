"""Images per second of the training loop against the shortest loop that trains the same network the same way.

Run `PYTHONPATH=core python tests/benchmarks/bench_training.py [MODEL ...]`. `updates`: what the platform reports as a
run's images per second. `whole`: evaluations and checkpoints included, at a run's usual share of them. Rounds
alternate, and the best of each counts. On the CPU it counts the seconds of one thread, not of the wall clock: other
work on the machine then matters less.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from transfusion_core.science.data.sampling import batch_indices, epoch_of, uniform
from transfusion_core.science.models.build import build_random
from transfusion_core.science.training.batches import Sampling, TrainingData
from transfusion_core.science.training.checkpoint import save_checkpoint
from transfusion_core.science.training.hooks import Hooks
from transfusion_core.science.training.loop import train
from transfusion_core.specs.training import TrainingSpec

ROUNDS, CLASSES, IMAGES = 3, 5, 512
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CLOCK = time.process_time if DEVICE.type == "cpu" else time.perf_counter
LAYOUT = torch.channels_last if DEVICE.type == "cpu" else torch.contiguous_format


@dataclass(frozen=True)
class Case:
    """One network and how it is trained."""

    side: int
    batch: int
    steps: int


CASES = {"cbr-tiny": Case(64, 32, 40), "resnet18": Case(64, 32, 20), "resnet50": Case(224, 8, 5)}


class Keeps(Hooks):
    """Writes checkpoints as a run does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_checkpoint(self, step: int, name: str, state_dict: Mapping[str, Tensor]) -> None:
        """Write the weights."""
        save_checkpoint(self.folder / name, state_dict, {})


def noise(side: int) -> TrainingData:
    """Images of noise: their content does not matter to the time."""
    return TrainingData(
        images=torch.randint(0, 256, (IMAGES, 3, side, side), dtype=torch.uint8),
        labels=torch.arange(IMAGES) % CLASSES,
        train=torch.arange(IMAGES - 32),
        val=torch.arange(IMAGES - 32, IMAGES - 16),
        test=torch.arange(IMAGES - 16, IMAGES),
        mean=torch.full((3,), 0.5),
        std=torch.full((3,), 0.25),
        classes=tuple(map(str, range(CLASSES))),
        sampling=Sampling(batch_indices, epoch_of, uniform),
    )


def loop(name: str, case: Case, data: TrainingData) -> tuple[float, float]:
    """Images per second of the platform's loop: its updates alone, and evaluations and checkpoints included."""
    training = TrainingSpec(steps=case.steps, batch_size=case.batch, eval_every=max(1, case.steps // 2), checkpoints=1)
    network = build_random(name, classes=CLASSES, image_size=case.side, seed=0)
    with TemporaryDirectory() as folder:
        started = CLOCK()
        trained = train(
            network, data, training, task="ordinal", seed=0, device=DEVICE, hooks=Keeps(Path(folder)), clock=CLOCK
        )
        return trained.images_per_second, case.steps * case.batch / (CLOCK() - started)


def minimal(name: str, case: Case, data: TrainingData) -> float:
    """Images per second of a loop without anything that could be left out."""
    model = build_random(name, classes=CLASSES, image_size=case.side, seed=0).to(DEVICE).to(memory_format=LAYOUT)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    started = CLOCK()
    for step in range(case.steps):
        rows = torch.arange(step * case.batch, (step + 1) * case.batch) % len(data.train)
        images = data.images[rows].to(DEVICE).to(torch.float32, memory_format=LAYOUT).div_(255)
        loss = nn.functional.cross_entropy(model(images), data.labels[rows].to(DEVICE))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    loss.item()
    return case.steps * case.batch / (CLOCK() - started)


def main(names: list[str]) -> None:
    """Print the rates and their ratios."""
    torch.set_num_threads(1)
    print(f"images/s on {DEVICE.type}, best of {ROUNDS} alternating rounds")
    for name in names or CASES:
        case = CASES[name]
        data = noise(case.side)
        rounds = [(minimal(name, case, data), *loop(name, case, data)) for _ in range(ROUNDS)]
        hand, updates, whole = (max(rates) for rates in zip(*rounds, strict=True))
        told = f"updates {updates:.1f} ({updates / hand:.3f}), whole {whole:.1f} ({whole / hand:.3f})"
        print(f"{name} {case.side} px, batch {case.batch}: minimal {hand:.1f}, {told}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
