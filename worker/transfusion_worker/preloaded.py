"""What the fork server leaves in memory for its children: each of them would have to look for it anew.

With `preloading` the one module that does something when it is imported; that is all that a fork server can be asked
for.
"""

import atexit
import ctypes
import gc
from pathlib import Path

import numpy  # noqa: F401 - its library is one of the pools
import scipy.linalg  # noqa: F401 - and so is this one's
from threadpoolctl import ThreadpoolController

from transfusion_core.specs.model import catalogue

_MAPS = Path("/proc/self/maps")
_HUGE, _MADV_COLLAPSE = 2 << 20, 25


def _use_huge_pages() -> None:
    """Put what is in memory into pages of 2 MB, as far as Linux can (6.1 and later).

    A fork copies the tables of all pages and its end takes them down: of CUDA's libraries alone these are 22,000, for
    87 MB that they fill when they are loaded. It costs a third of a second, once, and saves a fifth of each fork.
    """
    if not _MAPS.is_file():
        return
    madvise = ctypes.CDLL(None).madvise
    for line in _MAPS.read_text().splitlines():
        (bounds, rights), name = line.split()[:2], line.split()[5:]
        if rights != "rw-p" or name not in ([], ["[heap]"]):
            continue
        start, end = (int(bound, 16) for bound in bounds.split("-"))
        start, end = -(-start // _HUGE) * _HUGE, end // _HUGE * _HUGE
        if start < end:
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_COLLAPSE)  # where it cannot, all stays


POOLS = ThreadpoolController()  # type: ignore[no-untyped-call]
"""The thread pools of the libraries that are loaded: a fork has them where they are here."""
POOLS.limit(limits=1, user_api="blas")  # what a fork has, so that it need not start a pool to be told the same
catalogue()
gc.freeze()  # else the first full collection in each child writes to, and so copies, half a million objects: 0.3 s
atexit.register(gc.unfreeze)  # else what the server's own end leaves uncollected is told as leaks
gc.enable()
_use_huge_pages()
