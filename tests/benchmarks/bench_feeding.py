"""Images per second of batches from the pixel pack against torchvision's ImageFolder and DataLoader on the same files.

Run `PYTHONPATH=core python tests/benchmarks/bench_feeding.py`. Each gives batches of float32 at 224 px, cropped at
random, flipped and normalised, on all cores that the process has; rounds alternate, and the best of each counts. Beside
the rate by the clock stands that by seconds of CPU time of all processes: other work on the machine then matters less.
Files are drawn, photograph-like JPEGs. torchvision crops by RandomResizedCrop, as its users do, and by Resize and
RandomCrop; the pack, whose images are 224 px already, by padding. Making the pack is not in it: it is made once.
"""

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from transfusion_core.science.data.sampling import batch_indices, uniform
from transfusion_core.science.training import feeding
from transfusion_core.science.training.augmentation import augment
from transfusion_core.science.training.batches import Sampling, TrainingData
from transfusion_core.science.training.feeding import Part, feed
from transfusion_core.specs.augmentation import Augmentation

FILES, FILE_SIDE, SIDE, BATCH, ROUNDS = 256, 512, 224, 64, 3
CORES = len(os.sched_getaffinity(0))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WAYS = {
    "RandomResizedCrop": [transforms.RandomResizedCrop(SIDE)],
    "Resize, RandomCrop": [transforms.Resize(SIDE + 32), transforms.RandomCrop(SIDE)],
}
CROP = {"crop": {"padding": 16}, "flip": True}
OTHERS = {
    "the same, fetched ahead": CROP,
    "flip alone": {"flip": True},
    "crop by scale": {"crop": {"scale": [0.08, 1]}, "flip": True},
    "crop, flip, rotation, jitter": {**CROP, "rotation": 15, "jitter": {"brightness": 0.2, "contrast": 0.2}},
}


class Rates(NamedTuple):
    """Images per second."""

    of_clock: float
    of_cpu: float


class Clock:
    """Seconds since it was made, by the clock and of CPU time, that of ended children included."""

    def __init__(self) -> None:
        self.started, self.cpu_before = time.perf_counter(), sum(os.times()[:4])

    def seconds(self) -> float:
        """By the clock."""
        return time.perf_counter() - self.started

    def rates(self, images: int) -> Rates:
        """Of so many images."""
        return Rates(images / self.seconds(), images / (sum(os.times()[:4]) - self.cpu_before))


def write_files(folder: Path) -> None:
    """Smooth shapes with a little noise: about as many bytes as a photograph."""
    draw = np.random.default_rng(0)
    for number in range(FILES):
        coarse = draw.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((FILE_SIDE, FILE_SIDE), Image.Resampling.BICUBIC))
        noisy = smooth.astype(np.float32) + draw.normal(0, 6, smooth.shape)
        path = folder / f"class{number % 2}" / f"{number:04}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def pack(folder: Path) -> TrainingData:
    """The files at 224 px as a mapped tensor, as a dataset's pack gives them."""
    path = folder / "pixels.npy"
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(FILES, SIDE, SIDE, 3))
    for number, file in enumerate(sorted(folder.glob("*/*.jpg"))):
        pixels[number] = np.asarray(Image.open(file).convert("RGB").resize((SIDE, SIDE)))
    pixels.flush()
    rows = torch.arange(FILES)
    return TrainingData(
        images=torch.from_numpy(np.load(path, mmap_mode="c")).permute(0, 3, 1, 2),
        labels=rows % 2,
        train=rows,
        val=rows[:0],
        test=rows[:0],
        mean=torch.tensor(MEAN),
        std=torch.tensor(STD),
        classes=("a", "b"),
        sampling=Sampling(batch_indices, lambda step, n, batch_size: step * batch_size // n, uniform),
    )


def parts(by: Augmentation, *, epochs: int) -> Iterator[Part]:
    """The batches of some epochs."""
    for step in range(epochs * FILES // BATCH):
        rows = batch_indices(step, n=FILES, batch_size=BATCH, seed=0)

        def change(images: Tensor, rows: Tensor, epoch: int = step * BATCH // FILES) -> Tensor:
            return augment(images, by, draw=lambda purpose: uniform(rows, purpose=purpose, epoch=epoch, seed=0))

        yield Part(rows, change)


def ours(data: TrainingData, written: dict[str, object]) -> Rates:
    """Of eight epochs by the feeder, whose threads and memory stay; that they begin is in it."""
    images, clock = 0, Clock()
    coming = parts(Augmentation.model_validate(written), epochs=8)
    with feed(data, coming, device=torch.device("cpu")) as batches:
        for batch in batches:
            images += len(batch)
    return clock.rates(images)


def theirs(folder: Path, crop: list[object]) -> Rates:
    """Of four epochs by torchvision, whose workers stay; that they start is in it."""
    flip, norm = transforms.RandomHorizontalFlip(), transforms.Normalize(MEAN, STD)
    dataset = ImageFolder(str(folder), transforms.Compose([*crop, flip, transforms.ToTensor(), norm]))
    clock = Clock()
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=CORES, drop_last=True, persistent_workers=True)
    images = sum(len(batch) for _ in range(4) for batch, _ in loader)
    seconds = clock.seconds()
    del loader  # waits for the workers: what they took is told only then
    return Rates(images / seconds, clock.rates(images).of_cpu)


def best(rates: Iterable[Rates]) -> Rates:
    """The highest of each."""
    return Rates(*(max(each) for each in zip(*rates, strict=True)))


def main() -> None:
    """Print rates and ratios."""
    torch.set_num_threads(CORES)
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder)
        size = np.mean([file.stat().st_size for file in folder.glob("*/*.jpg")]) / 1024
        data = pack(folder)
        told = f"{FILES} JPEGs of {FILE_SIDE} px ({size:.0f} KiB each), batches of {BATCH} at {SIDE} px, {CORES} cores"
        print(f"images/s (and per second of CPU time), best of {ROUNDS} alternating rounds; {told}")
        rounds = [(ours(data, CROP), *(theirs(folder, crop) for crop in WAYS.values())) for _ in range(ROUNDS)]
        mine, *others = map(best, zip(*rounds, strict=True))
        print(f"pack, padding crop and flip: {mine.of_clock:.0f} ({mine.of_cpu:.0f})", flush=True)
        for way, rates in zip(WAYS, others, strict=True):
            times = f"{mine.of_clock / rates.of_clock:.1f} ({mine.of_cpu / rates.of_cpu:.1f})"
            print(f"ImageFolder, {way}, flip: {rates.of_clock:.0f} ({rates.of_cpu:.0f}); the pack gives {times} times")
        for way, written in OTHERS.items():
            feeding.RESIDENT_SHARE = 0.0 if "ahead" in way else 0.5
            rates = best(ours(data, written) for _ in range(ROUNDS))
            times = f"{rates.of_clock / others[0].of_clock:.1f} ({rates.of_cpu / others[0].of_cpu:.1f})"
            print(
                f"pack, {way}: {rates.of_clock:.0f} ({rates.of_cpu:.0f}); {times} times RandomResizedCrop", flush=True
            )


if __name__ == "__main__":
    main()
