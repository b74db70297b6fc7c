"""Tickets (C2SP tlog-mirror): pending checkpoints that clients keep for the mirror.

A ticket is a checkpoint as the log signed it, behind an HMAC under a secret of the mirror's: so a
mirror goes on with what was pending long ago, and believes nobody that something was.
"""

from hashlib import sha256
from hmac import compare_digest, digest
from typing import Final

from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.encoding import FormatError

_TAG: Final = sha256().digest_size
_CONTEXT: Final = b"muniment mirror ticket v1\n"


def make_ticket(secret: bytes, pending: SignedCheckpoint) -> bytes:
    """A ticket for a checkpoint that is or was pending."""
    note = pending.encode()
    return digest(secret, _CONTEXT + note, "sha256") + note


def open_ticket(secret: bytes, ticket: bytes) -> SignedCheckpoint | None:
    """The checkpoint of a ticket that was made with this secret; None for any other bytes."""
    tag, note = ticket[:_TAG], ticket[_TAG:]
    if not compare_digest(tag, digest(secret, _CONTEXT + note, "sha256")):
        return None
    try:
        return parse_signed_checkpoint(note)
    except FormatError:  # made by another version, which took more
        return None
