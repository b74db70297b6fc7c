"""Copying addenda out of a file into a cluster: the objects, then the rows.

An interrupted copy is done again from the beginning: objects are created, or found to be the same,
and a row that is there stays. The cluster takes nothing meanwhile (see `adopt`).
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from muniment_log.cluster.addendarows import COUNT
from muniment_log.core.naming import unnamed
from muniment_log.errors import StorageError, WrongIdentityError
from muniment_log.storage.addendacontents import AddendaContents

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from muniment_log.cluster.addendaobjects import AddendaObjects
    from muniment_log.cluster.database import Database, DatabaseConnection
    from muniment_log.cluster.objects import Version
    from muniment_log.core.erasable import Mark
    from muniment_log.storage.addendacontents import Row

AT_ONCE: Final = 32
"""Addenda that are stored at the same time."""

_ROWS: Final = """
INSERT INTO addendum (digest, subject, execution, time, leaves, labels, size, erased, erasure,
    e_tag, version)
SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[],
    $6::bytea[], $7::integer[], $8::bigint[], $9::bigint[], $10::text[], $11::text[])
ON CONFLICT (digest) DO NOTHING RETURNING size, erased
"""

_ERASING: Final = """
INSERT INTO erasing (id, record) SELECT * FROM unnest($1::text[], $2::bytea[])
ON CONFLICT (id) DO NOTHING
"""


async def copy_addenda(
    path: Path,
    origin: str,
    *,
    database: Database,
    objects: AddendaObjects,
    leaves: Callable[[int], AsyncIterator[bytes]],
) -> int:
    """Copies the addenda of a log; how many the cluster keeps then.

    Args:
        path: their file; nobody writes to it.
        origin: the log's.
        database: the cluster's.
        objects: its bucket.
        leaves: gives the leaves of the log from an index on.

    Raises:
        WrongIdentityError: they are another log's.
        StorageError: the file is damaged, or the cluster refuses.
        UnavailableError: the cluster cannot be reached; copy again.
    """
    contents = AddendaContents(path)
    owner, mark = contents.log()
    if owner != origin:
        raise WrongIdentityError(f"{path} has the addenda of {owner}, not of {origin}")
    start, unknown = contents.arriving()
    orphans = await unnamed(leaves(start), unknown) if unknown else set[bytes]()
    kept = 0
    for rows in contents.chunks():
        wanted = [row for row in rows if row.digest not in orphans]
        stored = await _store(path, contents, wanted, objects)
        kept += await _add(database, wanted, stored)
    erasing = contents.erasing()
    await database.transact(lambda db: _finish(db, mark, erasing), "copying erasures")
    return kept


async def _store(
    path: Path, contents: AddendaContents, rows: Sequence[Row], objects: AddendaObjects
) -> dict[bytes, Version | None]:
    """Stores the objects of some rows; their versions, None of what the bucket says is erased."""
    await objects.erase([row.digest for row in rows if row.erased is not None])
    stored: dict[bytes, Version | None] = {}
    limit = asyncio.Semaphore(AT_ONCE)

    async def put(digest: bytes, data: bytes) -> None:
        async with limit:
            stored[digest] = await objects.put(digest, data)

    for part in contents.data([*rows]):
        sound: list[tuple[bytes, bytes]] = []
        for digest, data in part:
            if data is None or sha256(data).digest() != digest:
                raise StorageError(
                    f"{path}: the addendum {digest.hex()} is damaged: see `muniment-log check`"
                )
            sound.append((digest, data))
        await asyncio.gather(*(put(digest, data) for digest, data in sound))
    return stored


async def _add(
    database: Database, rows: Sequence[Row], stored: Mapping[bytes, Version | None]
) -> int:
    """Adds rows; how many of them are kept."""
    gone = {digest for digest, version in stored.items() if version is None}
    columns = [
        (
            row.digest,
            row.subject,
            None if row.execution is None else row.execution.encode(),
            row.time,
            row.leaves,
            None if row.labels is None else row.labels.encode(),
            row.size,
            row.time if row.digest in gone else row.erased,
            row.erasure,
            *(stored.get(row.digest) or (None, None)),
        )
        for row in rows
    ]

    async def work(db: DatabaseConnection) -> None:
        added = await db.fetch(_ROWS, *([row[at] for row in columns] for at in range(11)))
        new = [row["size"] for row in added if row["erased"] is None]
        await db.fetchrow(COUNT, len(new), sum(new), len(added) - len(new))

    await database.transact(work, "copying addenda")
    return sum(row.erased is None and row.digest not in gone for row in rows)


async def _finish(db: DatabaseConnection, mark: Mark, erasing: Sequence[tuple[str, bytes]]) -> None:
    await db.execute(_ERASING, [id_ for id_, _ in erasing], [record for _, record in erasing])
    await db.execute("UPDATE addenda SET next = $1, seen = $2 WHERE id = 0", *mark)
