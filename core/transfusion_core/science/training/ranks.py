"""Several processes that train one model together, each on its part of every batch.

Every process has the whole data and the same seed, and so knows every batch; gradients are averaged by
DistributedDataParallel (Li et al. 2020, 2006.15704). Batch norm has the statistics of each part, as with a micro-batch,
unless it is synchronised; its running ones are those of rank 0. The process group is made by whoever starts them.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from transfusion_core.errors import DataError, Unavailable


@dataclass(frozen=True)
class Ranks:
    """One process's place among `count`; rank 0 alone talks to the surroundings."""

    rank: int = 0
    count: int = 1

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model as it is trained: its gradients are everybody's."""
        if self.count == 1:
            return model
        return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)

    def part(self, batch: Tensor) -> Tensor:
        """This rank's share of what lies along the first axis."""
        return torch.tensor_split(batch, self.count)[self.rank]

    def total(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all ranks."""
        if self.count > 1:
            distributed.all_reduce(value)
        return value

    def joined(self, part: Tensor) -> Tensor:
        """The parts of all ranks, in order; CPU tensors of any lengths."""
        if self.count == 1:
            return part
        parts: list[Any] = [None] * self.count
        distributed.all_gather_object(parts, part)
        return torch.cat(parts)

    def told_by_first(self, answer: bool) -> bool:
        """Rank 0's answer, on all ranks."""
        if self.count == 1:
            return answer
        told = [answer]
        distributed.broadcast_object_list(told, src=0)
        return told[0]

    def check_same(self, step: int) -> None:
        """Unavailable where ranks start from different steps: one of them could not read what the others could."""
        steps = self.joined(torch.tensor([step])).tolist()
        if len(set(steps)) > 1:
            raise Unavailable(f"expected all processes of a training to start from one step, got {steps}")

    def agree(self, model: nn.Module) -> None:
        """Give every rank the buffers of rank 0."""
        if self.count > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, src=0)

    def alone(self, network: object, *, last: bool) -> AbstractContextManager[None]:
        """Around a part of a batch: gradients are exchanged after the last one only."""
        if self.count == 1 or last:
            return nullcontext()
        return _unsynchronised(cast(DistributedDataParallel, network))


ALONE = Ranks()
"""One process."""


def synchronise_norms(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with batch norms over whole batches; DataError on the CPU, where torch has none."""
    if device.type != "cuda":
        raise DataError("expected a GPU for 'sync_bn', got the CPU: torch synchronises batch norm on CUDA only")
    convert: Callable[[nn.Module], nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
    return convert(model)


@contextmanager
def _unsynchronised(network: DistributedDataParallel) -> Iterator[None]:
    with network.no_sync():
        yield
