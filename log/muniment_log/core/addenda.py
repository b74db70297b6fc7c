"""What a log keeps of what its records withhold; `orders` has it kept.

The bytes come with the batch that names them, and are durable before that is ordered: no receipt is
given for a record whose addendum could still be lost. What was stored for a batch that then was
refused is removed again. A crash in between leaves addenda that perhaps no record names; they are
noted as *arriving* until the outcome is known, and the next start looks for their records.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from msgspec import Struct

from muniment.records.batchbody import FRAME, cut_addenda
from muniment_log.core.naming import SUBJECT_SIZE
from muniment_log.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Sequence


class BadAddendumError(LogError):
    """One addendum of a request is refused; its number counts from 0."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"addendum {number}: {reason}")
        self.number = number


class TooManyAddendaError(LogError):
    """More or longer addenda than one request may have."""


class MissingAddendumError(LogError):
    """A record says that the log keeps its addenda, and the log was not given one.

    Attributes:
        entry: the record's number in the request.
        digest: of the addendum.
    """

    def __init__(self, entry: int, digest: bytes) -> None:
        super().__init__(
            f"record {entry}: says that the log keeps its addenda, and {digest.hex()} did not come"
        )
        self.entry = entry
        self.digest = digest


class Addendum(Struct, frozen=True, gc=False):
    """An addendum that a record of its request names, with what finds it when it is to be erased.

    Attributes:
        digest: SHA-256 of the bytes.
        data: the bytes.
        subject: who asked in that decision, see `naming.subject_key`; None of other records.
        execution: the run that the record is of.
        labels: the record's governance labels, each as ``name=text``.
    """

    digest: bytes
    data: bytes
    subject: bytes | None
    execution: str | None
    labels: tuple[str, ...]


class Pack(NamedTuple):
    """The addenda of a batch whose every record is a usual decision that withholds one member.

    They stay together as they came: taking each out would cost more than all else that is done
    with it.

    Attributes:
        section: each behind its length, a big-endian uint32.
        ends: where each ends in there.
        digests: SHA-256 of each; all different.
        subjects: of each the 16 bytes for who asked, see `naming.subject_key`.
        runs: of each the run that its record is of, if any.
    """

    section: bytes
    ends: Sequence[int]
    digests: list[bytes]
    subjects: bytes
    runs: Sequence[bytes | None]

    @property
    def size(self) -> int:
        """Bytes of the addenda."""
        return len(self.section) - FRAME * len(self.ends)

    def addenda(self) -> list[Addendum]:
        """The same, one by one."""
        return [
            Addendum(
                digest,
                data,
                self.subjects[at * SUBJECT_SIZE : (at + 1) * SUBJECT_SIZE],
                None if run is None else run.decode(),
                (),
            )
            for at, (digest, data, run) in enumerate(
                zip(self.digests, cut_addenda(self.section, self.ends), self.runs, strict=True)
            )
        ]


@dataclass(slots=True)
class Sent:
    """The addenda that came with a request.

    Attributes:
        addenda: what came; no digest twice. Of a pack they are taken out when somebody asks.
        expected: what did not come and has to be there already: for the digest of each, the number
            of a record that says so.
        pack: what came, if it is together.
        digests: all that have to be there when the request is acknowledged.
        size: bytes of what came.
        number: how many came.
    """

    _addenda: Sequence[Addendum]
    expected: dict[bytes, int]
    pack: Pack | None = field(default=None, compare=False)
    digests: list[bytes] = field(init=False, compare=False)
    size: int = field(init=False, compare=False)
    number: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if self.pack is not None:
            self.digests, self.size = self.pack.digests, self.pack.size
            self.number = len(self.digests)
            return
        self.digests = [*[one.digest for one in self._addenda], *self.expected]
        self.size = sum([len(one.data) for one in self._addenda])
        self.number = len(self._addenda)

    @classmethod
    def packed(cls, pack: Pack) -> Sent:
        """Addenda that stay together."""
        return cls((), {}, pack)

    @property
    def brought(self) -> list[bytes]:
        """The digests of what came."""
        return self.digests[: self.number]

    @property
    def addenda(self) -> Sequence[Addendum]:
        """What came, one by one."""
        if self.pack is not None and not self._addenda:
            self._addenda = self.pack.addenda()
        return self._addenda


class Erased(NamedTuple):
    """What is left of an addendum that was erased: its digest, and which record says so.

    Attributes:
        time: when its bytes were removed, Unix milliseconds.
        record: leaf index of the erasure; None before that is logged.
    """

    time: int
    record: int | None


class AddendaPort(Protocol):
    """Where the addenda are stored.

    After `keep`, one of `named`, `refused` and `abandoned` is called.
    """

    async def keep(self, sent: Sent) -> None:
        """Stores addenda durably, and notes that they are arriving.

        What is there already stays as it is, and what was erased stays erased.

        Raises:
            MissingAddendumError: one that is expected is not there; nothing new is kept.
            OverloadedError: too much waits already; nothing is kept.
            StorageError: it is not known what is stored; the process must end.
        """
        ...

    async def named(self, sent: Sent, first: int) -> None:
        """The request is logged: no crash may undo from now on what was stored for it.

        Args:
            sent: what came.
            first: leaf index of its first record. It may have been logged before the addenda came.
        """
        ...

    def refused(self, sent: Sent) -> None:
        """Nothing of the request is logged: what only it has brought goes again."""
        ...

    def abandoned(self, sent: Sent) -> None:
        """It is not known whether the request is logged; the next start finds out."""
        ...

    async def read(self, digest: bytes) -> bytes | Erased | None:
        """The bytes of a digest, or what became of them; None for what was never there.

        Raises StorageError if the storage cannot be read.
        """
        ...
