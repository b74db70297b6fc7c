"""The salt of a gateway's commitments: one secret beside its spool, of which all nonces are made.

So nothing has to be written for each call, and who is given one nonce learns nothing of the others.
"""

import hmac
import logging
import secrets
from pathlib import Path
from typing import Any, Final, Self

from muniment.errors import InputError
from muniment.local.atomicfile import read_state, write_atomic
from muniment.local.logs import event
from muniment.local.privatefiles import read_private
from muniment.records.canonical import encode_canonical
from muniment.records.commitments import NONCE_SIZE, addendum, commitment

SALT_SUFFIX: Final = ".salt"
"""Appended to the name of a spool's file for its salt."""

_SIZE: Final = 32
_WHAT: Final = "salt"
_LOGGER: Final = logging.getLogger(__name__)


class Salts:
    """Makes the nonces of one gateway's commitments of 32 secret bytes; any thread may use it."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def make(cls, spool: Path) -> Self:
        """Reads the salt beside a spool, or makes it when there is none yet.

        Raises MunimentError if it cannot be read or made, or is damaged.
        """
        path = _beside(spool)
        if read_state(path, _WHAT, most=4096) is None:
            write_atomic(path, secrets.token_hex(_SIZE).encode() + b"\n", _WHAT)
            event(_LOGGER, logging.WARNING, "made a new salt: there was none", salt=str(path))
        return cls.read(spool)

    @classmethod
    def read(cls, spool: Path | str) -> Self:
        """Reads the salt beside a spool, which a gateway may have open; raises as ``make``."""
        path = _beside(spool)
        text = read_private(path, _WHAT, most=2 * _SIZE + 1)
        try:
            secret = bytes.fromhex(text.decode("ascii").removesuffix("\n"))
        except ValueError:
            secret = b""
        if len(secret) != _SIZE or len(text) != 2 * _SIZE + 1:
            raise InputError(f"{_WHAT} {path}: damaged: expected {2 * _SIZE} hexadecimal digits")
        return cls(secret)

    @classmethod
    def passing(cls) -> Self:
        """A salt that nobody keeps: of its commitments none can be disclosed later."""
        return cls(secrets.token_bytes(_SIZE))

    def nonce(self, record: str, member: str) -> str:
        """The nonce of a member of a record: 32 hexadecimal digits, always the same.

        ``record`` is the id of the run that an outcome is about, or of a decision; ``member`` is
        where the commitment stands, e.g. ``inputs.arguments``.
        """
        made_of = encode_canonical(["muniment/commitment/v1", record, member])
        return hmac.digest(self._secret, made_of, "sha256")[:NONCE_SIZE].hex()

    def commit(self, record: str, member: str, value: Any) -> str:
        """The commitment to a value; a ``FormatError`` if it has no canonical JSON."""
        return commitment(self.nonce(record, member), value)

    def disclose(self, record: str, member: str, value: Any) -> bytes:
        """The addendum whose SHA-256 is the commitment, for whoever shall see the value."""
        return addendum(self.nonce(record, member), value)


def _beside(spool: Path | str) -> Path:
    return Path(f"{spool}{SALT_SUFFIX}")
