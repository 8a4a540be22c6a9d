"""Ids: opaque, url-safe, and ordered by the time they were made (to the millisecond, by this machine's clock)."""

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_RANDOM_BITS = 80
_LENGTH = 26
"""48 bits of milliseconds and 80 random bits, five bits a character."""


def new_id() -> str:
    """One id."""
    return new_ids(1)[0]


def new_ids(count: int) -> list[str]:
    """Ids in rising order, so that rows made together keep their order."""
    stamp = time.time_ns() // 1_000_000 << _RANDOM_BITS
    return sorted(_text(stamp | secrets.randbits(_RANDOM_BITS)) for _ in range(count))


def _text(number: int) -> str:
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(_LENGTH)))
