"""Taking addenda along into a replica, and obeying their erasures.

A replica takes none unless it is told to. It then asks the log for what its verified leaves name,
and keeps what has the right digest. What the log has not it is asked for again later: it may come
with a retry of its batch. An erasure among the leaves deletes what it names, whether or
not the replica still takes addenda along: the bytes are overwritten in the file, and the
write-ahead log, which may hold older pages, is cut off.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from muniment.errors import Refused
from muniment.index.addendatable import AbsentAddendum, AddendaTable
from muniment.local.sqlitefile import DatabaseError
from muniment.records.addenda import named_digests
from muniment.records.codec import parse_record
from muniment.records.kinds import Erasure, Record
from muniment.tlog.encoding import FormatError, unframe
from muniment.tlog.tiles import TILE_WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from muniment.http.logclient import LogClient

AT_ONCE: Final = 8
"""Addenda read at the same time: at most 128 MiB of them are in memory."""

AGAIN_AT_ONCE: Final = 256
"""Addenda that one round asks for again."""

_ABSENT, _GONE = 404, 410
_ERASURE: Final = b'"kind":"erasure"'
# Records that name addenda have one of these in them, as nearly all others do not.
_NAMING: Final = (b'"addenda":{', b'"sha256:')


class AddendaRound(NamedTuple):
    """What came of one round: addenda that are new, that the log does not have, and erased."""

    new: int = 0
    absent: int = 0
    erased: int = 0


async def take_along(
    table: AddendaTable, client: LogClient | None, origin: str, size: int
) -> AddendaRound:
    """Brings the addenda of a replica up to the verified leaves [0, size).

    Without a client none are taken along, and erasures are obeyed where some were.

    Raises:
        Unreachable, Refused: If the log does not answer, or not to this reader; what was taken
            stays.
        BadAnswer: If what came has another digest.
        DatabaseError, FatalDatabaseError: If the file cannot be used.
    """
    progress = await table.progress()
    found = AddendaRound()
    if client is not None:
        for start, end in _spans(progress.taken, size):
            new, absent = await _take(table, client, start, end)
            found = found._replace(new=found.new + new, absent=found.absent + absent)
        again = await table.due(int(time.time()), AGAIN_AT_ONCE)
        found = found._replace(new=found.new + await _ask(table, client, again))
    elif not progress.taken:
        return found
    if progress.obeyed < size:
        erasures: list[tuple[str, str]] = []
        for start, end in _spans(progress.obeyed, size):
            for record in await _records(table, start, end, (_ERASURE,)):
                if isinstance(record, Erasure):
                    erasures += [(digest, record.producer) for digest in record.digests]
        found = found._replace(erased=await table.erase(erasures, origin, size))
    if found.erased or not progress.is_wiped:
        await table.wipe()  # if somebody reads just now, the next round tries again
    return found


def _spans(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cuts the leaves [start, end) into those of one bundle each."""
    while start < end:
        last = min(end, (start // TILE_WIDTH + 1) * TILE_WIDTH)
        yield start, last
        start = last


async def _records(
    table: AddendaTable, start: int, end: int, marks: Sequence[bytes]
) -> list[Record]:
    """The records among the leaves [start, end) of one bundle that have one of some texts."""
    number = start // TILE_WIDTH
    data = await table.bundle(number)
    if data is None:
        raise DatabaseError(f"entry bundle {number} of the replica is missing")
    if not any(mark in data for mark in marks):
        return []
    first = number * TILE_WIDTH
    found: list[Record] = []
    for entry in unframe(data, "bundle")[start - first : end - first]:
        if any(mark in entry for mark in marks):
            with suppress(FormatError):  # leaves that are no records name nothing
                found.append(parse_record(entry))
    return found


async def _take(table: AddendaTable, client: LogClient, start: int, end: int) -> tuple[int, int]:
    """Takes along what the leaves [start, end) of one bundle name: how many are new, and not."""
    wanted: dict[str, str] = {}
    for record in await _records(table, start, end, _NAMING):
        wanted.update(dict.fromkeys(named_digests(record).values(), record.producer))
    new = await _ask(table, client, [AbsentAddendum(*one, pause=0) for one in wanted.items()])
    await table.keep((), taken=end)
    return new, len(wanted) - new


async def _ask(table: AddendaTable, client: LogClient, wanted: Sequence[AbsentAddendum]) -> int:
    """Asks the log for addenda, and keeps what it has: how many."""
    new = 0
    for at in range(0, len(wanted), AT_ONCE):
        part = wanted[at : at + AT_ONCE]
        found = await asyncio.gather(*[_read(client, one.digest) for one in part])
        rows, absent, gone = [], [], []
        for one, data in zip(part, found, strict=True):
            if isinstance(data, bytes):
                rows.append((one.digest, one.producer, data))
            elif data == _ABSENT:
                absent.append(one)
            else:
                gone.append(one.digest)
        await table.keep(rows, absent=absent, gone=gone, now=int(time.time()))
        new += len(rows)
    return new


async def _read(client: LogClient, digest: str) -> bytes | int:
    """The bytes, or the status of the answer that there are none."""
    try:
        return await client.addendum(digest)
    except Refused as refusal:
        if (status := refusal.problem.status) in (_ABSENT, _GONE):
            return status
        raise
