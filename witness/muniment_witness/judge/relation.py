"""What two signed heads of one log say about each other, by `heads.relate`; no I/O.

The witness keeps one *frontier* for each log: the newest head that it knows to extend all that it
accepted before. Every other head that the log signed, wherever it was seen, is compared with it:

* `Same`: equal size and root, or one of the trees is empty.
* evidence: two roots of one size, or an empty tree with a root.
* `Unproven`: the sizes differ. Only tiles of the newer tree can tell more; `judge` then says
  whether the newer tree begins with the older one or the log's key signed two histories.

A head is never believed because somebody shows it: it counts because the log's key signed it.
"""

from hashlib import sha256
from typing import NamedTuple

from msgspec import Struct

from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.claims import Evidence
from muniment.tlog.encoding import VerificationError
from muniment.tlog.evidence import contradiction_of
from muniment.tlog.heads import Head, Prefix, Relation, relate
from muniment.tlog.witnesswire import AddCheckpoint
from muniment_witness.judge.decide import KnownLog, Refusal, authenticate


class SignedHead(Struct, frozen=True):
    """A head that a trusted key of its log has signed. `authentic` makes one, or `recorded`.

    The checkpoint has the log's signature lines alone. The digest is the SHA-256 of its text, by
    which the head is known.
    """

    signed: SignedCheckpoint
    digest: bytes

    @property
    def head(self) -> Head:
        """Size and root."""
        return self.signed.checkpoint.head

    @property
    def size(self) -> int:
        """Leaves of the tree."""
        return self.head.size

    @property
    def origin(self) -> str:
        """The log."""
        return self.signed.checkpoint.origin

    @property
    def key_name(self) -> str:
        """The name of the log's keys; mostly its origin."""
        return self.signed.note.signatures[0].name


class Same(NamedTuple):
    """Nothing contradicts: one head twice, or one of them is the empty tree."""


class Unproven(NamedTuple):
    """Two heads of two sizes, whose relation only tiles of the newer tree can tell."""

    older: SignedHead
    newer: SignedHead


def authentic(log: KnownLog, signed: SignedCheckpoint) -> SignedHead:
    """Verifies the log's signatures on a checkpoint.

    Raises VerificationError if it is another log's, or no trusted key signed it.
    """
    if signed.checkpoint.origin != log.origin:
        raise VerificationError("a checkpoint of another log")
    judged = authenticate(log, AddCheckpoint(0, (), signed))
    if isinstance(judged, Refusal):
        raise VerificationError(judged.detail)
    return SignedHead(SignedCheckpoint(judged.checkpoint, judged.note), digest_of(signed))


def restored(log: KnownLog, note: bytes) -> SignedHead:
    """Parses a suspicion, and verifies it again, because keys may have been removed.

    Raises:
        FormatError: If it is not a checkpoint.
        VerificationError: As `authentic`.
    """
    return authentic(log, parse_signed_checkpoint(note))


def recorded(note: bytes) -> SignedHead:
    """Parses a head that this witness accepted and stored: it outlives the log's key.

    Raises FormatError if it is not a checkpoint.
    """
    signed = parse_signed_checkpoint(note)
    return SignedHead(signed, digest_of(signed))


def digest_of(signed: SignedCheckpoint) -> bytes:
    """SHA-256 of a checkpoint's text."""
    return sha256(signed.note.text.encode()).digest()


def compare(frontier: SignedHead | None, candidate: SignedHead) -> Same | Unproven | Evidence:
    """Compares a head with the frontier by their notes alone.

    The frontier is None when nothing of this log was accepted yet.
    """
    older, newer = sorted((frontier or candidate, candidate), key=lambda each: each.size)
    if relate(older.head, newer.head) is Relation.UNKNOWN:
        return Unproven(older, newer)
    return contradiction_of(older.signed, newer.signed, None, older.key_name) or Same()


def judge(pair: Unproven, prefix: Prefix) -> Evidence | None:
    """Judges two heads by what the newer tree has at the older size.

    None when the newer tree begins with the older one.
    """
    return contradiction_of(pair.older.signed, pair.newer.signed, prefix, pair.older.key_name)
