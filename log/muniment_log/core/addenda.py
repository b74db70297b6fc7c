"""What a log keeps of what its records withhold, and how an addendum comes to be kept.

The bytes come with the batch that names them, and are durable before that is ordered: no receipt is
given for a record whose addendum could still be lost. What was stored for a batch that then was
refused is removed again. A crash in between leaves addenda that perhaps no record names; they are
noted as *arriving* until the outcome is known, and the next start looks for their records.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from msgspec import MsgspecError, Raw, Struct
from msgspec.json import Decoder

from muniment.records.addenda import complete_addendum
from muniment.records.batchbody import MAX_ADDENDA, AddendumError, split_addenda
from muniment.tlog.encoding import FormatError
from muniment_log.errors import LogError, StorageError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence

    from muniment_log.core.ports import Receipt

KEPT: Final = b'"kept":"log"'
"""What stands in a record that says that the log keeps its addenda; elsewhere, too."""

SUBJECT_SIZE: Final = 16
"""Bytes that stand for a subject, see `subject_key`."""

_EFFORT: Final = 1 << 20  # bytes of addenda that are hashed in one step: a millisecond
_RECORD_EFFORT: Final = 4096  # what reading a record counts for
_PREFIX: Final = "sha256:"


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
        subject: who asked in that decision, see `subject_key`; None of other records.
        execution: the run that the record is of.
        labels: the record's governance labels, each as ``name=text``.
    """

    digest: bytes
    data: bytes
    subject: bytes | None
    execution: str | None
    labels: tuple[str, ...]


class Sent(NamedTuple):
    """The addenda that came with a request.

    Attributes:
        addenda: what came; no digest twice.
        expected: what did not come and has to be there already: for the digest of each, the number
            of a record that says so.
    """

    addenda: Sequence[Addendum]
    expected: dict[bytes, int]

    @property
    def digests(self) -> list[bytes]:
        """All digests that have to be there when the request is acknowledged."""
        return [*(one.digest for one in self.addenda), *self.expected]

    @property
    def size(self) -> int:
        """Bytes of what came."""
        return sum(len(one.data) for one in self.addenda)


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


class NoAddenda:
    """The port of a log that keeps none."""

    async def keep(self, sent: Sent) -> None:
        """Refuses the first."""
        if sent.addenda:
            raise BadAddendumError(0, "this log keeps no addenda")
        digest = next(iter(sent.expected))
        raise MissingAddendumError(sent.expected[digest], digest)

    async def named(self, sent: Sent, first: int) -> None:
        """Nothing was kept."""

    def refused(self, sent: Sent) -> None:
        """Nothing was kept."""

    def abandoned(self, sent: Sent) -> None:
        """Nothing was kept."""

    async def read(self, digest: bytes) -> None:
        """Nothing."""


class _Subject(Struct, gc=False):
    type: str
    id: str


class _Request(Struct, gc=False):
    subject: _Subject


class _Artifact(Struct, gc=False):
    governance: dict[str, str] | None = None


class _LeftOut(Struct):
    digest: str = ""


class _Denial(Struct):
    reduced: dict[str, _LeftOut] | None = None


class _Naming(Struct, gc=False):
    """What of a record that was checked is looked at."""

    kind: str
    execution: str | None = None
    addenda: dict[str, str] | None = None
    kept: str | None = None
    request: _Request | None = None
    artifact: _Artifact | None = None
    inputs: dict[str, str] | None = None
    outputs: dict[str, str] | None = None
    denial: _Denial | None = None


_decode: Final = Decoder(_Naming).decode
_members: Final = Decoder(dict[str, Raw]).decode
_elements: Final = Decoder(list[Raw]).decode


@lru_cache(maxsize=4096)
def subject_key(type_: str, id_: str) -> bytes:
    """What stands for a subject beside its addenda: enough to find them, and not its name."""
    size = len(type_.encode()).to_bytes(4, "big")
    return sha256(size + type_.encode() + id_.encode()).digest()[:SUBJECT_SIZE]


def digests_of(record: bytes) -> list[bytes]:
    """The digests of the addenda that a valid record names."""
    return [*_places(_decode(record))]


def kept_by(record: bytes) -> list[bytes]:
    """The digests of the addenda of which a valid record says that the log keeps them."""
    if KEPT not in record:
        return []
    naming = _decode(record)
    return [] if naming.kept is None else [*_places(naming)]


def unpacked(section: bytes) -> list[bytes]:
    """The addenda behind a batch.

    Raises:
        BadAddendumError: one is empty, too long or cut off.
        TooManyAddendaError: they are too many, or too long together.
    """
    try:
        return split_addenda(section)
    except AddendumError as error:
        raise BadAddendumError(error.number, error.reason) from error
    except FormatError as error:
        raise TooManyAddendaError(str(error)) from error


def unwrapped(body: bytes) -> tuple[bytes, list[bytes]]:
    """The records and the addenda of a JSON object that has both; else the body and none.

    Such an object has the members `records` and `addenda`, and no record has these two alone.

    Raises:
        FormatError: it is neither that nor a record.
        TooManyAddendaError: there are too many.
    """
    if b'"records"' not in body:
        return body, []
    try:
        members = _members(body)
        if "records" not in members or not members.keys() <= {"records", "addenda"}:
            return body, []
        addenda = _elements(members["addenda"]) if "addenda" in members else []
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        return body, []  # whoever reads it next says what is wrong with it
    if len(addenda) > MAX_ADDENDA:
        raise TooManyAddendaError(f"addenda: more than {MAX_ADDENDA}")
    records = bytes(members["records"])
    if not records.startswith(b"["):
        raise FormatError("records: expected an array")
    return records, [bytes(one) for one in addenda]


def completed(texts: Sequence[bytes]) -> list[bytes]:
    """The addenda of which a client sent the JSON; BadAddendumError if one is none."""
    addenda: list[bytes] = []
    for number, text in enumerate(texts):
        try:
            addenda.append(complete_addendum(text, "addendum"))
        except FormatError as error:
            raise BadAddendumError(number, str(error).removeprefix("addendum: ")) from error
    return addenda


def named_at(record: bytes) -> dict[bytes, str]:
    """By digest, the addenda that a valid record names: the JSON pointer of each.

    That of an outcome's commitment leads to the commitment: it has no other place.
    """
    return _places(_decode(record))


def matching(
    records: Sequence[bytes], addenda: Sequence[bytes], text: bytes
) -> Generator[None, None, Sent | None]:
    """Finds for each addendum the record that names it, in steps; None where nothing is withheld.

    The records are valid, and somewhere in `text`. Costs two microseconds a record, and without
    addenda next to nothing. Raises BadAddendumError if no record names one, or it comes twice.
    """
    if not addenda and KEPT not in text:
        return None
    named: dict[str, _Naming] = {}  # by digest in hexadecimal digits
    expected: dict[str, int] = {}
    effort = 0
    for entry, record in enumerate(records):
        if effort > _EFFORT:
            effort = 0
            yield
        effort += _RECORD_EFFORT
        if not addenda and not _says_kept(record):
            continue
        naming = _decode(record)
        for name in _digests(naming):
            named.setdefault(name, naming)
            if naming.kept is not None:
                expected.setdefault(name, entry)
    found: dict[str, Addendum] = {}
    for number, data in enumerate(addenda):
        if effort > _EFFORT:
            effort = 0
            yield
        effort += len(data) + 256
        is_short = len(data) <= _EFFORT
        digest = sha256(data).digest() if is_short else (yield from _hashing(data))
        name = digest.hex()
        if (named_by := named.get(name)) is None:
            raise BadAddendumError(number, f"no record of this request names {name}")
        if name in found:
            raise BadAddendumError(number, "came before in this request")
        found[name] = _addendum(digest, data, named_by)
    absent = {bytes.fromhex(name): at for name, at in expected.items() if name not in found}
    return Sent([*found.values()], absent) if found or absent else None


def _says_kept(record: bytes) -> bool:
    return KEPT in record


def _hashing(data: bytes) -> Generator[None, None, bytes]:
    hashing = sha256()
    with memoryview(data) as view:
        for start in range(0, len(data), _EFFORT):
            hashing.update(view[start : start + _EFFORT])
            yield
    return hashing.digest()


def _digests(naming: _Naming) -> Iterable[str]:
    """The digests that a record names, in hexadecimal digits."""
    if naming.addenda is not None:
        return naming.addenda.values()
    return [digest.hex() for digest in _places(naming)]


def _places(naming: _Naming) -> dict[bytes, str]:
    """By digest: where the record names it."""
    found = {bytes.fromhex(digest): pointer for pointer, digest in (naming.addenda or {}).items()}
    # Salted commitments, of a run and of a reduced denial: their addenda have the same form.
    commitments: dict[str, str] = {}
    if naming.kind == "outcome":
        for member, digests in (("inputs", naming.inputs), ("outputs", naming.outputs)):
            commitments |= {f"/{member}/{name}": one for name, one in (digests or {}).items()}
    elif naming.denial is not None:
        commitments = {
            f"/denial/reduced/{path}/digest": one.digest
            for path, one in (naming.denial.reduced or {}).items()
        }
    return found | {
        bytes.fromhex(digest.removeprefix(_PREFIX)): pointer
        for pointer, digest in commitments.items()
        if digest.startswith(_PREFIX)
    }


def _addendum(digest: bytes, data: bytes, naming: _Naming) -> Addendum:
    request, subject = naming.request, None
    if request is not None:
        subject = subject_key(request.subject.type, request.subject.id)
    labels: tuple[str, ...] = ()
    if naming.artifact is not None and naming.artifact.governance is not None:
        labels = tuple(f"{name}={text}" for name, text in naming.artifact.governance.items())
    return Addendum(digest, data, subject, naming.execution, labels)


class Keeper:
    """Has a request's addenda stored before its records are ordered."""

    def __init__(self, addenda: AddendaPort) -> None:
        self._addenda = addenda
        self._working: set[asyncio.Task[Receipt]] = set()

    async def ordered(self, sent: Sent | None, order: Callable[[], Awaitable[Receipt]]) -> Receipt:
        """Stores what came, then orders the records; the receipt.

        Without addenda it only orders. With some it goes on to the end when the caller is
        cancelled, so that the outcome is known.

        Raises:
            MissingAddendumError, OverloadedError, StorageError: see `AddendaPort.keep`.
            Exception: what the order raises.
        """
        if sent is None:
            return await order()
        task = asyncio.get_running_loop().create_task(self._ordered(sent, order))
        self._working.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[Receipt]) -> None:
        self._working.discard(task)
        if not task.cancelled():
            task.exception()  # read: whoever waited may be gone

    async def _ordered(self, sent: Sent, order: Callable[[], Awaitable[Receipt]]) -> Receipt:
        # A1: a crash before this is durable. Nothing is there, and nobody has a receipt.
        await self._addenda.keep(sent)
        # A2: a crash before the order. The addenda are noted as arriving, no record names them, and
        # the next start removes them.
        try:
            receipt = await order()
        except (UnavailableError, StorageError, asyncio.CancelledError):
            self._addenda.abandoned(sent)
            raise
        except BaseException:
            self._addenda.refused(sent)
            raise
        # A3: a crash after it, before the receipt. They are still noted as arriving, and the next
        # start finds the records that name them.
        first = receipt.first if receipt.indices is None else min(receipt.indices)
        await self._addenda.named(sent, first)
        return receipt
