"""What an evidence file proves, checked with keys that the verifier holds.

The argument, kind by kind, and why an honest log cannot be blamed. A log that keeps one history
signs one root a size, all of them roots of prefixes of one list of leaves. Then:

* `same-size`: two roots of one size are signed. An honest log signs one.
* `fork`: the newer root is signed, and a consistency proof shows that its tree begins with a tree
  of the older size that has another root than the one signed for that size. A consistency proof
  commits the newer root to that beginning, whoever made it and whatever for: without a SHA-256
  collision no other beginning fits.
* `leaf`: two inclusion proofs of one index lead from two leaf hashes to two signed roots. The
  number of hashes in a proof follows from index and size, so no inner node can pass for a leaf.
* `empty-root`: there is one tree of size 0, and its root is not the one signed.
* `index`: a leaf of the log's index is signed, which states the root of the log's leaves and that
  of the map over them. Leaves that have the first root and not the second make it false, and no
  other leaves have the first one. Which map root they have, whoever has them computes.

A failed proof shows nothing, because anyone can spoil one; there is no kind for it. Nor does it
matter which witnesses cosigned what. What is proven is about *keys*: it does not tell the log's
operator from a thief of its key, nor which of the histories is the true one.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.claims import (
    EmptyRoot,
    Evidence,
    Fork,
    Kind,
    Leaf,
    SameSize,
    Shown,
    WrongMapRoot,
)
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import VerificationError, format_base64, printable
from muniment.tlog.merkle import leaf_hash
from muniment.tlog.note import (
    COSIGNATURE_MLDSA44,
    ED25519,
    UnverifiedNote,
    Verified,
    Verifier,
    VKey,
    verify_note,
)
from muniment.tlog.policy import Policy
from muniment.tlog.proofs import verify_consistency, verify_inclusion

SENTENCES: Final[dict[Kind, str]] = {
    "same-size": "the log signed two different trees of the same size",
    "fork": "the log signed a tree that does not contain the tree it signed before",
    "leaf": "the log signed two trees with different leaves at the same index",
    "empty-root": "the log signed an empty tree with a root that is not the empty tree's",
    "index": "the log signed an index that is not that of its leaves",
}
"""What each kind proves, in a sentence."""

_ALGORITHMS: Final = {ED25519: "Ed25519", COSIGNATURE_MLDSA44: "ML-DSA-44"}


class Proven(Struct, frozen=True):
    """*Verified* evidence: keys of the log signed two histories. Only `verify_evidence` makes one.

    The evidence is reduced to signature lines that were verified, so it is what may be kept and
    passed on. `signatures` are, for each of its checkpoints, the keys of the log that signed it, at
    least one, with the times that ML-DSA-44 signatures state.
    """

    evidence: Evidence
    signatures: tuple[tuple[Verified, ...], ...]

    @property
    def origin(self) -> str:
        """The origin of the log."""
        return self.evidence.origin

    @property
    def kind(self) -> Kind:
        """The kind of the evidence."""
        return self.evidence.kind

    @property
    def sentence(self) -> str:
        """What it proves, in a sentence."""
        return SENTENCES[self.kind]

    @property
    def is_one_key(self) -> bool:
        """Whether a single key signed all of it; else it takes several keys of the log."""
        keys = [{verified.vkey for verified in signed} for signed in self.signatures]
        return bool(set.intersection(*keys))


def log_verifiers(
    policy: Policy, old: Iterable[VKey] = (), *, origin: str | None = None
) -> tuple[Verifier, ...]:
    """The verifiers of a policy's logs and of keys that they had before; make them once.

    Of the log of an origin, or of all when that is None.
    """
    if origin is None:
        every = (key for origin in policy.origins for key in policy.log_keys(origin))
        keys = tuple(dict.fromkeys((*every, *old)))
    else:
        keys = policy.log_keys(origin, old)
    return tuple(verifier_for(key) for key in keys)


def verify_evidence(
    evidence: Evidence,
    verifiers: Iterable[Verifier],
    *,
    origin: str | None = None,
    computed: bytes | None = None,
) -> Proven:
    """Verifies that keys of the log signed what the evidence says, and that it is a contradiction.

    The checkpoints may be signed by different keys of the log: a log with two keys could otherwise
    sign each of its histories with one of them. `origin` is that of the log that all verifiers are
    of; when it is None, each is of the log that has its key's name as its origin, and the others do
    not count, nor do other keys than logs'. `computed` is what only `index` needs: the root of the
    map over leaves that have the root of the tree that the index leaf names. Raises
    VerificationError, which says what does not hold; nothing is then proven about the log.
    """
    known = [
        verifier
        for verifier in verifiers
        if (verifier.vkey.name if origin is None else origin) == evidence.origin
        and verifier.vkey.algorithm in _ALGORITHMS
    ]
    if not known:
        raise VerificationError(f"evidence: no key is known of the log {evidence.origin}")
    signatures: list[tuple[Verified, ...]] = []
    for number, signed in enumerate(evidence.checkpoints, 1):
        try:
            signatures.append(verify_note(signed.note, known).signatures)
        except VerificationError as error:
            raise VerificationError(f"evidence: checkpoint {number}: {error}") from None
    try:
        _check_proofs(evidence, computed)
    except VerificationError as error:
        raise VerificationError(f"evidence: {error}") from None
    return Proven(_reduce(evidence, signatures), tuple(signatures))


def _check_proofs(evidence: Evidence, computed: bytes | None) -> None:
    match evidence:
        case Fork():
            older, newer = evidence.heads
            verify_consistency(
                older.size, evidence.implied_root, newer.size, newer.root, evidence.proof
            )
        case Leaf():
            for shown in (evidence.first, evidence.second):
                head = shown.checkpoint.checkpoint
                verify_inclusion(shown.leaf_hash, evidence.index, head.size, shown.proof, head.root)
        case WrongMapRoot():
            head, entry = evidence.checkpoint.checkpoint, leaf_hash(evidence.leaf.encode())
            verify_inclusion(entry, evidence.index, head.size, evidence.proof, head.root)
            if computed is None:
                raise VerificationError("it takes the leaves of the log to say which root is right")
            if computed != evidence.computed:
                raise VerificationError(
                    f"the map over the leaves has the root {format_base64(computed)}"
                )
        case SameSize() | EmptyRoot():
            pass  # that the heads contradict each other is a condition of their type


def _reduce(evidence: Evidence, signatures: list[tuple[Verified, ...]]) -> Evidence:
    """The evidence with the signature lines of these keys alone."""
    kept = [
        _only(signed, {verified.vkey.key_id for verified in by})
        for signed, by in zip(evidence.checkpoints, signatures, strict=True)
    ]
    match evidence:
        case SameSize():
            return SameSize(*kept)
        case Fork():
            older, newer = kept
            return Fork(older, newer, evidence.implied_root, evidence.proof)
        case Leaf():
            first, second = (
                Shown(shown.leaf_hash, shown.proof, signed)
                for shown, signed in zip((evidence.first, evidence.second), kept, strict=True)
            )
            return Leaf(evidence.index, first, second)
        case EmptyRoot():
            return EmptyRoot(*kept)
        case WrongMapRoot():
            return replace(evidence, checkpoint=kept[0])


def _only(signed: SignedCheckpoint, key_ids: set[int]) -> SignedCheckpoint:
    lines = tuple(line for line in signed.note.signatures if line.key_id in key_ids)
    return SignedCheckpoint(signed.checkpoint, UnverifiedNote(signed.note.text, lines))


def describe(evidence: Evidence) -> list[str]:
    """What an evidence file claims, unverified: sentences in which only printable text stands."""
    lines = [f"Log {printable(evidence.origin)}: {SENTENCES[evidence.kind]}."]
    for number, head in enumerate(evidence.heads, 1):
        name = f"Checkpoint {number}" if len(evidence.heads) > 1 else "The checkpoint"
        leaves = "leaf" if head.size == 1 else "leaves"
        lines.append(f"{name}: a tree of {head.size} {leaves}, root {format_base64(head.root)}.")
    match evidence:
        case SameSize():
            lines.append("A tree of one size has one root: these are two histories.")
        case Fork():
            size = evidence.older.checkpoint.size
            lines.append(
                f"The first {size} leaves of checkpoint 2 have the root "
                f"{format_base64(evidence.implied_root)}, by a consistency proof of "
                f"{len(evidence.proof)} hashes; that is not the root of checkpoint 1. So the "
                "larger tree is not a continuation of the smaller one."
            )
        case Leaf():
            for number, shown in enumerate((evidence.first, evidence.second), 1):
                lines.append(
                    f"Leaf {evidence.index} of checkpoint {number} has the hash "
                    f"{format_base64(shown.leaf_hash)}, by an inclusion proof of "
                    f"{len(shown.proof)} hashes."
                )
            lines.append("A log never replaces a leaf: these are two histories.")
        case EmptyRoot():
            lines.append("There is only one tree without leaves, and this is not its root.")
        case WrongMapRoot():
            stated = evidence.leaf
            lines.append(
                f"Leaf {evidence.index} of it is about the first {stated.head.size} leaves of log "
                f"{printable(stated.origin)}, root {format_base64(stated.head.root)}: their map "
                f"has the root {format_base64(stated.map_root)}, it says."
            )
            lines.append(
                f"By the leaves themselves that is {format_base64(evidence.computed)}, so what is "
                "proved from this index may leave records out, or name some that do not belong."
            )
    return lines


def explain(proven: Proven) -> list[str]:
    """What verified evidence proves: who signed what, and what follows; lines as `describe`."""
    lines = describe(proven.evidence)
    for number, signed in enumerate(proven.signatures, 1):
        name = f"Checkpoint {number}" if len(proven.signatures) > 1 else "The checkpoint"
        lines += [f"{name} is signed by {_key(verified)}." for verified in signed]
    if not proven.is_one_key:
        lines.append(
            "No single key signed both checkpoints; all of these keys are known as the log's."
        )
    if isinstance(proven.evidence, WrongMapRoot):
        lines.append(
            "A log that indexes all its leaves never signs this. Whoever holds the log's key did."
        )
    else:
        lines.append(
            "A log that keeps one history never signs this. Whoever holds the log's key did: the "
            "log, or a thief of its key. Which history is the true one, this does not say."
        )
    return lines


def _key(verified: Verified) -> str:
    vkey = verified.vkey
    when = f", stating the time {verified.timestamp}" if verified.timestamp else ""
    return f"the {_ALGORITHMS[vkey.algorithm]} key {printable(vkey.name)}+{vkey.key_id:08x}{when}"
