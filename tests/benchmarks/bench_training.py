"""Images per second of the training loop against the shortest loop that trains the same network the same way.

Run `PYTHONPATH=core python tests/benchmarks/bench_training.py`. The ratio should stay near 1: what the loop adds
(data order, augmentation, checks, hooks) is per step, not per image. Rounds alternate, and the best of each counts.
On the CPU it counts the seconds of one thread, not of the wall clock: other work on the machine then matters less.
"""

import time

import torch
from torch import nn

from transfusion_core.science.data.sampling import batch_indices, epoch_of, flip_mask
from transfusion_core.science.training.batches import Sampling, TrainingData
from transfusion_core.science.training.loop import train
from transfusion_core.specs.training import TrainingSpec

STEPS, BATCH, SIDE, ROUNDS = 30, 32, 64, 2
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CLOCK = time.process_time if DEVICE.type == "cpu" else time.perf_counter


def network() -> nn.Sequential:
    """Shaped as cbr-tiny: 5 x 5 convolutions of 32-64-128-256 channels, each with batch norm, ReLU and a pool."""
    blocks: list[nn.Module] = []
    for narrow, wide in zip([3, 32, 64, 128], [32, 64, 128, 256], strict=True):
        blocks += [nn.Conv2d(narrow, wide, 5, padding=2, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
        blocks += [nn.MaxPool2d(3, 2, padding=1)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 5))


def noise() -> TrainingData:
    """Images of noise: their content does not matter to the time."""
    return TrainingData(
        images=torch.randint(0, 256, (512, 3, SIDE, SIDE), dtype=torch.uint8),
        labels=torch.arange(512) % 5,
        train=torch.arange(480),
        val=torch.arange(480, 496),
        test=torch.arange(496, 512),
        mean=torch.full((3,), 0.5),
        std=torch.full((3,), 0.25),
        classes=("0", "1", "2", "3", "4"),
        sampling=Sampling(batch_indices, epoch_of, flip_mask),
    )


def loop(data: TrainingData) -> float:
    """Images per second of the platform's loop."""
    training = TrainingSpec(steps=STEPS, batch_size=BATCH, eval_every=STEPS)
    return train(network(), data, training, task="ordinal", seed=0, device=DEVICE, clock=CLOCK).images_per_second


def minimal(data: TrainingData) -> float:
    """Images per second of a loop without anything that could be left out."""
    layout = torch.channels_last if DEVICE.type == "cpu" else torch.contiguous_format
    model = network().to(DEVICE).to(memory_format=layout)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    started = CLOCK()
    for step in range(STEPS):
        rows = torch.arange(step * BATCH, (step + 1) * BATCH) % len(data.train)
        images = data.images[rows].to(DEVICE).to(torch.float32, memory_format=layout).div_(255)
        loss = nn.functional.cross_entropy(model(images), data.labels[rows].to(DEVICE))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    loss.item()
    return STEPS * BATCH / (CLOCK() - started)


def main() -> None:
    """Print both rates and their ratio."""
    torch.set_num_threads(1)
    data = noise()
    rounds = [(minimal(data), loop(data)) for _ in range(ROUNDS)]
    hand, platform = (max(rates) for rates in zip(*rounds, strict=True))
    print(f"{DEVICE.type}: minimal {hand:.1f} images/s, loop {platform:.1f} images/s, ratio {platform / hand:.3f}")


if __name__ == "__main__":
    main()
