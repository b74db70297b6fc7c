"""Secrets of a gateway's own, each in a file of one line: the salt, the keys of pseudonyms."""

import logging
import secrets
from pathlib import Path
from typing import Final

from muniment.errors import InputError
from muniment.local.atomicfile import read_state, write_atomic
from muniment.local.logs import event
from muniment.local.privatefiles import read_private

SECRET_SIZE: Final = 32
"""Bytes of a secret; its file has them as hexadecimal digits, and a newline."""

_LOGGER: Final = logging.getLogger(__name__)


def make_secret(path: Path, what: str) -> bytes:
    """Reads a secret, or makes it when there is none yet; ``what`` names it.

    Raises MunimentError if it cannot be read or made, or is damaged.
    """
    if read_state(path, what, most=4096) is None:
        write_atomic(path, secrets.token_hex(SECRET_SIZE).encode() + b"\n", what)
        event(_LOGGER, logging.WARNING, f"made a new {what}: there was none", file=str(path))
    return read_secret(path, what)


def read_secret(path: Path, what: str) -> bytes:
    """Reads a secret; raises as ``make_secret``."""
    text = read_private(path, what, most=2 * SECRET_SIZE + 1)
    try:
        secret = bytes.fromhex(text.decode("ascii").removesuffix("\n"))
    except ValueError:
        secret = b""
    if len(secret) != SECRET_SIZE or len(text) != 2 * SECRET_SIZE + 1:
        raise InputError(f"{what} {path}: damaged: expected {2 * SECRET_SIZE} hexadecimal digits")
    return secret
