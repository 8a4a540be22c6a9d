"""The first that the fork server imports: thousands of modules follow, and none is garbage (a seventh of the time).

`preloaded` is the last, and ends what this begins.
"""

import gc

gc.disable()
