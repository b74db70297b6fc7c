"""The trust state machine: which checkpoint may follow which, by `heads.relate`. No I/O.

A relying party that follows a log holds the newest checkpoint that it has accepted. Another one is
judged by these rules, in this order; the first that speaks decides:

0. A state that holds proof of misbehaviour accepts nothing, ever, until its owner removes it.
1. Only a ``CosignedCheckpoint`` gets here: the log's signature and the witness quorum of the policy
   hold. The type is the proof; no code path makes one from unverified bytes.
2. It is of the same origin.
3. Size 0 has the empty root; another root is proven misbehaviour (``empty-root``).
4. Without a state, it is accepted: trust on first use, which the caller has to ask for by name.
5. Of equal size: the same root is the same tree; another root is proven misbehaviour
   (``same-size``), both notes kept.
6. Smaller: stale. It is reported and not accepted, and proves nothing: caches are allowed to lag.
7. Larger: it is accepted with a consistency proof from the trusted tree. A proof that fails is a
   suspicion (anyone on the path can spoil a proof). A proof that holds, but from *another* root of
   the old size, is proven misbehaviour (``fork``): the log's key signed both.
"""

from collections.abc import Sequence
from typing import Literal, Self

from msgspec import Struct
from msgspec.structs import replace

from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.encoding import MunimentError, VerificationError, format_base64
from muniment.tlog.evidence import SENTENCES
from muniment.tlog.heads import Prefix, Relation, relate
from muniment.tlog.merkle import EMPTY_ROOT
from muniment.tlog.policy import CosignedCheckpoint

MisbehaviourKind = Literal["same-size", "fork", "empty-root"]


class Misbehaviour(Struct, frozen=True):
    """Proof that the log's key signed two histories.

    The notes are verbatim, older first; one for ``empty-root``. A ``fork`` has the root that the
    newer tree implies at the older size, and the consistency proof from that root.
    """

    kind: MisbehaviourKind
    notes: tuple[bytes, ...]
    implied_root: bytes | None = None
    proof: tuple[bytes, ...] = ()

    @property
    def sentence(self) -> str:
        """What it proves, in words."""
        return SENTENCES[self.kind]


class ProvenMisbehaviour(MunimentError):  # noqa: N818 - says what happened
    """The log misbehaved, and here is the proof."""

    def __init__(self, misbehaviour: Misbehaviour) -> None:
        super().__init__(misbehaviour.sentence)
        self.misbehaviour = misbehaviour


class StaleCheckpoint(MunimentError):  # noqa: N818 - says what happened
    """The size of the checkpoint seen is smaller than the one trusted already."""

    def __init__(self, seen: int, trusted: int) -> None:
        super().__init__(f"the log shows a checkpoint of size {seen}, older than {trusted} seen")
        self.seen = seen
        self.trusted = trusted


class TrustState(Struct, frozen=True):
    """What a relying party knows of one log.

    The checkpoint is the newest accepted one, with the cosignatures it was accepted with.
    """

    checkpoint: SignedCheckpoint
    misbehaviour: Misbehaviour | None = None

    @property
    def origin(self) -> str:
        """The log's origin."""
        return self.checkpoint.checkpoint.origin

    @property
    def size(self) -> int:
        """Number of leaves of the trusted tree."""
        return self.checkpoint.checkpoint.size

    @property
    def root(self) -> bytes:
        """Root of the trusted tree."""
        return self.checkpoint.checkpoint.root

    @classmethod
    def on_first_use(cls, new: CosignedCheckpoint) -> Self:
        """Rules 3 and 4: begins to trust a log with the first checkpoint of it ever seen.

        Raises ProvenMisbehaviour if it is of an empty tree with another root.
        """
        _check_empty(new)
        return cls(new.signed)

    def relate(self, new: CosignedCheckpoint) -> Relation:
        """Rules 0, 2, 3, 5 and 6: all that can be told without a proof.

        Returns SAME; EXTENDS when the trusted tree is empty; UNKNOWN when rule 7 needs a proof.
        Raises ProvenMisbehaviour by rules 0, 3 and 5, VerificationError by rule 2, StaleCheckpoint
        by rule 6.
        """
        if self.misbehaviour is not None:
            raise ProvenMisbehaviour(self.misbehaviour)
        if new.origin != self.origin:
            raise VerificationError(f"the checkpoint is of the log {new.origin}, not {self.origin}")
        _check_empty(new)
        if new.size < self.size:
            raise StaleCheckpoint(new.size, self.size)
        relation = relate(self.checkpoint.checkpoint.head, new.head)
        if relation is Relation.CONTRADICTS:
            raise ProvenMisbehaviour(
                Misbehaviour("same-size", (self.checkpoint.encode(), new.signed.encode()))
            )
        return relation

    def accept(
        self,
        new: CosignedCheckpoint,
        proof: Sequence[bytes],
        *,
        implied_root: bytes | None = None,
    ) -> "TrustState":
        """All rules: the state that trusts ``new``, by a consistency proof from the trusted size.

        With the root at the trusted size as the *new* tree's tiles imply it, a fork is told from a
        spoiled proof. Raises as `relate`, by rule 7 ProvenMisbehaviour or VerificationError.
        """
        if self.relate(new) is Relation.SAME:
            return replace(self, checkpoint=new.signed)
        older = self.checkpoint.checkpoint.head
        hashes = tuple(proof)
        try:
            relation = relate(older, new.head, Prefix(older.root, hashes))
        except VerificationError:
            if implied_root is None or implied_root == older.root:
                raise
            # Only a proof that itself holds says anything about the log.
            relation = relate(older, new.head, Prefix(implied_root, hashes))
        if relation is Relation.CONTRADICTS:
            raise ProvenMisbehaviour(
                Misbehaviour(
                    "fork", (self.checkpoint.encode(), new.signed.encode()), implied_root, hashes
                )
            )
        return replace(self, checkpoint=new.signed)

    def condemned(self, misbehaviour: Misbehaviour) -> "TrustState":
        """The state that remembers the proof and accepts nothing more (rule 0)."""
        return replace(self, misbehaviour=misbehaviour)


def _check_empty(new: CosignedCheckpoint) -> None:
    if new.size == 0 and new.root != EMPTY_ROOT:
        raise ProvenMisbehaviour(Misbehaviour("empty-root", (new.signed.encode(),)))


def describe_root(root: bytes) -> str:
    """A root as the checkpoint writes it."""
    return format_base64(root)
