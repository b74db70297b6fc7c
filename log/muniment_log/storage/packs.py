"""Addenda that are stored together: a row for as many as came at once, see `0005_packs.sql`.

To write a row costs more than all else that is done with an addendum of usual size. A *slot* is the
place of one of them; its id is the one that its row would have.
"""

from __future__ import annotations

import sqlite3
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from muniment.records.batchbody import FRAME
from muniment_log.core.naming import SUBJECT_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence, Sized

    from muniment_log.core.addenda import Pack

MOST: Final = 256
"""Addenda in one row: whoever reads one of them reads the row."""

_DIGEST_SIZE: Final = 32
_NO_DIGEST: Final = bytes(_DIGEST_SIZE)
_DIGITS: Final = 8  # of an end


def _sql(text: str, number: str) -> str:
    """SQL about the slot of a number, which is an expression, in a row of `pack`."""
    end = f"CAST(substr(ends, 8 * {number} + 1, 8) AS INTEGER)"
    # Before the first end there is no other: an empty text is 0.
    begin = f"CAST(substr(ends, max(8 * {number} - 7, 1), min(8 * {number}, 8)) AS INTEGER)"
    digest = f"substr(digests, {_DIGEST_SIZE} * {number} + 1, {_DIGEST_SIZE})"
    return text.format(
        digest=digest,
        is_there=f"{digest} NOT IN (x'', zeroblob({_DIGEST_SIZE}))",
        bytes=f"{end} - {begin} - {FRAME}",
        data=f"substr(data, {begin} + {FRAME + 1}, {end} - {begin} - {FRAME})",
        run=f"nullif(json_extract(runs, '$[' || {number} || ']'), '')",
    )


def _at(id_: str) -> str:
    """SQL: where the row is that an id is of, or would be."""
    return "pack.first = (SELECT max(first) FROM pack WHERE first <= " + id_ + ")"  # noqa: S608  # no value


def digest_at(id_: str) -> str:
    """SQL: the digest of the addendum with an id, wherever that is; else null or empty."""
    slot = _sql("SELECT {digest} FROM pack WHERE ", f"({id_} - pack.first)") + _at(id_)
    row = "(SELECT digest FROM addendum WHERE addendum.id = " + id_  # noqa: S608  # no value
    return f"coalesce({row}), ({slot}))"


def data_at(ids: str) -> str:
    """SQL: digest and data of the slots among some ids, a table with a column `id`."""
    columns = "SELECT {digest} AS digest, {data} AS data FROM "
    return _sql(columns + ids + _AT_WANTED, "(wanted.id - pack.first)")


def slots_at(ids: str) -> str:
    """SQL: id, digest, bytes, time, size of the log, execution of the slots among some ids."""
    columns = (
        "SELECT wanted.id AS id, {digest} AS digest, {bytes} AS bytes, time, pack.size AS size,"
        " {run} AS execution FROM "
    )
    return _sql(columns + ids + _AT_WANTED, "(wanted.id - pack.first)")


_AT_WANTED: Final = " AS wanted JOIN pack ON " + _at("wanted.id") + " WHERE {is_there}"

SLOTS_BEHIND: Final = _sql(
    "SELECT first + key AS id, {digest} AS digest, {bytes} AS bytes, time, pack.size AS size,"
    " nullif(value, '') AS execution FROM pack, json_each(runs)"
    " WHERE first >= coalesce((SELECT max(first) FROM pack WHERE first <= ?1), 0)"
    " AND first + key > ?1 AND {is_there} ORDER BY first LIMIT ?2",
    "key",
)
"""The first ?2 slots behind the id ?1, with the same columns."""

SUBJECT: Final = f"""
(SELECT substr(keys, (slot.id - first) * {SUBJECT_SIZE} + 1, {SUBJECT_SIZE})
FROM subjects WHERE first <= slot.id ORDER BY first DESC LIMIT 1)
"""  # noqa: S608  # constants
"""Whose the addendum of a `slot` is."""

ARRIVING: Final = _sql(
    "SELECT digest, arriving.size FROM arriving, addendum"
    " WHERE id BETWEEN first AND last AND erased IS NULL"
    " UNION ALL SELECT {digest}, arriving.size FROM pack, json_each(runs), arriving"
    " WHERE pack.first BETWEEN arriving.first AND arriving.last AND {is_there}",
    "key",
)
"""The digests of the addenda that are noted as arriving, and from which leaf on."""

LAST: Final = f"""
SELECT max((SELECT sorted FROM log), coalesce((SELECT max(id) FROM addendum), 0),
    coalesce((SELECT first + number - 1 FROM pack ORDER BY first DESC LIMIT 1), 0),
    coalesce((SELECT first + length(keys) / {SUBJECT_SIZE} - 1
        FROM subjects ORDER BY first DESC LIMIT 1), 0))
"""  # noqa: S608  # constants
"""The last id that was given out, as far as anything still tells: `subjects` goes on naming it, and
behind the mark `sorted` a start looks for what has to be in memory."""

_TO_TAKE: Final = f"""
SELECT slot.*, pack.first, digests, ends
FROM ({slots_at("(SELECT value AS id FROM json_each(?1))")}) AS slot
JOIN pack ON {_at("slot.id")} ORDER BY slot.id
"""  # noqa: S608  # constants

_STAND_IN: Final = """
CREATE TEMP TABLE pack (first INTEGER PRIMARY KEY, number, time, size, digests, ends, runs, data)
"""

_ADD: Final = "INSERT INTO pack VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


class Slot(NamedTuple):
    """What a slot had, and when the log took it; see the schema."""

    id: int
    digest: bytes
    size: int
    time: int
    leaves: int
    execution: str | None


def add(db: sqlite3.Connection, packs: Sequence[Pack], first: int, time: int, leaves: int) -> int:
    """Adds packs, with ids from `first` on; the id that comes next."""
    rows: list[tuple[object, ...]] = []
    for pack in packs:
        base = 0
        for start in range(0, len(pack.digests), MOST):
            ends = pack.ends[start : start + MOST]
            number = len(ends)
            section = pack.section[base : ends[-1]]
            runs = b'","'.join([run or b"" for run in pack.runs[start : start + MOST]])
            rows.append(
                (
                    first,
                    number,
                    time,
                    leaves,
                    b"".join(pack.digests[start : start + MOST]),
                    "%08d" * number % tuple([end - base for end in ends] if base else ends),
                    f'["{runs.decode()}"]',
                    section,
                )
            )
            first, base = first + number, ends[-1]
    db.executemany(_ADD, rows)
    return first


def take_out(db: sqlite3.Connection, ids: str) -> list[Slot]:
    """Overwrites the slots among some ids, a JSON array; what they had, by their ids.

    A row of which nothing is left goes. Raises sqlite3.DatabaseError if one is damaged: what is
    overwritten then could be somebody else's.
    """
    found = db.execute(_TO_TAKE, (ids,)).fetchall()
    for first, group in groupby(found, lambda row: row[-3]):
        slots = [*group]
        (_, digests, ends) = slots[0][-3:]
        if len(slots) == sum(1 for _ in live(digests)):
            db.execute("DELETE FROM pack WHERE first = ?", (first,))
            continue
        with (
            db.blobopen("pack", "digests", first) as all_digests,
            db.blobopen("pack", "data", first) as data,
        ):
            if not is_whole(len(digests) // _DIGEST_SIZE, digests, ends, data):
                raise sqlite3.DatabaseError(
                    f"row {first} of pack is damaged (see `muniment-log check`): put a copy of the "
                    "addenda there"
                )
            for slot in slots:
                at = slot[0] - first
                begin, end = bounds(ends, at)
                all_digests.seek(_DIGEST_SIZE * at)
                all_digests.write(_NO_DIGEST)
                data.seek(begin)
                data.write(bytes(end - begin))
    return [Slot(*row[:-3]) for row in found]


def live(digests: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and digest of each slot of a row that has an addendum."""
    for at in range(len(digests) // _DIGEST_SIZE):
        digest = digests[_DIGEST_SIZE * at : _DIGEST_SIZE * (at + 1)]
        if digest != _NO_DIGEST:
            yield at, digest


def bounds(ends: str, number: int) -> tuple[int, int]:
    """Where the bytes of a slot begin and end in its row's data."""
    before = ends[_DIGITS * (number - 1) : _DIGITS * number] if number else "0"
    return int(before) + FRAME, int(ends[_DIGITS * number : _DIGITS * (number + 1)])


def is_whole(number: int, digests: bytes, ends: str, data: Sized) -> bool:
    """Whether a row has what it must have for so many addenda; says nothing of their bytes."""
    if not (len(digests) == _DIGEST_SIZE * number and len(ends) == _DIGITS * number > 0):
        return False
    if not (ends.isascii() and ends.isdecimal()):
        return False
    all_bounds = [bounds(ends, at) for at in range(number)]
    return all(begin <= end for begin, end in all_bounds) and all_bounds[-1][1] == len(data)


def stand_in(db: sqlite3.Connection) -> None:
    """Has a reader of a file of before see that there are no packs in it.

    Before each reading: a log that opens the file meanwhile makes the table, which would not be
    seen behind the one that stands in for it.
    """
    has_packs = _has_packs(db, "main")
    if has_packs != _has_packs(db, "temp"):
        return
    (is_reader,) = db.execute("PRAGMA query_only").fetchone()
    db.execute("PRAGMA query_only=OFF")
    db.execute("DROP TABLE temp.pack" if has_packs else _STAND_IN)
    db.execute(f"PRAGMA query_only={is_reader}")


def _has_packs(db: sqlite3.Connection, schema: str) -> bool:
    sql = f"SELECT 1 FROM {schema}.sqlite_schema WHERE name = 'pack'"  # noqa: S608  # no value
    return db.execute(sql).fetchone() is not None
