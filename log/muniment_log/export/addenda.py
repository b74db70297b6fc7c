"""Addenda in an export: taken along when that is wanted, and removed when they were erased.

Which there are is read from the published leaves, like everything else in an export: what a record
names is written, as far as the log has it, and what an erasure names is removed. Up to which leaf
both was done stands in a file of the target, so that erasures are obeyed, too, by an export that is
not told any more to take addenda along. What the log did not have stands in a file beside it, and
is looked for again by each export: it may come with a later retry of its batch.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from muniment.records.addenda import addendum_path
from muniment.records.api import Erasure, parse_record
from muniment.tlog.encoding import FormatError, unframe
from muniment.tlog.tiles import bundles_of
from muniment_log.core.naming import digests_of
from muniment_log.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from muniment_log.core.ports import TileSource

PROGRESS: Final = "addenda/exported"
"""The file that says up to which leaves addenda were taken, and erasures obeyed."""

ABSENT: Final = "addenda/absent"
"""The digests that the log did not have, a line each."""

MOST_ABSENT: Final = 100_000
"""Digests in that file, the newest: where gateways keep their own addenda, all are absent."""

STEP_BYTES: Final = 32 << 20
"""Bytes of addenda from which on they are written."""

_NAMING: Final = (b'"addenda":{', b'"sha256:')
_ERASURE: Final = b'"kind":"erasure"'


class AddendaSource(Protocol):
    """Where the bytes of addenda are."""

    async def addendum(self, digest: bytes) -> bytes | None:
        """The bytes of a digest; None if the log has them not, or not any more.

        Raises DatabaseError if they cannot be read.
        """
        ...


class AddendaTarget(Protocol):
    """Where they go; names are the paths of tlog-addenda."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    async def get(self, key: str) -> bytes:
        """A file; LookupError if there is none."""
        ...

    async def create_erasable(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Writes files that may be removed, and that no cache should keep, durably."""
        ...

    async def replace(self, key: str, data: bytes) -> None:
        """Writes a file that changes, durably and in one step."""
        ...

    async def remove(self, keys: Iterable[str]) -> None:
        """Removes files, durably, and what is left of them when writing was interrupted."""
        ...


class Carried(NamedTuple):
    """What became of addenda: how many were written, and what is to be removed.

    Attributes:
        written: How many.
        erased: Paths that the log has erased, to be removed when the checkpoint is there.
        taken: Up to which leaf addenda are taken along.
        size: Up to which leaf erasures are known.
        absent: What the log has not; None if that is as it was.
    """

    written: int
    erased: tuple[str, ...]
    taken: int
    size: int
    absent: tuple[bytes, ...] | None


async def carry_addenda(
    source: TileSource,
    addenda: AddendaSource | None,
    target: AddendaTarget,
    size: int,
    *,
    takes: bool,
) -> Carried | None:
    """Writes the addenda of the published leaves [0, size), as far as that was not done before.

    None if no addenda are to be taken along, and none ever were. Hand over what it returns to
    `remove_erased`. Raises StorageError if the log, the target or the way to one of them is
    damaged.
    """
    known = await _progress(target)
    if known is None and not takes:
        return None
    taken, obeyed = known or (0, 0)
    written = 0
    before: tuple[bytes, ...] = ()
    absent: dict[bytes, None] = {}
    if takes and addenda is not None:
        before = await _absent(target)
        waiting: dict[str, bytes] = {}
        async for digest in _wanted(before, source, taken, size):
            data = await addenda.addendum(digest)
            if data is None:
                absent[digest] = None
                continue
            if sha256(data).digest() != digest:
                raise StorageError(f"the log's addendum {digest.hex()} is damaged")
            waiting[addendum_path(digest.hex())] = data
            if sum(map(len, waiting.values())) >= STEP_BYTES:
                await target.create_erasable(waiting.items())
                written += len(waiting)
                waiting = {}
        await target.create_erasable(waiting.items())
        written += len(waiting)
        taken = size
    erased: dict[str, None] = {}
    async for entry in _entries(source, obeyed, size):
        if _ERASURE in entry:
            for digest in [one async for one in _erased(entry, addenda)]:
                erased[addendum_path(digest.hex())] = None
                absent.pop(digest, None)
    left = tuple(absent)[-MOST_ABSENT:]
    return Carried(written, tuple(erased), taken, size, None if left == before else left)


async def remove_erased(target: AddendaTarget, carried: Carried) -> None:
    """Removes what was erased, and notes how far the target is."""
    await target.remove(carried.erased)
    if carried.absent is not None:
        lines = [digest.hex().encode() + b"\n" for digest in carried.absent]
        await target.replace(ABSENT, b"".join(lines))
    await target.replace(PROGRESS, f"{carried.taken} {carried.size}\n".encode())


async def _wanted(
    before: Iterable[bytes], source: TileSource, start: int, size: int
) -> AsyncIterator[bytes]:
    """What was absent before, and what the records among the leaves [start, size) name."""
    for digest in before:
        yield digest
    async for entry in _entries(source, start, size):
        if any(mark in entry for mark in _NAMING):
            for digest in digests_of(entry):
                yield digest


async def _absent(target: AddendaTarget) -> tuple[bytes, ...]:
    try:
        data = await target.get(ABSENT)
        return tuple([bytes.fromhex(line.decode()) for line in data.split()])
    except LookupError:
        return ()
    except ValueError:
        raise StorageError(f"{target.name}: {ABSENT} is no list of digests; remove it") from None


async def _erased(entry: bytes, addenda: AddendaSource | None) -> AsyncIterator[bytes]:
    """The digests of what an erasure names and the log has not any more."""
    try:
        record = parse_record(entry)
    except FormatError:
        return
    if isinstance(record, Erasure):
        for digest in record.digests:
            # Whose erasure counts the log has judged: what it still gives out is not erased.
            name = bytes.fromhex(digest)
            if addenda is None or await addenda.addendum(name) is None:
                yield name


async def _entries(source: TileSource, start: int, size: int) -> AsyncIterator[bytes]:
    """The records among the leaves [start, size); bundles without any mark are not cut up."""
    for tile in bundles_of(start, size, size):
        data = (await source.read([tile]))[tile]
        if any(mark in data for mark in (*_NAMING, _ERASURE)):
            for index, entry in enumerate(unframe(data, tile.path), tile.start):
                if index >= start and entry.startswith(b"{"):
                    yield entry


async def _progress(target: AddendaTarget) -> tuple[int, int] | None:
    try:
        data = await target.get(PROGRESS)
    except LookupError:
        return None
    numbers = data.split()
    if len(numbers) != 2 or not all(one.isdigit() for one in numbers):
        raise StorageError(f"{target.name}: {PROGRESS} does not say how far addenda are exported")
    return int(numbers[0]), int(numbers[1])
