"""Files by their names: what may stand there to be read, and what stays after a power cut.

A FIFO in the place of a file would keep the reader waiting for ever, and so the service's reload.
"""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Final

NOT_REGULAR: Final = "not a regular file"


def open_regular(path: Path) -> BufferedReader:
    """Opens a regular file, or a symbolic link to one, for reading.

    Raises OSError if it cannot be opened, or is a folder, FIFO, socket or device.
    """
    # Non-blocking, because opening a FIFO without a writer would wait for ever.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    # The open file is asked, not the path, which may by now lead elsewhere.
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, NOT_REGULAR, str(path))
    return file


def sync_names(folder: Path) -> None:
    """Makes the names in a folder durable: of what was made, renamed or deleted there. OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
