"""What a file of addenda holds: for copying it to a cluster, while nobody writes to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from muniment_log.core.erasable import Mark
from muniment_log.storage.addendarows import check_version
from muniment_log.storage.contents import reading
from muniment_log.storage.newest import numbers
from muniment_log.storage.packs import ARRIVING, SLOTS_BEHIND, SUBJECT, data_at, stand_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK: Final = 500
"""Rows given out together, and how many of them have their bytes."""

CHUNK_BYTES: Final = 16 << 20
"""Bytes of addenda given out together, unless one alone has more."""


_ROWS: Final = f"""
SELECT * FROM (SELECT id, digest, subject, execution, time, size, labels,
    coalesce(length(data), 0), erased, erasure FROM addendum WHERE id > ?1 ORDER BY id LIMIT ?2)
UNION ALL SELECT id, digest, {SUBJECT}, execution, time, size, NULL, bytes, NULL, NULL
    FROM ({SLOTS_BEHIND}) AS slot
ORDER BY 1 LIMIT ?2
"""  # noqa: S608  # constants

_DATA: Final = f"""
SELECT digest, data FROM addendum WHERE id IN (SELECT value FROM json_each(?1))
UNION ALL {data_at("(SELECT value AS id FROM json_each(?1))")}
"""  # noqa: S608  # constants


class Row(NamedTuple):
    """An addendum, or what is left of one; see the schema (0001_addenda.sql).

    Attributes:
        labels: JSON.
        size: its bytes.
    """

    id: int
    digest: bytes
    subject: bytes | None
    execution: str | None
    time: int
    leaves: int
    labels: str | None
    size: int
    erased: int | None
    erasure: int | None


class AddendaContents:
    """The rows of one file; StorageError wherever it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def log(self) -> tuple[str, Mark]:
        """Whose addenda these are, and up to where erasures were carried through."""
        ((origin, *mark),) = self._all("SELECT origin, next, seen FROM log")
        return origin, Mark(*mark)

    def erasing(self) -> list[tuple[str, bytes]]:
        """The records of erasures that are not complete, by their ids."""
        return self._all("SELECT id, record FROM erasing")

    def arriving(self) -> tuple[int, frozenset[bytes]]:
        """What a crash has left of which it is not known whether a record names it.

        Returns the leaf index from which on the records stand, and the digests.
        """
        rows = self._all(ARRIVING)
        return min((size for _, size in rows), default=0), frozenset(one for one, _ in rows)

    def chunks(self) -> Iterator[list[Row]]:
        """All rows without the bytes, oldest first."""
        last = 0
        while rows := [Row(*row) for row in self._all(_ROWS, last, CHUNK)]:
            yield rows
            last = rows[-1].id

    def data(self, rows: list[Row]) -> Iterator[list[tuple[bytes, bytes | None]]]:
        """Digest and bytes of those of a chunk that have some, a part at a time."""
        kept = [row for row in rows if row.erased is None]
        while kept:
            size, part = 0, list[Row]()
            while kept and (not part or size + kept[0].size <= CHUNK_BYTES):
                size += kept[0].size
                part.append(kept.pop(0))
            yield self._all(_DATA, numbers(row.id for row in part))

    def _all(self, sql: str, *values: object) -> list[Any]:
        with reading(self._path) as db:
            check_version(db)
            stand_in(db)
            return db.execute(sql, values).fetchall()
