"""What the fork server leaves in memory for its children: each of them would have to look for it anew.

With `preloading` and `collapsed` the only modules that do something when they are imported; that is all that a fork
server can be asked for.
"""

import atexit
import gc

import numpy  # noqa: F401 - its library is one of the pools
import scipy.linalg  # noqa: F401 - and so is this one's
from threadpoolctl import ThreadpoolController

from transfusion_core.specs.model import catalogue

POOLS = ThreadpoolController()  # type: ignore[no-untyped-call]
"""The thread pools of the libraries that are loaded: a fork has them where they are here."""
POOLS.limit(limits=1, user_api="blas")  # what a fork has, so that it need not start a pool to be told the same
catalogue()
gc.freeze()  # else the first full collection in each child writes to, and so copies, half a million objects: 0.3 s
atexit.register(gc.unfreeze)  # else what the server's own end leaves uncollected is told as leaks
gc.enable()
