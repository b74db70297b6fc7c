"""The permit file: a C2SP tlog-proof whose extra data is the logged record.

Any tool that reads tlog-proofs reads a permit. The leaf hash is computed from the extra data, so
nothing in it counts unless the proof holds.
"""

from dataclasses import InitVar, dataclass, field, replace
from typing import Final, Self

from muniment.records.codec import parse_record
from muniment.records.kinds import Decision, Record
from muniment.tlog.encoding import FormatError
from muniment.tlog.tlogproof import MAX_TLOG_PROOF_SIZE, TlogProof, parse_tlog_proof

EXTENSION: Final = ".permit"
"""File name extension that we use."""

MAX_PERMIT_SIZE: Final = MAX_TLOG_PROOF_SIZE
"""Largest permit in bytes."""


@dataclass(frozen=True, slots=True)
class Permit:
    """A logged decision with its proof, unverified: `verify_permit` says what it is worth.

    The proof's extra data is the record's exact bytes, the leaf `entry`; FormatError if they are no
    valid record. A permit that is any good holds a decision.
    """

    proof: TlogProof
    entry: bytes = field(init=False, repr=False, compare=False)
    record: Record = field(init=False, compare=False)
    parsed: InitVar[Record | None] = None

    def __post_init__(self, parsed: Record | None) -> None:
        if self.proof.extra is None:
            raise FormatError("permit: the proof has no extra line with the record")
        object.__setattr__(self, "entry", self.proof.extra)
        try:
            object.__setattr__(self, "record", parsed or parse_record(self.entry))
        except FormatError as error:
            raise FormatError(f"permit: {error}") from None

    @classmethod
    def of(cls, entry: bytes, proof: TlogProof, record: Record | None = None) -> Self:
        """Makes a permit of a record's exact bytes and its proof, whose extra data is replaced.

        Who has parsed these bytes already hands over the ``record``; it is not parsed again.
        """
        return cls(replace(proof, extra=entry), record)

    @property
    def decision(self) -> Decision | None:
        """The decision; None when the record is of another kind."""
        return self.record if isinstance(self.record, Decision) else None

    @property
    def index(self) -> int:
        """The leaf index that the proof states."""
        return self.proof.index

    def encode(self) -> bytes:
        """The bytes of the file; `parse_permit` gives back an equal permit."""
        return self.proof.encode()


def parse_permit(data: bytes) -> Permit:
    """Parses the one spelling of a permit, at most MAX_PERMIT_SIZE bytes, unverified.

    Raises FormatError if the data is no tlog-proof, or its extra data no valid record.
    """
    if len(data) > MAX_PERMIT_SIZE:
        raise FormatError(f"permit: more than {MAX_PERMIT_SIZE} bytes")
    return Permit(parse_tlog_proof(data))
