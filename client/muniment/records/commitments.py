"""Salted commitments: digests that tell nothing of a value until it is disclosed.

Whoever may read a log could try all values of a small secret against a bare digest. A commitment is
the SHA-256 of an *addendum*, the canonical JSON of ``{"nonce": …, "value": …}``, whose nonce of 128
random bits nobody can try. Who is given the addendum sees the value, and that it is the one.
"""

from hashlib import sha256
from typing import Any, Final

from muniment.records.canonical import encode_canonical

NONCE_SIZE: Final = 16
"""Bytes of a nonce; it is written as twice as many lower-case hexadecimal digits."""


def commitment(nonce: str, value: Any) -> str:
    """The digest (``sha256:…``) of a value's addendum.

    Raises FormatError if the value has no canonical JSON.
    """
    return commitment_of(addendum(nonce, value))


def commitment_of(data: bytes) -> str:
    """The digest (``sha256:…``) of an addendum."""
    return f"sha256:{sha256(data).hexdigest()}"


def addendum(nonce: str, value: Any) -> bytes:
    """What discloses a value: canonical JSON, whose SHA-256 is the commitment.

    Raises FormatError if the value has no canonical JSON.
    """
    return encode_canonical({"nonce": nonce, "value": value})
