"""Seeds by name: one number from the user becomes as many independent streams as there are names.

A stream added later changes none of the others, which a shared generator could not promise.
"""

import hashlib
import json

import torch


def derive(seed: int, *names: str) -> int:
    """A seed of 63 bits for the stream called `names`: the head of sha256 over the JSON list [seed, *names]."""
    digest = hashlib.sha256(json.dumps([seed, *names]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *names: str) -> torch.Generator:
    """A CPU generator at the start of the stream called `names`."""
    return torch.Generator().manual_seed(derive(seed, *names))


def seed_dropout(seed: int, *, step: int, device: torch.device, rank: int = 0) -> None:
    """Set torch's own generators, on the CPU and on `device`, to where the stream of a step and rank starts."""
    value = derive(seed, "dropout", str(step), *([f"rank {rank}"] if rank else []))
    torch.default_generator.manual_seed(value)  # torch.manual_seed takes 0.3 ms where CUDA is not yet initialised
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(value)
