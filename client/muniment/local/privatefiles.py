"""Files that hold secrets: bounded, and refused when anybody but their owner has rights on them.

A credential that systemd hands to a service (a file in `$CREDENTIALS_DIRECTORY`) may show rights
of its group: systemd gives the service's user access by an ACL, whose mask shows there. Its folder
keeps everybody else out.
"""

import os
import stat
from pathlib import Path
from typing import Final

from muniment.local.regularfile import open_regular
from muniment.tlog.encoding import MunimentError

CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
"""The environment variable by which systemd tells a service where its credentials are."""

MAX_SECRET_SIZE: Final = 1023
"""Longest passphrase or token in bytes; what the key library takes."""


def read_private(path: Path, what: str, *, most: int) -> bytes:
    """Reads a file that only its owner can read: ``most`` bytes, and one if there are more.

    Raises MunimentError if it cannot be read, or others have rights on it. Messages name the path
    and tell nothing of the content.
    """
    try:
        with open_regular(path) as file:
            _check(path, what, os.fstat(file.fileno()).st_mode)
            return file.read(most + 1)
    except OSError as error:
        raise MunimentError(f"{path}: cannot read the {what}: {error.strerror}") from None


def check_private(path: Path, what: str) -> None:
    """Checks a file with a secret that a library will open; raises as `read_private`."""
    read_private(path, what, most=0)


def read_secret(path: Path, what: str) -> bytes:
    """Reads a passphrase or a token: a private file's first line, without its end.

    Raises MunimentError as `read_private`; and if the line is empty or too long.
    """
    data = read_private(path, what, most=MAX_SECRET_SIZE + 1)
    secret = data.partition(b"\n")[0].removesuffix(b"\r")
    if not secret:
        raise MunimentError(f"{path}: the {what} is empty")
    if len(secret) > MAX_SECRET_SIZE:
        raise MunimentError(f"{path}: the {what} is longer than {MAX_SECRET_SIZE} bytes")
    return secret


def _check(path: Path, what: str, mode: int) -> None:
    others = stat.S_IRWXO if _is_credential(path) else stat.S_IRWXG | stat.S_IRWXO
    if mode & others:
        raise MunimentError(
            f"{path}: group or others have rights on this {what} "
            f"(mode {stat.S_IMODE(mode):04o}); make it 0600"
        )


def _is_credential(path: Path) -> bool:
    folder = os.environ.get(CREDENTIALS)
    return bool(folder) and path.parent == Path(str(folder))
