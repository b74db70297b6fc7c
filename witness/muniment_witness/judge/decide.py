"""C2SP tlog-witness, "add-checkpoint" and "sign-subtree": what a witness answers, purely.

The rules for a checkpoint, in the order in which they are checked; the first that fails is the
answer:

1. The origin is that of a configured log: 404.
2. At least one signature is by a trusted key of that origin, and no signature line that has the
   name and ID of a trusted key fails to verify: 403. Signatures of unknown keys are ignored.
3. The old size is at most the checkpoint's size: 400.
4. The old size is that of the latest cosigned checkpoint of the origin, zero when there is none:
   409, which tells that size.
5. A checkpoint of size zero has the root of the empty tree: 422.
6. The proof is empty when the old size is zero: 422.
7. When both sizes are equal, so are the roots, and the proof is empty: 422.
8. The proof shows that the latest cosigned tree is a prefix of the checkpoint's: 422.
9. The text is at most MAX_TEXT bytes: 413. (Not of the specification: see there.)
10. The clock is not behind the newest cosignature ever made, and not at zero: 503. (Not of the
    specification, which only forbids timestamp zero: a witness whose clock went backwards would
    state that a smaller tree was the largest at a later time.)

Extension lines are part of the text that is signed, and are not judged.

They are in two halves, so that a service can run the expensive first one (rules 1 and 2, the
signatures; it depends on no state) anywhere, and the second (rules 3 to 10) where requests are put
in order: `authenticate` and `advance`.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from muniment.tlog.checkpoint import Checkpoint
from muniment.tlog.cosignature import MLDSA44Verifier
from muniment.tlog.encoding import VerificationError
from muniment.tlog.heads import EMPTY, Head
from muniment.tlog.merkle import EMPTY_ROOT
from muniment.tlog.note import (
    SignatureLine,
    UnverifiedNote,
    Verifier,
    VKey,
    lines_of,
    verify_note,
)
from muniment.tlog.proofs import is_subtree, verify_consistency, verify_subtree
from muniment.tlog.witnesswire import AddCheckpoint, SignSubtree

NEVER: Final = EMPTY
"""The head of an origin that the witness has never cosigned."""

MAX_TEXT: Final = 8192
"""Largest checkpoint text that is cosigned, in bytes; those of logs have some hundred.

A log chooses its extension lines. A text that leaves no room in a note for cosignatures would make
a head that no start reads and no peer can be shown; thousands of long ones would fill the disk."""

_WHOSE: Final = "send that of the ML-DSA-44 key of this witness that is to cosign the subtree"


class KnownLog(Struct, frozen=True):
    """A log that the witness knows, with its trusted keys; at least one."""

    origin: str
    verifiers: tuple[Verifier, ...]


class Refusal(Struct, frozen=True):
    """The witness does not sign.

    Attributes:
        status: HTTP status that the specification prescribes.
        slug: Stable name of the rule that failed; `detail` says it to a person.
        size: On 409, the size of the latest cosigned checkpoint; None otherwise.
    """

    status: int
    slug: str
    detail: str
    size: int | None = None


class Authentic(Struct, frozen=True):
    """An add-checkpoint request whose checkpoint a trusted key has signed: rules 1 and 2 hold.

    The note has the signatures of trusted keys alone, one for each key; the old size and the
    consistency proof are as claimed, unchecked.
    """

    checkpoint: Checkpoint
    note: UnverifiedNote
    old_size: int
    proof: tuple[bytes, ...]


class Acceptance(Struct, frozen=True):
    """The checkpoint is to be cosigned and becomes the head, if the head is still `old`.

    Attributes:
        old: The head that the decision started from.
        now: Timestamp for the cosignatures, Unix seconds.
        lines: Cosignatures of this witness that exist already, when it takes back a head that it
            had signed before its database was restored; nothing is signed then.
    """

    request: Authentic
    old: Head
    now: int
    lines: tuple[SignatureLine, ...] = ()

    @property
    def head(self) -> Head:
        """The new head."""
        return self.request.checkpoint.head


def authenticate(log: KnownLog | None, request: AddCheckpoint) -> Authentic | Refusal:
    """Applies rules 1 and 2: a known log (None when it is unknown), and its signature."""
    checkpoint = request.checkpoint.checkpoint
    if log is None:
        return Refusal(404, "unknown-origin", "this witness does not know the checkpoint's origin")
    if log.origin != checkpoint.origin:
        raise AssertionError("judged by the keys of another log")
    # The same line many times over costs one verification.
    lines = tuple(dict.fromkeys(request.checkpoint.note.signatures))
    note = UnverifiedNote(request.checkpoint.note.text, lines)
    try:
        verify_note(note, log.verifiers)
    except VerificationError as error:
        return Refusal(403, "bad-signature", str(error))
    return Authentic(
        checkpoint,
        UnverifiedNote(note.text, lines_of(lines, (each.vkey for each in log.verifiers))),
        request.old_size,
        request.proof,
    )


def advance(head: Head, signed: int, request: Authentic, now: int) -> Acceptance | Refusal:
    """Applies rules 3 to 10: whether the latest cosigned head of the origin may move.

    `signed` is the newest timestamp of any cosignature of this witness; both times are Unix
    seconds.
    """
    new = request.checkpoint
    if request.old_size > new.size:
        return Refusal(
            400, "old-size-too-large", f"old size {request.old_size} is more than {new.size}"
        )
    if request.old_size != head.size:
        return Refusal(
            409,
            "conflict",
            f"the latest cosigned checkpoint has size {head.size}, not {request.old_size}",
            head.size,
        )
    if new.size == 0 and new.root != EMPTY_ROOT:
        return Refusal(422, "bad-root", "size zero without the root of the empty tree")
    if head.size == 0 and request.proof:
        return Refusal(422, "bad-proof", "a proof, although the old size is zero")
    if head.size == new.size:
        if head.root != new.root:
            return Refusal(422, "bad-root", "another root than the one cosigned at this size")
        if request.proof:
            return Refusal(422, "bad-proof", "a proof, although the sizes are equal")
    elif head.size > 0:
        try:
            verify_consistency(head.size, head.root, new.size, new.root, request.proof)
        except VerificationError as error:
            return Refusal(422, "bad-proof", str(error))
    if len(request.note.text.encode()) > MAX_TEXT:
        return Refusal(413, "text-too-large", f"a checkpoint's text has at most {MAX_TEXT} bytes")
    if now <= 0 or now < signed:
        return Refusal(503, "clock", "the clock of this witness is behind its own cosignatures")
    return Acceptance(request, head, now)


def decide_subtree(
    own: Sequence[MLDSA44Verifier], *, known: bool, request: SignSubtree
) -> VKey | Refusal:
    """Judges a sign-subtree request: the key that is to cosign the subtree, or why none is.

    The rules, in order:

    1. The range is a valid subtree, not empty (tlog-witness has no spelling for an end of zero, and
       a cosignature of nothing says nothing), and ends within the checkpoint: 400.
    2. The checkpoint's origin is known: 404.
    3. The checkpoint has exactly one signature, a valid cosignature by one of the witness's own
       keys that can cosign subtrees, with a time: 403. That key cosigns: the answer, a signature
       alone, does not name it.
    4. The proof shows that the subtree is part of the checkpoint's tree: 422.
    """
    reference = request.reference.checkpoint
    if request.start >= request.end or not is_subtree(request.start, request.end):
        return Refusal(400, "bad-range", f"[{request.start}, {request.end}) is not a subtree")
    if request.end > reference.size:
        return Refusal(400, "bad-range", f"the subtree ends beyond size {reference.size}")
    if not known:
        return Refusal(404, "unknown-origin", "this witness does not know the checkpoint's origin")
    note = request.reference.note
    if len(note.signatures) != 1:
        said = f"the checkpoint has {len(note.signatures)} signatures, not one: {_WHOSE}"
        return Refusal(403, "bad-signature", said)
    [line] = note.signatures
    signer = next((one for one in own if (line.name, line.key_id) == _of(one)), None)
    if signer is None:
        said = f"the checkpoint is signed by {line.name}+{line.key_id:08x}: {_WHOSE}"
        return Refusal(403, "bad-signature", said)
    try:
        time = signer.verify(note.text, line.signature)
    except VerificationError as error:
        return Refusal(403, "bad-signature", str(error))
    if time == 0:
        return Refusal(403, "bad-signature", "the checkpoint's cosignature states no time")
    try:
        verify_subtree(
            request.start,
            request.end,
            request.hash,
            reference.size,
            reference.root,
            request.proof,
        )
    except VerificationError as error:
        return Refusal(422, "bad-proof", str(error))
    return signer.vkey


def _of(verifier: MLDSA44Verifier) -> tuple[str, int]:
    return verifier.vkey.name, verifier.vkey.key_id
