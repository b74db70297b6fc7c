"""C2SP tlog-checkpoint: the head of a log as the text of a signed note.

A `SignedCheckpoint` is parsed and *not* verified; `policy.Policy.verify` turns it into a
`policy.CosignedCheckpoint`, which is.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Self

from msgspec import Struct

from muniment.tlog.encoding import (
    MAX_SIZE,
    FormatError,
    format_base64,
    parse_decimal,
    parse_hash,
    split_lines,
)
from muniment.tlog.heads import Head
from muniment.tlog.merkle import HASH_SIZE
from muniment.tlog.note import SignatureLine, Signer, UnverifiedNote, parse_note, sign_note

_MANDATORY_LINES: Final = 3
_FORBIDDEN: Final = re.compile("[\x00-\x1f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log states about itself at one size; FormatError if a member cannot stand in it.

    Nothing may be assumed of the origin but that it is not empty; that size 0 has the root of the
    empty tree is for the verifier of proofs to check. ML-DSA-44 signatures do not cover the
    extension lines, none of them empty, and witnesses do not judge them: never base a decision on
    one.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()
    _text: str = field(default="", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for what, line in (("origin", self.origin), *(("extension", e) for e in self.extensions)):
            if not line:
                raise FormatError(f"checkpoint: empty {what} line")
            if _FORBIDDEN.search(line):
                raise FormatError(f"checkpoint: control character or lone surrogate in {what}")
        if not 0 <= self.size <= MAX_SIZE:
            raise FormatError(f"checkpoint: size is not between 0 and {MAX_SIZE}")
        if len(self.root) != HASH_SIZE:
            raise FormatError(f"checkpoint: root hash of {len(self.root)} bytes")

    @property
    def head(self) -> Head:
        """Size and root."""
        return Head(self.size, self.root)

    @property
    def text(self) -> str:
        """The note text, the inverse of `parse_checkpoint`."""
        # Kept: a note is compared with it, and every signature is over it.
        if not self._text:
            lines = (self.origin, str(self.size), format_base64(self.root), *self.extensions, "")
            object.__setattr__(self, "_text", "\n".join(lines))
        return self._text


def parse_checkpoint(text: str) -> Checkpoint:
    """Parses the one spelling of a checkpoint's text (tlog-checkpoint, "Note text"), unverified.

    The caller bounds the length. Raises FormatError if the text is not a checkpoint.
    """
    lines = split_lines(text)
    if len(lines) < _MANDATORY_LINES:
        raise FormatError("checkpoint: fewer than three lines")
    origin, size, root, *extensions = lines
    checkpoint = Checkpoint(
        origin,
        parse_decimal(size, "checkpoint: tree size"),
        parse_hash(root, "checkpoint: root hash"),
        tuple(extensions),
    )
    object.__setattr__(checkpoint, "_text", text)  # the one spelling
    return checkpoint


checkpoint_of: Final = lru_cache(maxsize=8)(parse_checkpoint)
"""As `parse_checkpoint`, and the newest few texts once: several keys sign one head."""


class SignedCheckpoint(Struct, frozen=True):
    """A checkpoint and its note, unverified; ValueError if it is the note of something else."""

    checkpoint: Checkpoint
    note: UnverifiedNote

    def __post_init__(self) -> None:
        if self.note.text != self.checkpoint.text:
            raise ValueError("the note is not that of the checkpoint")

    def encode(self) -> bytes:
        """The bytes of the note; `parse_signed_checkpoint` gives back an equal value."""
        return self.note.encode()

    def with_signatures(self, lines: Iterable[SignatureLine]) -> Self:
        """Appends lines that it does not have; FormatError beyond `note.MAX_SIGNATURES`."""
        return type(self)(self.checkpoint, self.note.with_signatures(lines))


def parse_signed_checkpoint(data: bytes) -> SignedCheckpoint:
    """Parses the one spelling of a signed checkpoint, unverified, at most `note.MAX_NOTE_SIZE`.

    Raises FormatError if the data is not a note, or its text is not a checkpoint.
    """
    note = parse_note(data)
    return SignedCheckpoint(checkpoint_of(note.text), note)


def sign_checkpoint(
    checkpoint: Checkpoint, signers: Sequence[Signer], now: int
) -> SignedCheckpoint:
    """Signs a checkpoint with every signer, at least one, in order; `now` is in Unix seconds.

    It must be consistent with all heads that these keys ever signed. Raises FormatError if a signer
    refuses the text.
    """
    return SignedCheckpoint(checkpoint, sign_note(checkpoint.text, signers, now))
