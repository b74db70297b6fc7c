"""C2SP tlog-witness ("HTTP Interface"): request and response bodies, parsed and written.

Only the shape is checked here. What the protocol answers with a status of its own (sizes, proofs,
subtree ranges, signatures) is for the witness to decide, in the order that the spec prescribes.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from msgspec import Struct

from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.encoding import (
    FormatError,
    format_base64,
    parse_decimal,
    parse_hash,
    parse_hashes,
    parse_text,
    split_lines,
)
from muniment.tlog.note import (
    MAX_NOTE_SIZE,
    MAX_SIGNATURES,
    SignatureLine,
    parse_signature_line,
)

MAX_PROOF_LINES: Final = 63
"""Most proof lines that a client may send."""

MAX_HEADER_SIZE: Final = 4096
"""Longest part before the empty line, in bytes: 63 hashes of 45, and the lines before them."""

MAX_REQUEST_SIZE: Final = MAX_HEADER_SIZE + MAX_NOTE_SIZE
"""Largest request body in bytes."""

MAX_COSIGNATURES_SIZE: Final = MAX_NOTE_SIZE
"""Largest response body in bytes: as many signatures as a note holds."""

SIZE_CONTENT_TYPE: Final = "text/x.tlog.size"
"""Content type of the body of a 409 answer to add-checkpoint."""

_MAX_SIZE_BODY: Final = 32
_OLD: Final = "old "
_SUBTREE: Final = "subtree "


class AddCheckpoint(Struct, frozen=True):
    """The body of a request, unverified; the proof has at most MAX_PROOF_LINES hashes."""

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: SignedCheckpoint

    def encode(self) -> bytes:
        """The body; ValueError if the proof is longer than a client may send."""
        return _join([f"{_OLD}{self.old_size}"], self.proof, self.checkpoint)


def parse_add_checkpoint(data: bytes) -> AddCheckpoint:
    """Parses the one spelling of a request, at most MAX_REQUEST_SIZE bytes; else FormatError."""
    lines, checkpoint = _split(data, "add-checkpoint")
    old = _value(lines[0], _OLD, "old size line")
    return AddCheckpoint(parse_decimal(old, "old size"), _parse_proof(lines[1:]), checkpoint)


class SignSubtree(Struct, frozen=True):
    """The body of a sign-subtree request, unverified; nor is [start, end) known to be a subtree.

    The proof leads from `hash` to `reference`, which the witness has cosigned; at most
    MAX_PROOF_LINES hashes.
    """

    start: int
    end: int
    hash: bytes
    proof: tuple[bytes, ...]
    reference: SignedCheckpoint

    def encode(self) -> bytes:
        """The body; ValueError if the proof is longer than a client may send."""
        head = [f"{_SUBTREE}{self.start} {self.end}", format_base64(self.hash)]
        return _join(head, self.proof, self.reference)


def parse_sign_subtree(data: bytes) -> SignSubtree:
    """Parses the one spelling of a request, at most MAX_REQUEST_SIZE bytes; else FormatError."""
    lines, reference = _split(data, "sign-subtree")
    start, _, end = _value(lines[0], _SUBTREE, "subtree range line").partition(" ")
    if len(lines) == 1:
        raise FormatError("sign-subtree: no subtree hash line")
    return SignSubtree(
        parse_decimal(start, "subtree start"),
        parse_decimal(end, "subtree end"),
        parse_hash(lines[1], "subtree hash line"),
        _parse_proof(lines[2:]),
        reference,
    )


def _split(data: bytes, what: str) -> tuple[list[str], SignedCheckpoint]:
    """Splits at the first empty line; the checkpoint cannot hold the separator's before its own."""
    cut = data.find(b"\n\n", 0, MAX_HEADER_SIZE)
    if cut < 0:
        raise FormatError(f"{what}: no empty line in the first {MAX_HEADER_SIZE} bytes")
    header = parse_text(data[: cut + 1], what, most=MAX_HEADER_SIZE)
    return split_lines(header), parse_signed_checkpoint(data[cut + 2 :])


def _value(line: str, prefix: str, what: str) -> str:
    if not line.startswith(prefix):
        raise FormatError(f"{what}: does not start with {prefix!r}")
    return line[len(prefix) :]


def _parse_proof(lines: list[str]) -> tuple[bytes, ...]:
    if len(lines) > MAX_PROOF_LINES:
        raise FormatError(f"more than {MAX_PROOF_LINES} proof lines")
    return parse_hashes(lines, "proof line")


def _join(head: list[str], proof: tuple[bytes, ...], checkpoint: SignedCheckpoint) -> bytes:
    if len(proof) > MAX_PROOF_LINES:
        raise ValueError(f"more than {MAX_PROOF_LINES} proof lines")
    lines = [*head, *map(format_base64, proof), "", ""]
    return "\n".join(lines).encode("ascii") + checkpoint.encode()


def parse_cosignatures(data: bytes) -> tuple[SignatureLine, ...]:
    """Parses a response body: 1 to MAX_SIGNATURES signature lines; FormatError if it is not that.

    The client takes over those that verify with keys that it knows, and ignores unknown keys.
    """
    lines = split_lines(parse_text(data, "cosignatures", most=MAX_COSIGNATURES_SIZE))
    if len(lines) > MAX_SIGNATURES:
        raise FormatError(f"cosignatures: more than {MAX_SIGNATURES} lines")
    return tuple(
        parse_signature_line(line, f"cosignatures: line {number}")
        for number, line in enumerate(lines, 1)
    )


def format_cosignatures(lines: Iterable[SignatureLine]) -> bytes:
    """Writes a response body; ValueError if there is no line, or more than a note can hold."""
    text = [line.line for line in lines]
    if not 1 <= len(text) <= MAX_SIGNATURES:
        raise ValueError(f"{len(text)} cosignatures, not 1 to {MAX_SIGNATURES}")
    return "".join(text).encode("utf-8")


def format_subtree_signature(signature: bytes) -> bytes:
    """Writes the body of a 200 answer to sign-subtree."""
    return format_base64(signature).encode("ascii") + b"\n"


def parse_size(data: bytes) -> int:
    """Parses the body of a 409 answer, a tree size and a newline; FormatError if it is not that."""
    lines = split_lines(parse_text(data, "tree size", most=_MAX_SIZE_BODY))
    if len(lines) != 1:
        raise FormatError("tree size: not one line")
    return parse_decimal(lines[0], "tree size")


def format_size(size: int) -> bytes:
    """Writes the body of a 409 answer."""
    return f"{size}\n".encode("ascii")


def origin_hash(origin: str) -> str:
    """The path element that stands for a log at the monitoring prefix: 64 hexadecimal digits."""
    return sha256(origin.encode("utf-8")).hexdigest()
