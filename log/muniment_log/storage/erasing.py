"""Removes addenda from their file; the row that is left keeps the bytes from coming back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from muniment_log.core.erasable import Mark, Stored, Totals
from muniment_log.core.naming import SUBJECT_SIZE
from muniment_log.storage.addendarows import count, numbers_of
from muniment_log.storage.newest import numbers, places
from muniment_log.storage.packs import SLOTS_BEHIND, SUBJECT, slots_at, take_out

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from muniment_log.core.erasable import Selection
    from muniment_log.storage.addenda import AddendaStore
    from muniment_log.storage.digests import Digests

# An outcome states no labels: its addenda have those of the decisions on its run.
_LABELS: Final = """
CASE WHEN subject IS NULL AND labels IS NULL AND execution IS NOT NULL THEN
    (SELECT json_group_array(DISTINCT label.value)
    FROM addendum AS decision, json_each(decision.labels) AS label
    WHERE decision.execution = addendum.execution AND decision.labels IS NOT NULL)
ELSE labels END
"""
_COLUMNS: Final = f"id, digest, length(data), time, size, {_LABELS}"

_SLOT: Final = "id, digest, bytes, time, size, NULL"  # as _COLUMNS: a pack has no labels

_OF_DIGESTS: Final = f"""
WITH looked_at(id) AS MATERIALIZED (SELECT value FROM json_each(?3)
        UNION SELECT by_digest.id FROM json_each(?2)
        CROSS JOIN by_digest ON prefix = substr(?1, key * 32 + 1, 8)),
    wanted(digest) AS MATERIALIZED (SELECT substr(?1, key * 32 + 1, 32) FROM json_each(?2))
SELECT {_COLUMNS} FROM addendum
WHERE id IN (SELECT id FROM looked_at) AND digest IN (SELECT digest FROM wanted)
    AND erased IS NULL AND time < ?4
UNION ALL
SELECT {_SLOT} FROM ({slots_at("looked_at")}) WHERE digest IN (SELECT digest FROM wanted)
    AND time < ?4
ORDER BY 1 LIMIT ?5
"""  # noqa: S608  # constants

_SUBJECTS: Final = """
SELECT first, keys FROM subjects WHERE first > ?1 AND instr(keys, ?2) ORDER BY first LIMIT 64
"""
# What a subject's decisions withhold, and what the outcomes of the runs have that these allow. What
# was refused leaves its number behind in `subjects`, and logs of before gave that out again: for
# whose a row is the newest of `subjects` counts.
_OF_SUBJECT: Final = f"""
WITH looked_at(id) AS MATERIALIZED (SELECT value FROM json_each(?3)),
    slot AS MATERIALIZED (SELECT * FROM ({slots_at("looked_at")}) AS slot WHERE {SUBJECT} = ?1)
SELECT {_COLUMNS} FROM addendum
WHERE id IN (SELECT id FROM looked_at) AND subject = ?1 AND erased IS NULL AND time < ?2
UNION ALL
SELECT {_SLOT} FROM slot WHERE time < ?2
UNION ALL
SELECT {_COLUMNS} FROM addendum
WHERE subject IS NULL AND erased IS NULL AND time < ?2 AND execution IN
    (SELECT execution FROM addendum
    WHERE id IN (SELECT id FROM looked_at) AND subject = ?1 AND execution IS NOT NULL
    UNION SELECT execution FROM slot WHERE execution IS NOT NULL)
LIMIT ?4
"""  # noqa: S608  # constants

_AFTER: Final = f"""
SELECT * FROM (SELECT {_COLUMNS}, erased FROM addendum WHERE id > ?1 ORDER BY id LIMIT ?2)
UNION ALL SELECT {_SLOT}, NULL FROM ({SLOTS_BEHIND})
ORDER BY 1 LIMIT ?2
"""  # noqa: S608  # constants

_SIZES: Final = """
SELECT length(data) FROM addendum WHERE erased IS NULL AND id IN (SELECT value FROM json_each(?))
"""
_ERASE: Final = """
UPDATE addendum SET data = NULL, erased = ?2, erasure = ?3
WHERE erased IS NULL AND id IN (SELECT value FROM json_each(?1))
"""
# What was together with others, and is not any more: what is left of it has a row of its own.
_ERASED: Final = f"""
INSERT INTO addendum (id, digest, subject, execution, time, size, erased, erasure)
SELECT ?1, ?2, substr(keys, (?1 - first) * {SUBJECT_SIZE} + 1, {SUBJECT_SIZE}), ?3, ?4, ?5, ?6, ?7
FROM subjects WHERE first <= ?1 ORDER BY first DESC LIMIT 1
"""  # noqa: S608  # constants
# What was removed meanwhile, because its request was refused, must not come back either.
_BAR: Final = """
INSERT INTO addendum (id, digest, time, size, erased, erasure)
SELECT ?5 + key, substr(?1, key * 32 + 1, 32), ?3, 0, ?3, ?4 FROM json_each(?2)
"""

_NUMBERS: Final = 10_000  # rows that one statement looks at
_EVER: Final = (1 << 63) - 1


class ErasableAddenda:
    """The addenda in a file, as `Eraser` wants them."""

    def __init__(self, store: AddendaStore) -> None:
        """Takes a store that is open."""
        self._store = store

    @property
    def totals(self) -> Totals:
        """How much is kept."""
        return self._store.totals

    async def find(self, selection: Selection, most: int) -> list[Stored]:
        """The selected addenda, see `ErasablePort`."""
        before = _EVER if selection.before_ms is None else selection.before_ms
        what = "looking for addenda to erase"
        if selection.subject is not None:
            return await self._find_subject(what, selection.subject, before, most)
        recent = self._store.recent(selection.digests)
        wanted = (*places(selection.digests), numbers(recent), before, most)
        return [_stored(row) for row in await self._store.rows(what, _OF_DIGESTS, wanted)]

    async def _find_subject(
        self, what: str, subject: bytes, before: int, most: int
    ) -> list[Stored]:
        found: dict[int, Stored] = {}
        last = -1
        while groups := await self._store.rows(what, _SUBJECTS, (last, subject)):
            numbers = [one for group in groups for one in numbers_of(subject, *group)]
            for start in range(0, len(numbers), _NUMBERS):
                some = msgspec.json.encode(numbers[start : start + _NUMBERS]).decode()
                rows = await self._store.rows(what, _OF_SUBJECT, (subject, before, some, most))
                found.update((row[0], _stored(row)) for row in rows)
            if len(found) >= most:
                break
            last = groups[-1][0]
        return [found[number] for number in sorted(found)[:most]]

    async def after(self, id_: int, until_ms: int, most: int) -> tuple[list[Stored], int]:
        """Addenda behind one, see `ErasablePort`."""
        found: list[Stored] = []
        for row in await self._store.rows("looking for what is due", _AFTER, (id_, most)):
            *columns, erased = row
            if columns[3] > until_ms:
                break
            id_ = columns[0]
            if erased is None:
                found.append(_stored(columns))
        return found, id_

    async def begin(self, records: Mapping[str, bytes]) -> None:
        """Notes erasures, see `ErasablePort`."""

        def work(db: sqlite3.Connection, _: Digests, __: int) -> Totals:
            db.executemany("INSERT INTO erasing VALUES (?, ?)", records.items())
            return count(db)

        await self._store.write("noting an erasure", work)

    async def begun(self) -> list[bytes]:
        """Erasures that are not complete, see `ErasablePort`."""
        rows = await self._store.rows("reading erasures", "SELECT record FROM erasing ORDER BY id")
        return [record for (record,) in rows]

    async def remove(
        self, id_: str, digests: Sequence[bytes], index: int, now_ms: int
    ) -> tuple[()]:
        """Removes bytes, see `ErasablePort`; at most MOST_AT_ONCE digests."""

        def work(db: sqlite3.Connection, at: Digests, first: int) -> Totals:
            rows = at.find(db, digests)
            ids = numbers(rows.values())
            sizes = [size for (size,) in db.execute(_SIZES, (ids,))]
            db.execute(_ERASE, (ids, now_ms, index))
            slots = take_out(db, ids)
            db.executemany(
                _ERASED,
                [
                    (one.id, one.digest, one.execution, one.time, one.leaves, now_ms, index)
                    for one in slots
                ],
            )
            sizes += [one.size for one in slots]
            if barred := [digest for digest in dict.fromkeys(digests) if digest not in rows]:
                db.execute(_BAR, (*places(barred), now_ms, index, first))
                at.add(db, barred, first)
            db.execute("DELETE FROM erasing WHERE id = ?", (id_,))
            erased = len(sizes) + len(barred)
            return count(db, -len(sizes), -sum(sizes), erased)

        await self._store.write("erasing addenda", work)
        return ()

    async def mark(self) -> Mark | None:
        """Up to where erasures were carried through, see `ErasablePort`."""
        rows = await self._store.rows("reading the mark", "SELECT next, seen FROM log")
        return Mark(*rows[0]) if rows else None

    async def put_mark(self, mark: Mark) -> None:
        """Notes up to where, see `ErasablePort`."""

        def work(db: sqlite3.Connection, _: Digests, __: int) -> Totals:
            db.execute("UPDATE log SET next = ?, seen = ?", mark)
            return count(db)

        await self._store.write("noting the mark", work)

    async def forget(self) -> bool:
        """Cuts the write-ahead log off, see `ErasablePort`."""
        return await self._store.cut_log()


def _stored(row: Sequence[object]) -> Stored:
    _, digest, size, time, leaves, labels = row
    read = () if labels is None else tuple(msgspec.json.decode(str(labels), type=list[str]))
    return Stored(digest, size, time, leaves, read)  # type: ignore[arg-type]  # as the schema has it
