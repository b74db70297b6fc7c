"""When no garbage is looked for."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def not_collecting() -> Iterator[None]:
    """Within it no garbage in cycles is looked for, as while modules are imported: they stay.

    Looking for it among them is a tenth of importing them.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
