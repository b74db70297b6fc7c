"""The pages' own file beside a replica: decisions by column, sums, and the roots of bundles.

Nothing in it is believed. What a search finds here is read from the replica and looked at again;
and the file is begun anew when the leaves that it was made of have not the root that the replica
was verified by (see `indexing`). Deleted, it is made again. Only this module holds its SQL.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from muniment.explore.counting import (
    CODES,
    LeafCounts,
    ProducerCounts,
    SearchRow,
    StreamCounts,
    follow,
    hash_text,
    marks_of,
)
from muniment.index.search import Search
from muniment.local.sqlitefile import CACHE_KIBIBYTES, open_reader
from muniment.local.sqliteopen import select
from muniment.tlog.merkle import CompactRange, split_hashes

APPLICATION_ID: Final = 0x4D75_4578  # "MuEx"

SUFFIX: Final = "-explore"
"""What the file is called, behind the replica's name."""

WINDOW: Final = 1 << 18
"""Leaves that one statement of a search covers: some 20 ms, when nothing narrows it down."""

MAX_WINDOWS: Final = 16
"""Windows that one search looks into: four million leaves."""

RARE: Final = 64
"""A code is rare that fewer than one of so many decisions has."""


_ALSO: Final = " AND EXISTS (SELECT 1 FROM mark AS m WHERE m.hash = ? AND m.idx = mark.idx)"
_ROW: Final = ", ".join(SearchRow._fields)

MIGRATIONS: Final = (
    """
-- How far it is: the leaves [0, size), and their compact range.
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    size INTEGER NOT NULL,
    peaks BLOB NOT NULL
);
INSERT INTO state VALUES (0, 0, x'');

-- See counting.SearchRow.
CREATE TABLE decision (
    idx INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    codes INTEGER NOT NULL,
    producer INTEGER NOT NULL,
    subject INTEGER NOT NULL,
    action INTEGER NOT NULL,
    resource INTEGER NOT NULL,
    policy INTEGER NOT NULL,
    trace INTEGER NOT NULL
);
CREATE INDEX decision_subject ON decision (subject);
CREATE INDEX decision_resource ON decision (resource);
CREATE INDEX decision_trace ON decision (trace) WHERE trace <> 0;
CREATE INDEX decision_policy ON decision (policy) WHERE policy <> 0;
CREATE INDEX decision_action ON decision (action);
CREATE INDEX decision_producer ON decision (producer);
CREATE INDEX decision_codes ON decision (codes) WHERE codes <> 0;

-- Decisions by hour since 1970, producer and codes.
CREATE TABLE tally (
    hour INTEGER NOT NULL,
    producer TEXT NOT NULL,
    codes INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (hour, producer, codes)
) WITHOUT ROWID;

-- Who asks: by the hash of the subject, with the leaf of the newest decision.
CREATE TABLE asker (
    subject INTEGER PRIMARY KEY,
    allowed INTEGER NOT NULL,
    denied INTEGER NOT NULL,
    last INTEGER NOT NULL
);
CREATE INDEX asker_busy ON asker (allowed + denied);

-- See counting.ProducerCounts and counting.StreamCounts.
CREATE TABLE gateway (
    producer TEXT PRIMARY KEY,
    records INTEGER NOT NULL,
    allowed INTEGER NOT NULL,
    denied INTEGER NOT NULL,
    last INTEGER NOT NULL,
    time INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE stream (
    producer TEXT NOT NULL,
    label TEXT NOT NULL,
    first INTEGER NOT NULL,
    next INTEGER NOT NULL,
    missing INTEGER NOT NULL,
    again INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (producer, label)
) WITHOUT ROWID;
CREATE TABLE kind (
    kind TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) WITHOUT ROWID;

-- RFC 6962 roots of the full entry bundles: a proof then needs the leaves of one bundle alone.
CREATE TABLE bundle (
    idx INTEGER PRIMARY KEY,
    root BLOB NOT NULL
)
""",
    """
-- See counting.Mark. All is counted once more.
CREATE TABLE mark (
    hash INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    PRIMARY KEY (hash, idx)
) WITHOUT ROWID;
DELETE FROM decision;
DELETE FROM tally;
DELETE FROM asker;
DELETE FROM gateway;
DELETE FROM stream;
DELETE FROM kind;
DELETE FROM bundle;
UPDATE state SET size = 0, peaks = x'';
""",
)
_TABLES: Final = ("decision", "mark", "tally", "asker", "gateway", "stream", "kind", "bundle")


class SubjectCounts(NamedTuple):
    """Who asks: decisions on it, and the leaf of the newest one, which names it."""

    allowed: int
    denied: int
    last: int


class Candidates(NamedTuple):
    """What a search has found: leaves, the newest first.

    `looked` is the leaf from which on everything was looked at; 0 when that is all.
    """

    leaves: list[int]
    looked: int


class TableReader:
    """Reads the file; belongs to its thread. Every question raises DatabaseError if it cannot."""

    def __init__(self, path: Path) -> None:
        """Opens it; DatabaseError if it cannot be opened."""
        self._path = path
        self._connection = open_reader(path, cache=CACHE_KIBIBYTES)

    def close(self) -> None:
        """Closes it."""
        self._connection.close()

    def size(self) -> int:
        """How many leaves it covers."""
        ((size,),) = self._all("SELECT size FROM state")
        return int(size)

    def find(self, search: Search, *, before: int, limit: int) -> Candidates:
        """The newest decisions below a leaf that may be what is looked for, at most `limit`.

        Ids and runs are not columns: `index.query` finds these.
        """
        size = self.size()
        mask = 0
        if search.code is not None:
            mask = 1 << CODES.index(search.code) if search.code in CODES else 0
        codes = {one: count for one, count in self.answers() if one & mask}
        if search.code is not None and not codes:
            return Candidates([], 0)
        is_rare = 0 < sum(codes.values()) < size // RARE
        marks = marks_of(search)
        where, values = _conditions(
            search, mask, list(codes) if is_rare and not marks else [], is_free=not marks
        )
        source, index = "decision", "idx"
        if marks:
            # By the leaves of the first mark, of which few have it, or enough are found soon.
            source, index = "mark CROSS JOIN decision USING (idx)", "mark.idx"
            where = f" AND hash = ?{_ALSO * (len(marks) - 1)}{where}"
            values = [*marks, *values]
        end = min(before, size)
        found: list[int] = []
        for _ in range(MAX_WINDOWS):
            if end <= 0 or len(found) >= limit:
                break
            start = max(0, end - WINDOW)
            rows = self._all(
                f"SELECT {index} FROM {source} WHERE {index} >= ? AND {index} < ?{where}"  # noqa: S608 - no value is in it
                f" ORDER BY {index} DESC LIMIT ?",
                (start, end, *values, limit - len(found)),
            )
            found += [idx for (idx,) in rows]
            end = start
        looked = found[-1] if len(found) >= limit else max(0, end)
        return Candidates(found, looked)

    def hours(self, first: int, end: int) -> list[tuple[int, int, int]]:
        """Decisions by hour and codes, of the hours [first, end) since 1970."""
        return self._all(
            "SELECT hour, codes, sum(count) FROM tally WHERE hour >= ? AND hour < ?"
            " GROUP BY hour, codes ORDER BY hour",
            (first, end),
        )

    def answers(self) -> list[tuple[int, int]]:
        """Decisions by codes."""
        return self._all("SELECT codes, sum(count) FROM tally GROUP BY codes")

    def span(self, end: int) -> tuple[int, int] | None:
        """The first and the last hour with decisions, of those below `end`; None without any."""
        ((first, last),) = self._all(
            "SELECT min(hour), max(hour) FROM tally WHERE hour < ?", (end,)
        )
        return None if first is None else (first, last)

    def outside(self, first: int, end: int) -> int:
        """Decisions of other hours than [first, end)."""
        sql = "SELECT coalesce(sum(count), 0) FROM tally WHERE hour < ? OR hour >= ?"
        ((count,),) = self._all(sql, (first, end))
        return int(count)

    def askers(self, limit: int) -> list[SubjectCounts]:
        """Who has asked most often."""
        sql = (
            "SELECT allowed, denied, last FROM asker"
            " ORDER BY allowed + denied DESC, subject DESC LIMIT ?"
        )
        return [SubjectCounts(*row) for row in self._all(sql, (limit,))]

    def asker_count(self) -> int:
        """How many have asked."""
        ((count,),) = self._all("SELECT count(*) FROM asker")
        return int(count)

    def gateways(self) -> dict[str, ProducerCounts]:
        """All that have logged."""
        rows = self._all("SELECT * FROM gateway ORDER BY producer")
        return {producer: ProducerCounts(*rest) for producer, *rest in rows}

    def streams(self) -> dict[tuple[str, str], StreamCounts]:
        """All streams."""
        return {
            (row[0], row[1]): StreamCounts(*row[2:]) for row in self._all("SELECT * FROM stream")
        }

    def kinds(self) -> dict[str, int]:
        """Leaves by kind."""
        return dict(self._all("SELECT kind, count FROM kind ORDER BY count DESC"))

    def roots(self, first: int, end: int) -> list[bytes]:
        """The roots of the full bundles [first, end); fewer when some are not there."""
        rows = self._all(
            "SELECT root FROM bundle WHERE idx >= ? AND idx < ? ORDER BY idx", (first, end)
        )
        return [root for (root,) in rows]

    def _all(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        return select(self._connection, self._path, sql, values)


def _conditions(
    search: Search, mask: int, rare: Sequence[int], *, is_free: bool
) -> tuple[str, list[int]]:
    """The rest of a WHERE clause, and its values.

    One index is used: that of `rare` codes, or of the first column that is given, of which each
    text is in fewer decisions than of those behind it, as a rule. The sign + keeps SQLite, which
    knows nothing of the texts, from using another one. Without `is_free` none is: marks lead.
    """
    found: list[tuple[str, int]] = []
    if rare:
        listed = ", ".join(map(str, rare))
        found.append((f"codes <> 0 AND codes IN ({listed}) AND codes & ? <> 0", mask))
    elif mask:
        found.append(("+codes & ? <> 0", mask))
    texts: dict[str, Sequence[str | None] | None] = {
        "trace": (search.trace,),
        "resource": search.resource,
        "subject": search.subject,
        "policy": (search.policy,),
        "action": (search.action,),
        "producer": (search.producer,),
    }
    is_free = is_free and not rare
    for column, parts in texts.items():
        if parts is None or None in parts:
            continue
        there = f"{column} <> 0 AND " if column in {"trace", "policy"} else ""
        found.append(
            (
                f"{there}{column} = ?" if is_free else f"+{column} = ?",
                hash_text(*[part for part in parts if part is not None]),
            )
        )
        is_free = False
    if search.since is not None:
        found.append(("time >= ?", search.since))
    if search.until is not None:
        found.append(("time < ?", search.until))
    if search.allowed is not None:
        found.append(("(+codes = 0) = ?", int(search.allowed)))
    return "".join(f" AND {one}" for one, _ in found), [value for _, value in found]


def range_in(connection: sqlite3.Connection) -> CompactRange:
    """The compact range of the leaves that a file covers."""
    size, peaks = connection.execute("SELECT size, peaks FROM state").fetchone()
    return CompactRange.from_peaks(size, split_hashes(peaks))


def clear(connection: sqlite3.Connection) -> None:
    """Forgets everything."""
    for table in _TABLES:
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - constants
    connection.execute("UPDATE state SET size = 0, peaks = x''")


def add(
    connection: sqlite3.Connection,
    counted: LeafCounts,
    after: CompactRange,
    roots: Sequence[tuple[int, bytes]],
) -> None:
    """Adds leaves, which lead to the range `after`, and the roots of bundles that they filled."""
    run = connection.executemany
    marks = ", ".join("?" * len(SearchRow._fields))
    run(f"INSERT INTO decision ({_ROW}) VALUES ({marks})", counted.rows)  # noqa: S608 - constants
    run("INSERT INTO mark VALUES (?, ?)", counted.marks)
    run(
        "INSERT INTO tally VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET count = count + excluded.count",
        [(*key, number) for key, number in counted.tally.items()],
    )
    run(
        "INSERT INTO asker VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " allowed = allowed + excluded.allowed, denied = denied + excluded.denied,"
        " last = excluded.last",
        [(subject, *rest) for subject, rest in counted.askers.items()],
    )
    run(
        "INSERT INTO gateway VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " records = records + excluded.records, allowed = allowed + excluded.allowed,"
        " denied = denied + excluded.denied, last = excluded.last, time = excluded.time",
        [
            (name, one.records, one.allowed, one.denied, one.last, one.time)
            for name, one in counted.gateways.items()
        ],
    )
    for key, new in counted.streams.items():
        row = connection.execute(
            "SELECT first, next, missing, again, last FROM stream WHERE producer = ? AND label = ?",
            key,
        ).fetchone()
        stream = new
        if row is not None:
            stream = StreamCounts(*row)
            follow(stream, new)
        connection.execute(
            "INSERT OR REPLACE INTO stream VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*key, stream.first, stream.next, stream.missing, stream.again, stream.last),
        )
    run(
        "INSERT INTO kind VALUES (?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
        list(counted.kinds.items()),
    )
    run("INSERT INTO bundle VALUES (?, ?)", roots)
    connection.execute("UPDATE state SET size = ?, peaks = ?", (after.size, b"".join(after.peaks)))
