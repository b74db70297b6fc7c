"""The rows of addenda in their file: all that a transaction of `AddendaStore` does there."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import Struct, field

from muniment_log.core.erasable import Totals
from muniment_log.core.naming import SUBJECT_SIZE
from muniment_log.storage.newest import numbers
from muniment_log.storage.packs import add, take_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from muniment_log.core.addenda import Addendum, Pack, Sent
    from muniment_log.storage.digests import Digests

_NO_SUBJECT: Final = bytes(SUBJECT_SIZE)

# One statement for all rows: after each statement the writer's thread has to win the interpreter
# lock back from a busy event loop.
_INSERT: Final = f"""
INSERT INTO addendum (id, digest, subject, execution, time, size, labels, data)
SELECT ?1 + key, substr(?2, key * 32 + 1, 32),
    nullif(substr(?3, key * {SUBJECT_SIZE} + 1, {SUBJECT_SIZE}), zeroblob({SUBJECT_SIZE})),
    json_extract(value, '$[2]'), ?6, ?7, json_extract(value, '$[3]'),
    substr(?4, json_extract(value, '$[0]'), json_extract(value, '$[1]'))
FROM json_each(?5)
"""  # noqa: S608  # constants


class Place(NamedTuple):
    """Where a transaction stores: from which row on, at what size of the log, when."""

    first: int
    size: int
    now_ms: int


class Changes(Struct):
    """What the next transaction writes besides what waits.

    Attributes:
        arrived: first ids of groups that need not be noted any more.
        lowered: groups whose records stand further to the front.
        dropped: digests of what goes.
    """

    arrived: list[int] = field(default_factory=list[int])
    lowered: dict[int, int] = field(default_factory=dict[int, int])
    dropped: list[bytes] = field(default_factory=list[bytes])

    def __bool__(self) -> bool:
        return bool(self.arrived or self.lowered or self.dropped)


def commit(
    db: sqlite3.Connection,
    digests: Digests,
    changes: Changes,
    sent: Sequence[Sent],
    place: Place,
) -> tuple[set[bytes], list[bytes], Totals]:
    """Writes changes and a group; of a request that lacks something nothing is stored.

    Returns which of what is expected is absent, which addenda are new, and the totals.
    """
    change(db, digests, changes)
    absent: set[bytes] = set()
    if expected := [digest for one in sent for digest in one.expected]:
        absent = {*expected}.difference(digests.find(db, expected))
        sent = [one for one in sent if absent.isdisjoint(one.expected)]
    packs, addenda = _new(db, digests, sent)
    new = [digest for pack in packs for digest in pack.digests]
    new += [one.digest for one in addenda]
    if not new:
        return absent, [], count(db)
    first, size, now = place
    following = add(db, packs, first, now, size)
    subjects = b"".join([pack.subjects for pack in packs])
    stored = sum([pack.size for pack in packs])
    if addenda:
        packed = _packed(addenda)
        db.execute(_INSERT, (following, *packed, now, size))
        subjects += packed[1]
        stored += len(packed[2])
    if any(subjects):
        # There is one of this number if all of its rows are gone.
        db.execute("INSERT OR REPLACE INTO subjects VALUES (?, ?)", (first, subjects))
    db.execute("INSERT INTO arriving VALUES (?, ?, ?)", (first, first + len(new) - 1, size))
    digests.add(db, new, first)
    return absent, new, count(db, len(new), stored)


def _new(
    db: sqlite3.Connection, digests: Digests, sent: Sequence[Sent]
) -> tuple[list[Pack], list[Addendum]]:
    """What is not there yet: the packs of which all is new, and the addenda of everything else."""
    packs: list[Pack] = []
    addenda: list[Addendum] = []
    brought = [one.brought for one in sent]
    seen = {*digests.find(db, [digest for some in brought for digest in some])}
    for one, some in zip(sent, brought, strict=True):
        if one.pack is not None and seen.isdisjoint(some):
            packs.append(one.pack)
        elif not seen.issuperset(some):
            addenda += [addendum for addendum in one.addenda if addendum.digest not in seen]
        seen.update(some)
    return packs, addenda


def _packed(addenda: Sequence[Addendum]) -> tuple[bytes, bytes, bytes, str]:
    """The rows of addenda as four values, for one statement."""
    rows: list[tuple[object, ...]] = []
    at = 1  # SQLite counts bytes from 1
    for one in addenda:
        labels = msgspec.json.encode(one.labels).decode() if one.labels else None
        rows.append((at, len(one.data), one.execution, labels))
        at += len(one.data)
    return (
        b"".join([one.digest for one in addenda]),
        b"".join([one.subject or _NO_SUBJECT for one in addenda]),
        b"".join([one.data for one in addenda]),
        msgspec.json.encode(rows).decode(),
    )


def numbers_of(subject: bytes, first: int, keys: bytes) -> Iterator[int]:
    """The rows that a row of `subjects` says to be of a subject."""
    at = keys.find(subject)
    while at >= 0:
        if at % SUBJECT_SIZE == 0:
            yield first + at // SUBJECT_SIZE
        at = keys.find(subject, at + 1)


def change(db: sqlite3.Connection, digests: Digests, changes: Changes) -> None:
    """Writes what became known of addenda that were arriving."""
    if changes.lowered:
        db.executemany(
            "UPDATE arriving SET size = min(size, ?2) WHERE first = ?1", changes.lowered.items()
        )
    if changes.dropped:
        _drop(db, digests, changes.dropped)
    if changes.arrived:
        db.execute(
            "DELETE FROM arriving WHERE first IN (SELECT value FROM json_each(?))",
            (msgspec.json.encode(changes.arrived).decode(),),
        )


def _drop(db: sqlite3.Connection, digests: Digests, dropped: Sequence[bytes]) -> None:
    rows = digests.find(db, dropped)
    ids = numbers(rows.values())
    gone = db.execute(
        "DELETE FROM addendum WHERE erased IS NULL AND id IN (SELECT value FROM json_each(?))"
        " RETURNING digest, length(data)",
        (ids,),
    ).fetchall()
    gone += [(slot.digest, slot.size) for slot in take_out(db, ids)]
    digests.drop(db, {digest: rows[digest] for digest, _ in gone})
    count(db, -len(gone), -sum(size for _, size in gone))


def count(db: sqlite3.Connection, addenda: int = 0, size: int = 0, erased: int = 0) -> Totals:
    """Changes the totals, within the transaction that changes what they count; the new ones."""
    row = db.execute(
        "UPDATE log SET addenda = addenda + ?, bytes = bytes + ?, erased = erased + ?"
        " RETURNING addenda, bytes, erased",
        (addenda, size, erased),
    ).fetchone()
    return Totals(*row)


def forget(db: sqlite3.Connection, digests: Digests, unknown: set[bytes]) -> None:
    """Removes addenda that no record names; nothing is arriving any more."""
    if unknown:
        _drop(db, digests, [*unknown])
    db.execute("DELETE FROM arriving")


def check_version(db: sqlite3.Connection) -> None:
    """Raises sqlite3.DatabaseError if a newer program has made a file, and may keep more in it."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > (known := len(migrations())):
        raise sqlite3.DatabaseError(
            f"schema version {version} is newer than this program's {known}"
        )


def migrations() -> list[str]:
    """The schema's changes, oldest first, for `Writer.open`."""
    scripts = Path(__file__).with_name("addendamigrations").glob("*.sql")
    return [script.read_text("utf-8") for script in sorted(scripts)]
