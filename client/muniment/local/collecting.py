"""When no garbage is looked for."""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def not_collecting() -> Iterator[None]:
    """Within it modules are imported, and no garbage in cycles is looked for: modules stay.

    Nor is it looked for among them afterwards. All they have made would count as new, and the next
    thing that is made would have the collector go through it, more than once: a tenth of what
    importing takes.
    """
    collecting, known = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > known:
            gc.freeze()
        if collecting:
            gc.enable()


def end_without_collecting() -> None:
    """Has this process look for no garbage when it ends: the system takes all of it back.

    Looking through everything that a command has imported takes as long as a quarter of importing
    it, and finds nothing that has to be closed: commands close what they open.
    """
    atexit.register(gc.freeze)
