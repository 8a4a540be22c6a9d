"""What the fork server leaves in memory for its children: each of them would have to look for it anew.

The one module that does something when it is imported; that is all that a fork server can be asked for.
"""

import numpy  # noqa: F401 - its library is one of the pools
import scipy.linalg  # noqa: F401 - and so is this one's
from threadpoolctl import ThreadpoolController

from transfusion_core.specs.model import catalogue

POOLS = ThreadpoolController()  # type: ignore[no-untyped-call]
"""The thread pools of the libraries that are loaded: a fork has them where they are here."""
catalogue()
