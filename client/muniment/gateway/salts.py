"""The salt of a gateway's commitments: one secret beside its spool, of which all nonces are made.

So nothing has to be written for each call, and who is given one nonce learns nothing of the others.
"""

import hmac
import secrets
from pathlib import Path
from typing import Any, Final, Self

from muniment.gateway.secretfiles import SECRET_SIZE, make_secret, read_secret
from muniment.records.canonical import encode_canonical
from muniment.records.commitments import NONCE_SIZE, addendum, commitment

SALT_SUFFIX: Final = ".salt"
"""Appended to the name of a spool's file for its salt."""

_WHAT: Final = "salt"


class Salts:
    """Makes the nonces of one gateway's commitments of 32 secret bytes; any thread may use it."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def make(cls, spool: Path) -> Self:
        """Reads the salt beside a spool, or makes it when there is none yet.

        Raises MunimentError if it cannot be read or made, or is damaged.
        """
        return cls(make_secret(_beside(spool), _WHAT))

    @classmethod
    def read(cls, spool: Path | str) -> Self:
        """Reads the salt beside a spool, which a gateway may have open; raises as ``make``."""
        return cls(read_secret(_beside(spool), _WHAT))

    @classmethod
    def passing(cls) -> Self:
        """A salt that nobody keeps: of its commitments none can be disclosed later."""
        return cls(secrets.token_bytes(SECRET_SIZE))

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
