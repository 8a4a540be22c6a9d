"""Texture or shape: what is left of a network's quality when test images are cut into blocks that change places.

Neyshabur, Sedghi and Zhang 2020, arXiv 2008.11687: what lies inside a block survives, what lies across blocks does not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from transfusion_core.science.seeds import generator
from transfusion_core.science.training.batches import TrainingData
from transfusion_core.science.training.evaluation import batch_images, predict
from transfusion_core.science.training.metrics import evaluate_scores
from transfusion_core.specs.dataset import Task
from transfusion_core.specs.robustness import Score


def block_shuffled(
    model: nn.Module, data: TrainingData, *, blocks: Sequence[int], task: Task, seed: int, device: torch.device
) -> Iterator[Score]:
    """Test AUROC for each number of blocks per side; with 1 it is that of the images as they are."""
    labels = data.labels[data.test.to(data.labels.device)]
    for count in blocks:
        logits = [
            predict(model, _shuffled(data, part, blocks=count, seed=seed), rows=torch.arange(len(part)), device=device)
            for part in torch.split(data.test, batch_images(data.images, device))
        ]
        found = evaluate_scores(task, torch.cat(logits), labels, classes=data.classes)
        yield Score(trial="block_shuffle", blocks=count, auroc=found.auroc, reason=found.reason)


def _shuffled(data: TrainingData, rows: Tensor, *, blocks: int, seed: int) -> TrainingData:
    """The images at `rows` alone: all of a large test split would not fit into memory a second time."""
    images = data.images[rows.to(data.images.device)]
    return replace(data, images=shuffle_blocks(images, blocks=blocks, rows=rows, seed=seed))


def shuffle_blocks(images: Tensor, *, blocks: int, rows: Tensor, seed: int) -> Tensor:
    """Square images (n, c, h, h) with their `blocks` x `blocks` blocks in another order, each image in one of its own.

    The order is a function of `seed`, `blocks` and the image's number in `rows` (n,). Where `blocks` does not divide
    the side, a rim of fewer than `blocks` pixels stays as it is.
    """
    n, channels, side, _ = images.shape
    size = side // blocks
    start, inside = (side - size * blocks) // 2, size * blocks
    window = (..., slice(start, start + inside), slice(start, start + inside))
    tiles = images[window].reshape(n, channels, blocks, size, blocks, size)
    tiles = tiles.permute(0, 2, 4, 1, 3, 5).reshape(n, blocks**2, channels, size, size)
    orders = torch.stack([_order(blocks, int(row), seed) for row in rows]).to(images.device)  # (n, blocks^2)
    tiles = tiles[torch.arange(n, device=images.device)[:, None], orders]
    tiles = tiles.reshape(n, blocks, blocks, channels, size, size).permute(0, 3, 1, 4, 2, 5)
    shuffled = images.clone()
    shuffled[window] = tiles.reshape(n, channels, inside, inside)
    return shuffled


def _order(blocks: int, row: int, seed: int) -> Tensor:
    return torch.randperm(blocks**2, generator=generator(seed, "block shuffle", str(blocks), str(row)))
