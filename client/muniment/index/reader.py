"""Reading an index file: postings by thing and role, and the leaves they name.

A reader has one query-only connection and belongs to one thread at a time. What it is asked for is
asked *at a size*: the log only grows, so answers at a size once visible stay the same while a
follower goes on writing, and no transaction has to stay open.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import pairwise, starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import msgspec

from muniment.index.bundles import Bundles, LeafReader
from muniment.index.keys import LOCAL_MASK, PART_BITS, ROLE_BITS, THING_SHIFT, Role
from muniment.index.schema import (
    APPLICATION_ID,
    HAS_ADDENDA,
    HAS_HEADS,
    HAS_SUMMARIES,
    STATE,
    IndexState,
    state_of,
)
from muniment.index.stillfile import open_replica
from muniment.index.summary import Summary
from muniment.lineage.facts import ROLES, FactsHead, Interval, Page
from muniment.local.sqlitefile import CACHE_KIBIBYTES, DatabaseError
from muniment.local.sqliteopen import first_look, select
from muniment.tlog.encoding import FormatError
from muniment.tlog.note import VKey, parse_vkey

if TYPE_CHECKING:
    from muniment.records.kinds import Record

_ROLE_MASK: Final = (1 << ROLE_BITS) - 1

# In each part of the log, from the first that counts on, one search for each thing. CROSS JOIN
# keeps SQLite to this order of loops, which is that of the leaves. Its operators << >> & | have one
# precedence.
_PARTS: Final = (
    "WITH RECURSIVE part(n) AS (SELECT ?1 UNION ALL SELECT n + 1 FROM part WHERE n < ?2 ORDER BY 1)"
)
_ONE: Final = (
    f"{_PARTS} SELECT n << {PART_BITS} | (entry & {LOCAL_MASK})"  # noqa: S608 - constants
    " FROM part CROSS JOIN posting"
    f" ON part = n AND entry BETWEEN iif(n = ?1, ?3, ?4) AND iif(n = ?2, ?5, ?4 | {LOCAL_MASK})"
    " LIMIT ?6"
)
_MANY: Final = (
    f"{_PARTS} SELECT thing.key, entry >> {PART_BITS} & {_ROLE_MASK},"  # noqa: S608 - constants
    f" n << {PART_BITS} | (entry & {LOCAL_MASK})"
    " FROM json_each(?3) AS thing CROSS JOIN part CROSS JOIN posting"
    f" ON part = n AND entry BETWEEN thing.value << {THING_SHIFT} | ?4"
    f" AND thing.value << {THING_SHIFT} | ?5"
    f" WHERE n << {PART_BITS} | (entry & {LOCAL_MASK}) < ?6 LIMIT ?7"
)
_FROM: Final = Role.FROM << PART_BITS
_REACH: Final = (
    "WITH RECURSIVE part(n) AS MATERIALIZED"  # noqa: S608 - constants
    " (SELECT 0 UNION ALL SELECT n + 1 FROM part WHERE n < ?1),"
    " reach(thing) AS (SELECT value FROM json_each(?2)"
    " UNION SELECT far FROM reach CROSS JOIN part CROSS JOIN posting"
    f" ON part = n AND entry BETWEEN thing << {THING_SHIFT} | {_FROM}"
    f" AND thing << {THING_SHIFT} | {_FROM | LOCAL_MASK}"
    f" WHERE n << {PART_BITS} | (entry & {LOCAL_MASK}) < ?3 LIMIT ?4)"
    " SELECT thing FROM reach"
)


KEPT_RECORDS: Final = 8_192
"""Parsed records, and postings, that a reader keeps for the next question: some 15 MB."""


class KnownLeaves:
    """What was read of a log before: leaves do not change, so it stays true as the log grows.

    Attributes:
        records: Leaves, parsed; None for what is no valid record.
        size: The size at which postings were read.
        read: Hashes of things whose postings are all known.
        near: Leaves by a thing's hash and a role.
        pages: Whole answers, by role, then by key.
    """

    __slots__ = ("near", "pages", "read", "records", "size")

    def __init__(self) -> None:
        self.records: dict[int, Record | None] = {}
        self.size = 0
        self.read: set[int] = set()
        self.near: dict[tuple[int, int], list[int]] = {}
        self.pages: dict[str, dict[Any, Page[Any]]] = {role: {} for role in ROLES}

    def at(self, size: int) -> None:
        """Prepares for questions at a size, and lets go of what has become too much to keep."""
        if len(self.records) > KEPT_RECORDS:
            self.records = {}
        answers = max(len(self.near), *map(len, self.pages.values()))
        if self.size != size or answers > KEPT_RECORDS:
            self.size, self.read, self.near = size, set(), {}
            self.pages = {role: {} for role in ROLES}


class Posting(NamedTuple):
    """A candidate: a leaf, and its role for the thing at a position in what was asked for."""

    thing: int
    role: int
    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here


class IndexReader:
    """Reads one index file; close it before its writer, if that is in this process.

    Every question raises `DatabaseError` if the file cannot be read or contradicts itself.
    Questions at a `size` are answered as if the log had only that many leaves. `leaves` and
    `manifest_after` are those of `bundles.LeafReader`.
    """

    def __init__(self, path: Path, bundles: Bundles | None = None) -> None:
        """Opens the file; `bundles` holds the records, unless it is a replica, which does itself.

        Raises DatabaseError if there is no index at the path, or no records come with it.
        """
        # Opening what is absent would create it.
        if not path.is_file():
            raise DatabaseError(f"{path}: no such index")
        self.path: Final = path
        self._connection, self._still = open_replica(path, cache=CACHE_KIBIBYTES)
        with first_look(self._connection, path, APPLICATION_ID, "an index"):
            row = self._connection.execute("SELECT bundles FROM state").fetchone()
            if row == (0,) and bundles is None:
                raise DatabaseError(f"{path}: a log's index; the records are in the log")
        self._has: set[str] = set()
        leaves = LeafReader(path, bundles or self)
        self.leaves = leaves.leaves
        self.manifest_after = leaves.manifest_after
        self.known: Final = KnownLeaves()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def state(self) -> IndexState:
        """How far the index is now."""
        return state_of(self._one(f"SELECT {STATE} FROM state"), self.path)  # noqa: S608 - a constant

    def head(self) -> FactsHead | None:
        """What answers reflect now; None while nothing is verified. Cheaper than `state`."""
        row = self._one("SELECT origin, size, time FROM state WHERE note IS NOT NULL")
        return None if row is None else FactsHead(*row)

    def gateways(self) -> tuple[VKey, ...] | None:
        """The gateways whose word counts for who reads this replica; None when none are kept."""
        if not self._knows(HAS_HEADS):
            return None
        rows = self._all("SELECT vkey FROM gateway ORDER BY vkey")
        try:
            return tuple(parse_vkey(vkey, str(self.path)) for (vkey,) in rows) or None
        except FormatError as error:
            raise DatabaseError(f"{self.path}: {error}") from error

    def intervals(self, indices: Iterable[int], *, size: int) -> list[Interval]:
        """When the log took some leaves, as far as the followed heads up to a size tell."""
        if not self._knows(HAS_HEADS):
            head = self.head()
            return [Interval(None, head.time or None if head else None) for _ in indices]
        found: list[Interval] = []
        low, high, known = 0, 0, Interval()  # the leaves [low, high) have the interval `known`
        for index in indices:
            if not low <= index < high:
                before = self._one(
                    "SELECT size, until FROM head WHERE size <= ? ORDER BY size DESC LIMIT 1",
                    (index,),
                )
                after = self._one(
                    "SELECT size, time FROM head WHERE size > ? AND size <= ?"
                    " ORDER BY size LIMIT 1",
                    (index, size),
                )
                low, earliest = before or (0, None)
                high, latest = after or (size, None)
                known = Interval(earliest, latest)
            found.append(known)
        return found

    def keys_from(self, size: int) -> int:
        """From which leaf on keys are found by what they signed; `size` if from none."""
        if not self._knows(HAS_SUMMARIES):
            return size
        row = self._one("SELECT keys_from FROM noted")
        return size if row is None else min(size, int(row[0]))

    def summaries(self, first: int, end: int) -> dict[int, Summary]:
        """What the bundles [first, end) are about, by number, where there is a summary."""
        if not self._knows(HAS_SUMMARIES):
            return {}
        rows = self._all("SELECT * FROM summary WHERE idx >= ? AND idx < ?", (first, end))
        return {row[0]: Summary(*row) for row in rows}

    def addenda(self, digests: Iterable[str]) -> dict[str, bytes]:
        """Those of some addenda that the replica has taken along, by digest.

        Raises DatabaseError if one has rotted, or was changed.
        """
        if not self._knows(HAS_ADDENDA):
            return {}
        listed = msgspec.json.encode([*digests]).decode("ascii")
        sql = "SELECT digest, data FROM addendum WHERE digest IN (SELECT value FROM json_each(?))"
        found: dict[str, bytes] = dict(self._all(sql, (listed,)))
        for digest, data in found.items():
            if sha256(data).hexdigest() != digest:
                raise DatabaseError(f"{self.path}: other bytes than those of addendum {digest}")
        return found

    def is_condemned(self) -> bool:
        """Whether the index holds proof that the log's key signed two histories."""
        return self._one("SELECT 1 FROM misbehaviour") is not None

    def find(self, thing: int, role: Role, *, after: int, size: int, limit: int) -> list[int]:
        """The first `limit` leaves after one that may play a role for a thing's hash, in order."""
        first = after + 1
        if first >= size:
            return []
        base = thing << THING_SHIFT | role << PART_BITS
        low, high = base | first & LOCAL_MASK, base | size - 1 & LOCAL_MASK
        parts = first >> PART_BITS, size - 1 >> PART_BITS
        found = [index for (index,) in self._all(_ONE, (*parts, low, base, high, limit))]
        if any(left >= right for left, right in pairwise(found)):
            raise AssertionError("postings are not in the order of the leaves")
        return found

    def find_all(
        self, things: Sequence[int], roles: tuple[Role, Role], *, size: int, limit: int
    ) -> list[Posting]:
        """The leaves that may play any of some roles for any of some things, in one statement.

        Args:
            things: The things' hashes.
            roles: The first and the last role, inclusive.
            size: Only leaves with a smaller index.
            limit: At most so many in all; as many mean that there may be more.
        """
        if not things or not size:
            return []
        low, high = roles[0] << PART_BITS, roles[1] << PART_BITS | LOCAL_MASK
        listed = msgspec.json.encode(things).decode("ascii")
        rows = self._all(_MANY, (0, size - 1 >> PART_BITS, listed, low, high, size, limit))
        return list(starmap(Posting, rows))

    def reach(self, things: Sequence[int], *, size: int, limit: int) -> list[int]:
        """At most `limit` things: some, and what the edges from them lead to, and so on.

        Things are hashes, each once in the answer, nearest first.
        """
        if not size:
            return list(things[:limit])
        listed = msgspec.json.encode(things).decode("ascii")
        rows = self._all(_REACH, (size - 1 >> PART_BITS, listed, size, limit))
        return [thing for (thing,) in rows]

    def bundle(self, index: int) -> bytes:
        """The bundle that a replica holds; see `Bundles`."""
        row = self._one("SELECT data FROM bundle WHERE idx = ?", (index,))
        if row is None:
            raise DatabaseError(f"{self.path}: entry bundle {index} is missing")
        data = row[0]
        if not isinstance(data, bytes):  # a rotten row may say that it is of another type
            raise DatabaseError(f"{self.path}: entry bundle {index} is damaged: no bytes")
        return data

    def _knows(self, question: str) -> bool:
        """Whether the file is of a version with some tables; a follower may bring it up to date."""
        if question not in self._has and self._one(question) is not None:
            self._has.add(question)
        return question in self._has

    def _one(self, sql: str, values: Sequence[object] = ()) -> tuple[Any, ...] | None:
        rows = self._all(sql, values)
        return rows[0] if rows else None

    def _all(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        rows = select(self._connection, self.path, sql, values)
        if self._still is not None:
            self._still.check()
        return rows
