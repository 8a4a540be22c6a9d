"""Generators derived from one seed by name, so that one more draw in one place never shifts another."""

import hashlib

import torch


def derived_seed(seed: int, name: str) -> int:
    """A seed for the stream called `name`: the first 63 bits of sha256("seed/name")."""
    word = hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8]
    return int.from_bytes(word, "big") >> 1


def generator(seed: int, name: str) -> torch.Generator:
    """A CPU generator for the stream called `name`; the same numbers on every machine."""
    return torch.Generator().manual_seed(derived_seed(seed, name))
