"""What a gateway gets back for its records: receipts, and proofs once a quorum has cosigned.

A receipt is the log's promise: on disk, an index for ever, in the tree. A published receipt is
more: a checkpoint and a proof, checked here before anyone sees it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple, cast

from muniment.errors import BadAnswer, VerificationError
from muniment.http.loganswers import LogReceipt, PublishedPart, decode_hashes
from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.encoding import FormatError
from muniment.tlog.policy import CosignedCheckpoint, Policy
from muniment.tlog.proofs import verify_inclusion
from muniment.tlog.tlogproof import TlogProof


@dataclass(frozen=True, slots=True)
class Published:
    """The checkpoint that covers a batch, and one inclusion proof a record in order, all checked.

    Without a policy ``cosigned`` is None: then the proofs lead to the checkpoint's root, but nobody
    checked who signed it.
    """

    checkpoint: SignedCheckpoint
    proofs: tuple[tuple[bytes, ...], ...]
    cosigned: CosignedCheckpoint | None


@dataclass(frozen=True, slots=True)
class BatchReceipt:
    """Where one batch stands in the log.

    Attributes:
        stream: The stream's label.
        sequence: Sequence number, on the stream, of the first record.
        first: Leaf index of the first record; the others follow it.
        count: Number of records.
        manifest: Leaf index of the manifest, always ``first + count``.
        size: Size of the integrated tree after the batch.
        published: The cosigned checkpoint and the proofs, when they were asked for.
    """

    stream: str
    sequence: int
    first: int
    count: int
    manifest: int
    size: int
    published: Published | None = None


class Receipt(NamedTuple):
    """Where one record stands in the log; ``leaf_hash`` is the RFC 6962 hash of ``entry``."""

    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    entry: bytes
    leaf_hash: bytes
    batch: BatchReceipt

    def tlog_proof(self) -> TlogProof:
        """The record's C2SP tlog-proof; a ``ValueError`` without ``published=True``."""
        published = self.batch.published
        if published is None:
            raise ValueError("the receipt has no proof: submit with published=True")
        return TlogProof(
            index=self.index,
            proof=published.proofs[self.index - self.batch.first],
            checkpoint=published.checkpoint,
        )


def make_receipts(
    first: int, entries: Sequence[bytes], leaf_hashes: Sequence[bytes], batch: BatchReceipt
) -> list[Receipt]:
    """The receipts of records that follow one another in a batch, from leaf ``first`` on."""
    numbers = range(first, first + len(entries))
    values = zip(numbers, entries, leaf_hashes, repeat(batch, len(entries)), strict=True)
    # No function of Python is called for each: half of the time.
    return cast("list[Receipt]", [*map(tuple.__new__, repeat(Receipt), values)])


def check_receipt(answer: LogReceipt, *, count: int) -> None:
    """Raises ``BadAnswer`` if a receipt cannot be that of a batch of ``count`` records."""
    if (
        answer.first < 0
        or answer.count != count
        or answer.manifest != answer.first + count
        or answer.size <= answer.manifest
    ):
        raise BadAnswer(
            f"receipt: first {answer.first}, count {answer.count}, manifest {answer.manifest} and "
            f"size {answer.size} do not fit a batch of {count} records"
        )


def check_published(
    part: PublishedPart,
    *,
    first: int,
    leaf_hashes: Sequence[bytes],
    origin: str,
    policy: Policy | None,
) -> Published:
    """Checks the published part of a receipt: the checkpoint, then each record's proof.

    ``leaf_hashes`` are the records', from leaf ``first`` on, without the manifest's. Without a
    policy the checkpoint's signatures stay unverified.

    Raises:
        BadAnswer: If the part is malformed.
        VerificationError: If the checkpoint does not meet the policy, is of another log, or a
            proof does not lead to its root.
    """
    try:
        checkpoint = parse_signed_checkpoint(part.checkpoint.encode())
    except (FormatError, UnicodeEncodeError) as error:
        raise BadAnswer(f"receipt: {error}") from None
    if len(part.proofs) != len(leaf_hashes):
        raise BadAnswer(f"receipt: {len(part.proofs)} proofs for {len(leaf_hashes)} records")
    cosigned = None if policy is None else policy.verify(checkpoint, origin=origin)
    head = checkpoint.checkpoint
    if head.origin != origin:
        raise VerificationError(f"the checkpoint is of the log {head.origin}, not of {origin}")
    proofs = tuple([decode_hashes(proof, "receipt: proof") for proof in part.proofs])
    for index, (leaf, proof) in enumerate(zip(leaf_hashes, proofs, strict=True), first):
        verify_inclusion(leaf, index, head.size, proof, head.root)
    return Published(checkpoint, proofs, cosigned)
