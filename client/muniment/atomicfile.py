"""Files that are either the old one or the new one, whatever happens in between."""

import os
import tempfile
from pathlib import Path

from muniment.errors import InputError


def read_bounded(path: Path, what: str, *, most: int) -> bytes:
    """Reads a whole file of at most ``most`` bytes.

    Raises:
        InputError: If it cannot be read or is longer; names the path.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise InputError(f"{what} {path}: {error.strerror}") from None
    if len(data) > most:
        raise InputError(f"{what} {path}: longer than {most} bytes")
    return data


def write_atomic(path: Path, data: bytes, what: str) -> None:
    """Writes a file durably, replacing an older one in one step.

    The new bytes are on disk before the name points to them, and the name is on disk before this
    returns: a crash leaves the old file or the new one.

    Raises:
        InputError: If it cannot be written; names the path.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise InputError(f"{what} {path}: {error.strerror}") from None
