"""Files that lines are added to, by processes that are killed, and on disks that become full."""

import contextlib
import os
from pathlib import Path
from typing import BinaryIO, Final

from muniment.errors import InputError

_BACK: Final = 1 << 20
"""Bytes read at a time to find the last line end of a file."""


def cut_torn_line(file: BinaryIO, path: Path, what: str) -> None:
    """Cuts off a last line without an end, and goes to the end of the file.

    Such a line is what a process began that was killed, or that found the disk full: nothing was
    built on it. The caller has the file for itself, open for reading and writing.

    Raises InputError, which says `what` the lines should be of, if the last line begins otherwise
    than an object of JSON: only what this program may have begun is cut off. OSError.
    """
    end = size = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _BACK)
        file.seek(start)
        at = file.read(end - start).rfind(b"\n")
        end = start + at + 1
        if at >= 0:
            break
    if end != size:
        file.seek(end)
        if file.read(1) != b"{":
            raise InputError(f"{path}: does not end with a line of {what}; name another file")
        file.truncate(end)
    file.seek(end)


def close_synced(file: BinaryIO) -> None:
    """Closes a file of which all that counts is on disk.

    After a write that failed the rest of it is still in the buffer, and fails again; whoever wrote
    it has been told.
    """
    with contextlib.suppress(OSError):
        file.close()
