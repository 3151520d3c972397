"""Keep the garbage collector from looking, over and over, through modules, which live until the process ends.

Used by listed and serve. Modules are a hundred thousand objects of which none is garbage: looking through them while
they are made takes a sixth of a start, and afterwards a tenth of a second at a time, in which a gate answers nobody.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Collect nothing while modules are imported, and never look through them afterwards.

    What is garbage already is never looked through either; that is little.
    """
    known, was_on = len(sys.modules), gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > known:
            gc.freeze()
        if was_on:
            gc.enable()
