"""Files that are either the old one or the new one, whatever happens in between."""

import os
import tempfile
from pathlib import Path

from muniment.errors import InputError
from muniment.local.regularfile import sync_names


def read_bounded(path: Path, what: str, *, most: int) -> bytes:
    """Reads a whole file; an ``InputError`` names one that is longer than ``most`` bytes."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise InputError(f"{what} {path}: {error.strerror}") from None
    if len(data) > most:
        raise InputError(f"{what} {path}: longer than {most} bytes")
    return data


def read_state(path: Path, what: str, *, most: int) -> bytes | None:
    """Reads what an earlier run left for the next one; None when nothing did.

    That there is no file must not come from a file system that is not mounted, or a power cut: only
    an absent file in a folder that it can be kept in is a first use. Raises InputError if it cannot
    be read, is longer than ``most`` bytes or empty, or could not be kept there by `write_atomic`;
    names the path.
    """
    if not path.parent.is_dir():
        raise InputError(f"{what} {path}: there is no folder {path.parent} to keep it in")
    if not path.exists():
        if path.is_symlink():
            raise InputError(f"{what} {path}: a link to a file that is not there")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise InputError(f"{what} {path}: the folder {path.parent} cannot be written")
        return None
    data = read_bounded(path, what, most=most)
    if not data:
        raise InputError(
            f"{what} {path}: empty (0 bytes), so its content is lost: restore it, or remove it to "
            "trust on first use again"
        )
    return data


def write_atomic(path: Path, data: bytes, what: str) -> None:
    """Writes a file durably, replacing an older one in one step.

    The new bytes are on disk before the name points to them, and the name is on disk before this
    returns: a crash leaves the old file or the new one. Raises InputError if it cannot be written;
    names the path.
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
        sync_names(path.parent)
    except OSError as error:
        raise InputError(f"{what} {path}: {error.strerror}") from None
