"""Keeps the memory of a process that holds private keys out of core dumps and other processes."""

import ctypes
import resource
import sys
from typing import Final

PR_SET_DUMPABLE: Final = 4
"""prctl(2): whether the kernel may dump the process, and users may look into it (Linux)."""


def protect_memory() -> None:
    """Turns core dumps off for this process and (the size limit) for those that it starts.

    The size limit alone is not enough on Linux: a dump that is piped into a program ignores it.
    A process that may not be dumped may not be traced or read through /proc by its own user either.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
