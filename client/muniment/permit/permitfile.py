"""The permit file: a C2SP tlog-proof whose extra data is the logged record.

Any tool that reads tlog-proofs reads a permit. The leaf hash is computed from the extra data, so
nothing in it counts unless the proof holds. Addenda that disclose withheld members of the record
stand before the proof, in lines of their own: see `HEADER`. A permit's *status*, completeness
proofs that tell of its lineage and that nothing of it is revoked, stands before all that: see
`WITH_STATUS`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import InitVar, dataclass, field
from hashlib import sha256
from typing import Any, Final, Self

from msgspec.structs import replace

from muniment.complete.prooffile import MAX_COMPLETE_SIZE, CompleteProof, parse_complete
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

WITH_STATUS: Final = "muniment/permit-with-status/v1"
"""The first line of a permit with its status; behind its first empty line stands the permit."""

MAX_STATUS: Final = 3
"""Most completeness proofs of a permit: one with the records of its lineage, a newer one
of all that without them, and one of what is revoked."""

_STATUS: Final = "status "
_MAX_STATUS_SIZE: Final = len(WITH_STATUS) + MAX_STATUS * (
    (MAX_COMPLETE_SIZE + 2) // 3 * 4 + len(_STATUS) + 1
)

MAX_PERMIT_SIZE: Final = _MAX_STATUS_SIZE + _MAX_LINES_SIZE + MAX_TLOG_PROOF_SIZE
"""Largest permit in bytes."""


@dataclass(frozen=True, slots=True)
class Permit:
    """A logged decision with its proof, unverified: `verify_permit` says what it is worth.

    The proof's extra data is the record's exact bytes, the leaf `entry`; FormatError if they are no
    valid record. A permit that is any good holds a decision. Its `addenda`, by ascending digest,
    disclose withheld members of that; FormatError if it names none of them, or together they are
    longer than MAX_DISCLOSED bytes. What is `held` beside them, by digest, is not in the file.
    The `status` is for runtimes without a replica: what its completeness proofs tell.
    """

    proof: TlogProof
    entry: bytes = field(init=False, repr=False, compare=False)
    record: Record = field(init=False, compare=False)
    parsed: InitVar[Record | None] = None
    addenda: tuple[bytes, ...] = field(default=(), repr=False)
    held: Mapping[str, bytes] = field(default_factory=dict[str, bytes], repr=False, compare=False)
    status: tuple[CompleteProof, ...] = field(default=(), repr=False)
    _disclosure: Disclosure | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self, parsed: Record | None) -> None:
        if self.proof.extra is None:
            raise FormatError("permit: the proof has no extra line with the record")
        if len(self.status) > MAX_STATUS:
            raise FormatError(f"permit: a status of more than {MAX_STATUS} proofs")
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
        return type(self)(self.proof, self.record, tuple(chosen), known, self.status)

    def with_status(self, *status: CompleteProof) -> Self:
        """The permit with these completeness proofs, at most MAX_STATUS, in place of those it has.

        Raises FormatError if they are too many.
        """
        return type(self)(self.proof, self.record, self.addenda, self.held, status)

    def encode(self) -> bytes:
        """The bytes of the file; `parse_permit` gives back an equal permit."""
        parts: list[tuple[str, list[str]]] = []
        if self.status:
            lines = [f"{_STATUS}{format_base64(one.encode())}" for one in self.status]
            parts.append((WITH_STATUS, lines))
        if self.addenda:
            lines = [f"{_ADDENDUM}{format_base64(one)}" for one in self.addenda]
            parts.append((HEADER, lines))
        return (
            "".join("\n".join((header, *lines, "", "")) for header, lines in parts).encode("ascii")
            + self.proof.encode()
        )


def parse_permit(data: bytes) -> Permit:
    """Parses the one spelling of a permit, at most MAX_PERMIT_SIZE bytes, unverified.

    Raises FormatError if the data is no tlog-proof, or its extra data no valid record; or if it
    has addenda that are not those of the record, or not in order.
    """
    if len(data) > MAX_PERMIT_SIZE:
        raise FormatError(f"permit: more than {MAX_PERMIT_SIZE} bytes")
    status, data = _take(data, WITH_STATUS, _STATUS, _MAX_STATUS_SIZE)
    if len(status) > MAX_STATUS:
        raise FormatError(f"permit: a status of more than {MAX_STATUS} proofs")
    addenda, data = _take(data, HEADER, _ADDENDUM, _MAX_LINES_SIZE)
    digests = [*map(_digest, addenda)]
    if digests != sorted(set(digests)):
        raise FormatError("permit: the addenda are not in the order of their digests")
    if len(data) > MAX_TLOG_PROOF_SIZE:
        raise FormatError(f"permit: a proof of more than {MAX_TLOG_PROOF_SIZE} bytes")
    proofs = tuple(map(parse_complete, status))
    return Permit(parse_tlog_proof(data), addenda=tuple(addenda), status=proofs)


def _take(data: bytes, header: str, word: str, most: int) -> tuple[list[bytes], bytes]:
    """What the lines below a header have, at least one, and the data behind their empty line.

    Nothing, and all data, when it does not begin with the header.
    """
    if not data.startswith(f"{header}\n".encode("ascii")):
        return [], data
    cut = data.find(b"\n\n", 0, most)
    if cut < 0:
        raise FormatError(f"permit: no empty line after {header}, or it is too far behind")
    found: list[bytes] = []
    lines = split_lines(parse_text(data[: cut + 1], "permit", most=most))[1:]
    for number, line in enumerate(lines):
        if not line.startswith(word):
            raise FormatError(f"permit: line {number + 2} is no {word.rstrip()}")
        found.append(parse_base64(line[len(word) :], f"permit: {word}{number}"))
    if not found:
        raise FormatError(f"permit: nothing after {header}")
    return found, data[cut + 2 :]


def _digest(addendum: bytes) -> str:
    return sha256(addendum).hexdigest()
