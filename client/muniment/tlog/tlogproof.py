"""C2SP tlog-proof: an inclusion proof and a cosigned checkpoint in one text, verified offline."""

from typing import Final

from msgspec import Struct

from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.encoding import (
    MAX_SIZE,
    FormatError,
    format_base64,
    parse_base64,
    parse_decimal,
    parse_hashes,
    parse_text,
    split_lines,
)
from muniment.tlog.merkle import HASH_SIZE, are_hashes, leaf_hash
from muniment.tlog.note import MAX_NOTE_SIZE
from muniment.tlog.policy import CosignedCheckpoint, Policy
from muniment.tlog.proofs import MAX_PROOF, verify_inclusion

HEADER: Final = "c2sp.org/tlog-proof@v1"
"""The first line."""

EXTENSION: Final = ".tlog-proof"
"""File name extension that the spec recommends."""

MAX_EXTRA: Final = 64 * 1024
"""Most extra data in bytes: as much as a log entry."""

_MAX_HEADER_SIZE: Final = 4 * 1024 + (MAX_EXTRA + 2) // 3 * 4

MAX_TLOG_PROOF_SIZE: Final = _MAX_HEADER_SIZE + MAX_NOTE_SIZE
"""Largest proof in bytes: 63 hashes, the extra data in base64, and a note."""

_EXTRA: Final = "extra "
_INDEX: Final = "index "


class TlogProof(Struct, frozen=True):
    """A proof that an entry is in a log, unverified; FormatError if a member cannot stand in one.

    The inclusion proof goes from the leaf's sibling up, at most MAX_PROOF hashes. `extra` is
    application data, 1 to MAX_EXTRA bytes; nothing authenticates it, not even a proof that
    verifies.
    """

    index: int
    proof: tuple[bytes, ...]
    checkpoint: SignedCheckpoint
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index <= MAX_SIZE:
            raise FormatError(f"tlog-proof: index is not between 0 and {MAX_SIZE}")
        if len(self.proof) > MAX_PROOF:
            raise FormatError(f"tlog-proof: more than {MAX_PROOF} proof lines")
        if not are_hashes(self.proof):
            raise FormatError(f"tlog-proof: a proof hash is not {HASH_SIZE} bytes")
        # "If no extra data is present, this line is omitted": there is no empty extra line.
        if self.extra is not None and not 1 <= len(self.extra) <= MAX_EXTRA:
            raise FormatError(f"tlog-proof: extra data is not 1 to {MAX_EXTRA} bytes")

    def encode(self) -> bytes:
        """The bytes of the proof; `parse_tlog_proof` gives back an equal value."""
        lines = [HEADER]
        if self.extra is not None:
            lines.append(f"{_EXTRA}{format_base64(self.extra)}")
        lines += [f"{_INDEX}{self.index}", *map(format_base64, self.proof), "", ""]
        return "\n".join(lines).encode("ascii") + self.checkpoint.encode()


def parse_tlog_proof(data: bytes) -> TlogProof:
    """Parses the one spelling of a proof, unverified; FormatError if it is not that or too long."""
    cut = data.find(b"\n\n", 0, _MAX_HEADER_SIZE)
    if cut < 0:
        raise FormatError("tlog-proof: no empty line after the proof, or beyond the size limits")
    lines = split_lines(parse_text(data[: cut + 1], "tlog-proof", most=_MAX_HEADER_SIZE))
    if lines[0] != HEADER:
        raise FormatError(f"tlog-proof: the first line is not {HEADER}")
    del lines[0]
    extra = None
    if lines and lines[0].startswith(_EXTRA):
        extra = parse_base64(lines.pop(0)[len(_EXTRA) :], "tlog-proof: extra line")
    if not lines or not lines[0].startswith(_INDEX):
        raise FormatError("tlog-proof: no index line")
    index = parse_decimal(lines.pop(0)[len(_INDEX) :], "tlog-proof: index")
    proof = parse_hashes(lines, "tlog-proof: proof line")
    return TlogProof(index, proof, parse_signed_checkpoint(data[cut + 2 :]), extra)


def verify_tlog_proof(proof: TlogProof, entry: bytes, policy: Policy) -> CosignedCheckpoint:
    """Verifies that an entry is in a log of the policy ("Verifying a tlog proof").

    The extra data is ignored; the times of the cosignatures are for the caller to judge. Raises
    VerificationError if the policy does not accept the checkpoint, or the entry is not at that
    index of its tree.
    """
    cosigned = policy.verify(proof.checkpoint)
    verify_inclusion(leaf_hash(entry), proof.index, cosigned.size, proof.proof, cosigned.root)
    return cosigned
