"""Keep the garbage collector out of a start, and from looking, over and over, through what lives until the end.

Used by listed and serve. Modules and settings are hundreds of thousands of objects of which none is garbage: looking
through them while they are made takes a sixth of a start, and half the time of reading ten thousand customers.
"""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Collect nothing in this block, unless it turns the collector on itself."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def importing() -> Iterator[None]:
    """Collect nothing while modules are imported, and never look through them afterwards.

    What is garbage already is never looked through either; that is little.
    """
    known = len(sys.modules)
    with uncollected():
        yield
        if len(sys.modules) > known:
            gc.freeze()
            atexit.register(gc.unfreeze)  # some libraries complain of what is not collected at the end
