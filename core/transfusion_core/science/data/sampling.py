"""Which images a step sees: pure functions of seed and step, so that a run can stop and go on anywhere, bit for bit.

Every draw is a stateless hash (splitmix64, Steele, Lea and Flood 2014) of seed, purpose, epoch and position: no
generator has a state that could be lost, and the numbers are the same on every machine and in every version of
the libraries.
"""

import hashlib
import zlib
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfusion_core.errors import DataError

Bits = NDArray[np.uint64]


def train_subset(indices: Tensor, size: int | Literal["all"], *, seed: int) -> Tensor:
    """`size` of the train indices (n,); the smaller subset is a prefix of the larger.

    Raises DataError where there are fewer.
    """
    count = len(indices) if size == "all" else size
    return _prefix(indices, count, seed=seed, purpose="train_subset")


def probe_indices(test_indices: Tensor, images: int, *, seed: int) -> Tensor:
    """The test indices on which every comparison of an experiment is measured, nested as train subsets are."""
    return _prefix(test_indices, images, seed=seed, purpose="probe")


def probe_digest(indices: Tensor, *, dataset: str, image_size: int) -> str:
    """sha256 of a probe set: dataset digest, positions of the images in order, and the size they are shown at."""
    positions = ",".join(map(str, indices.tolist()))
    return hashlib.sha256(f"{dataset}\n{image_size}\n{positions}".encode()).hexdigest()


def batch_indices(step: int, *, n: int, batch_size: int, seed: int) -> Tensor:
    """Positions in [0, n) of the batch of `step` (from 0), int64 (batch_size,).

    Each epoch is a permutation of its own, cut into whole batches; the rest of fewer than `batch_size` is
    dropped. Where n is smaller than the batch, a batch is as many permutations on end as fill it: every image
    comes equally often, give or take one.
    """
    if n < 1 or batch_size < 1 or step < 0:
        raise ValueError(f"expected n and batch_size of at least 1 and no negative step: {n=} {batch_size=} {step=}")
    if n < batch_size:
        rounds = -(-batch_size // n)
        orders = [_permutation(n, seed, step * rounds + turn) for turn in range(rounds)]
        return torch.from_numpy(np.concatenate(orders)[:batch_size])
    epoch = epoch_of(step, n=n, batch_size=batch_size)
    start = (step - epoch * (n // batch_size)) * batch_size
    return torch.from_numpy(_permutation(n, seed, epoch)[start : start + batch_size].copy())


def epoch_of(step: int, *, n: int, batch_size: int) -> int:
    """The epoch that a step belongs to; with fewer images than a batch every step is one."""
    return step // max(n // batch_size, 1)


def uniform(samples: Tensor, *, purpose: str, epoch: int, seed: int) -> Tensor:
    """Numbers in [0, 1), float64 (b,): of seed, purpose, epoch and sample (b,) alone."""
    bits = _hashes(samples.numpy().astype(np.uint64), seed=seed, purpose=purpose, counter=epoch)
    return torch.from_numpy((bits >> np.uint64(11)) * 2.0**-53)


def _prefix(indices: Tensor, count: int, *, seed: int, purpose: str) -> Tensor:
    if not 1 <= count <= len(indices):
        raise DataError(f"{purpose}: {count} images are wanted, the split has {len(indices)}")
    order = np.argsort(_hashes(np.arange(len(indices), dtype=np.uint64), seed=seed, purpose=purpose), kind="stable")
    return indices[torch.from_numpy(order[:count].copy())]


@lru_cache(maxsize=4)
def _permutation(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """A permutation of n; kept, since an epoch's steps ask for it again and again."""
    bits = _hashes(np.arange(n, dtype=np.uint64), seed=seed, purpose="batch", counter=epoch)
    order = np.argsort(bits, kind="stable").astype(np.int64)
    order.flags.writeable = False
    return order


def _hashes(items: Bits, *, seed: int, purpose: str, counter: int = 0) -> Bits:
    """64 well-mixed bits per item."""
    key = np.array([zlib.crc32(purpose.encode())], np.uint64)
    for part in (seed, counter):
        key = _mixed(key ^ np.uint64(part))
    return _mixed(_mixed(items + key) ^ key)


def _mixed(bits: Bits) -> Bits:
    """splitmix64's step and finaliser; arithmetic modulo 2^64."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
