"""The permit file: a C2SP tlog-proof whose extra data is the logged record.

Any tool that reads tlog-proofs reads a permit. The leaf hash is computed from the extra data, so
nothing in it counts unless the proof holds. Addenda that disclose withheld members of the record
stand before the proof, in lines of their own: see `HEADER`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import InitVar, dataclass, field, replace
from hashlib import sha256
from typing import Any, Final, Self

from muniment.records.addenda import Disclosure, disclose
from muniment.records.codec import parse_record
from muniment.records.kinds import Decision, Record
from muniment.records.members import MAX_ITEMS
from muniment.tlog.encoding import (
    FormatError,
    VerificationError,
    format_base64,
    parse_base64,
    parse_text,
    split_lines,
)
from muniment.tlog.tlogproof import MAX_TLOG_PROOF_SIZE, TlogProof, parse_tlog_proof

EXTENSION: Final = ".permit"
"""File name extension that we use."""

HEADER: Final = "muniment/disclosing-permit/v1"
"""The first line of a permit with addenda; behind its first empty line stands the tlog-proof."""

MAX_DISCLOSED: Final = 24 * 1024 * 1024
"""Most bytes of addenda in a permit: as many as one batch may bring."""

_ADDENDUM: Final = "addendum "
_MAX_LINES_SIZE: Final = (
    len(HEADER) + (MAX_DISCLOSED + 2) // 3 * 4 + MAX_ITEMS * (len(_ADDENDUM) + 5)
)

MAX_PERMIT_SIZE: Final = _MAX_LINES_SIZE + MAX_TLOG_PROOF_SIZE
"""Largest permit in bytes."""


@dataclass(frozen=True, slots=True)
class Permit:
    """A logged decision with its proof, unverified: `verify_permit` says what it is worth.

    The proof's extra data is the record's exact bytes, the leaf `entry`; FormatError if they are no
    valid record. A permit that is any good holds a decision. Its `addenda`, by ascending digest,
    disclose withheld members of that; FormatError if it names none of them, or together they are
    longer than MAX_DISCLOSED bytes. What is `held` beside them, by digest, is not in the file.
    """

    proof: TlogProof
    entry: bytes = field(init=False, repr=False, compare=False)
    record: Record = field(init=False, compare=False)
    parsed: InitVar[Record | None] = None
    addenda: tuple[bytes, ...] = field(default=(), repr=False)
    held: Mapping[str, bytes] = field(default_factory=dict[str, bytes], repr=False, compare=False)
    _disclosure: Disclosure | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self, parsed: Record | None) -> None:
        if self.proof.extra is None:
            raise FormatError("permit: the proof has no extra line with the record")
        object.__setattr__(self, "entry", self.proof.extra)
        try:
            object.__setattr__(self, "record", parsed or parse_record(self.entry))
            if self.addenda:
                self._disclose()
        except (FormatError, VerificationError) as error:
            raise FormatError(f"permit: {error}") from None

    def _disclose(self) -> None:
        if sum(map(len, self.addenda)) > MAX_DISCLOSED:
            raise FormatError(f"addenda of more than {MAX_DISCLOSED} bytes")
        if self.decision is None:
            raise FormatError("addendum 0: the record is no decision, and withholds nothing")
        ordered = tuple(sorted(set(self.addenda), key=_digest))
        object.__setattr__(self, "addenda", ordered)
        object.__setattr__(self, "_disclosure", disclose(self.decision, ordered))

    @classmethod
    def of(
        cls,
        entry: bytes,
        proof: TlogProof,
        record: Record | None = None,
        *,
        held: Mapping[str, bytes] | None = None,
    ) -> Self:
        """Makes a permit of a record's exact bytes and its proof, whose extra data is replaced.

        Who has parsed these bytes already hands over the ``record``; it is not parsed again.
        ``held`` are addenda by digest, for `disclose`.
        """
        return cls(replace(proof, extra=entry), record, held=held or {})

    @property
    def decision(self) -> Decision | None:
        """The decision; None when the record is of another kind."""
        return self.record if isinstance(self.record, Decision) else None

    @property
    def index(self) -> int:
        """The leaf index that the proof states."""
        return self.proof.index

    @property
    def whole(self) -> Decision | None:
        """The decision with the disclosed members in their places; not the bytes that are logged.

        Raises FormatError if a pointer of the decision is not valid.
        """
        return self.decision if self._disclosure is None else self._disclosure.decision

    @property
    def disclosed(self) -> Mapping[str, Any]:
        """The value for each pointer that is disclosed."""
        return {} if self._disclosure is None else self._disclosure.disclosed

    @property
    def withheld(self) -> tuple[str, ...]:
        """The pointers that the decision withholds and the permit does not disclose."""
        pointers = (self.decision.addenda if self.decision is not None else None) or {}
        return tuple([pointer for pointer in pointers if pointer not in self.disclosed])

    def disclose(self, pointers: Iterable[str], addenda: Iterable[bytes] = ()) -> Self:
        """The permit with the addenda of these members, and no others.

        Raises FormatError if the decision does not withhold a member, its addendum is not there, or
        all of them are too long for a permit.

        Args:
            pointers: JSON pointers, as the decision has them in its member `addenda`.
            addenda: Addenda that the permit has not got: from the log
                (``LogClient.addendum``), or from the spool of a gateway that keeps them.
        """
        known = {**self.held, **{_digest(one): one for one in (*self.addenda, *addenda)}}
        named = (self.decision.addenda if self.decision is not None else None) or {}
        chosen: list[bytes] = []
        for pointer in pointers:
            digest = named.get(pointer)
            if digest is None:
                raise FormatError(f"{pointer!a}: the decision withholds no such member")
            if digest not in known:
                raise FormatError(f"{pointer}: addendum {digest} is not at hand: give it, too")
            chosen.append(known[digest])
        return type(self)(self.proof, self.record, tuple(chosen), known)

    def encode(self) -> bytes:
        """The bytes of the file; `parse_permit` gives back an equal permit."""
        proof = self.proof.encode()
        if not self.addenda:
            return proof
        lines = [HEADER, *(f"{_ADDENDUM}{format_base64(one)}" for one in self.addenda), "", ""]
        return "\n".join(lines).encode("ascii") + proof


def parse_permit(data: bytes) -> Permit:
    """Parses the one spelling of a permit, at most MAX_PERMIT_SIZE bytes, unverified.

    Raises FormatError if the data is no tlog-proof, or its extra data no valid record; or if it
    has addenda that are not those of the record, or not in order.
    """
    if len(data) > MAX_PERMIT_SIZE:
        raise FormatError(f"permit: more than {MAX_PERMIT_SIZE} bytes")
    addenda: list[bytes] = []
    if data.startswith(f"{HEADER}\n".encode("ascii")):
        cut = data.find(b"\n\n", 0, _MAX_LINES_SIZE)
        if cut < 0:
            raise FormatError("permit: no empty line after the addenda, or they are too long")
        lines = split_lines(parse_text(data[: cut + 1], "permit", most=_MAX_LINES_SIZE))[1:]
        for number, line in enumerate(lines):
            if not line.startswith(_ADDENDUM):
                raise FormatError(f"permit: line {number + 2} is no addendum")
            addenda.append(parse_base64(line[len(_ADDENDUM) :], f"permit: addendum {number}"))
        digests = [*map(_digest, addenda)]
        if not digests or digests != sorted(set(digests)):
            raise FormatError("permit: the addenda are not in the order of their digests")
        data = data[cut + 2 :]
    if len(data) > MAX_TLOG_PROOF_SIZE:
        raise FormatError(f"permit: a proof of more than {MAX_TLOG_PROOF_SIZE} bytes")
    return Permit(parse_tlog_proof(data), addenda=tuple(addenda))


def _digest(addendum: bytes) -> str:
    return sha256(addendum).hexdigest()
