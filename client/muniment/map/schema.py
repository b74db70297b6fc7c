"""The tables of a map's file.

A node of a kind has a number: ``kind << 48 | 1 << depth | place``. A bucket's row is at that of its
slot. A tile holds the hashes of the nodes at one depth below its own, see `tile_depths`; so read at
one size, the file tells what stands beside any key without what `levels` has in memory.
"""

import sqlite3
from typing import Final, NamedTuple

from muniment.map.bucket import Rot
from muniment.tlog.merkle import CompactRange, split_hashes

APPLICATION_ID: Final = 0x4D6E4D61  # "MnMa"

TILE_BITS: Final = 4

PAGE_BYTES: Final = 1024
"""A page of the file. A new key changes one bucket, anywhere: small pages keep what is written of
each small."""

KIND_SHIFT: Final = 48

MIGRATIONS: Final = (
    """
    CREATE TABLE state (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        version INTEGER NOT NULL,
        origin TEXT NOT NULL,
        size INTEGER NOT NULL,
        peaks BLOB NOT NULL,
        root BLOB NOT NULL
    ) STRICT;
    CREATE TABLE passed (
        size INTEGER PRIMARY KEY,
        tree_root BLOB NOT NULL,
        root BLOB NOT NULL
    ) STRICT;
    CREATE TABLE kind (
        kind INTEGER PRIMARY KEY,
        depth INTEGER NOT NULL,
        keys INTEGER NOT NULL,
        root BLOB NOT NULL
    ) STRICT;
    CREATE TABLE bucket (id INTEGER PRIMARY KEY, root BLOB NOT NULL, data BLOB NOT NULL) STRICT;
    CREATE TABLE tile (id INTEGER PRIMARY KEY, hashes BLOB NOT NULL) STRICT;
    CREATE TABLE chunk (
        key BLOB NOT NULL,
        number INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (key, number)
    ) STRICT, WITHOUT ROWID;
    """,
)

PASSED: Final = 4096
"""States of which the roots are kept: whoever compares an index with the map may have to begin
again a little behind."""


def node_id(kind: int, depth: int, place: int) -> int:
    """The number of a node."""
    return kind << KIND_SHIFT | 1 << depth | place


def tile_depths(depth: int) -> list[int]:
    """The depths whose hashes are in tiles, ascending, where the slots are at `depth`.

    They lie TILE_BITS apart; the last is as much above the slots, whose rows have the hashes below.
    A tile's own node is TILE_BITS above its hashes, or the kind's root.
    """
    return list(range(depth - TILE_BITS, 0, -TILE_BITS))[::-1]


class MapState(NamedTuple):
    """What a map's file reflects."""

    range: CompactRange
    """Of the leaves that it took."""
    root: bytes
    """Of the map."""


def read_state(db: sqlite3.Connection) -> MapState:
    """Reads what the file reflects, or raises Rot."""
    size, peaks, root = db.execute("SELECT size, peaks, root FROM state").fetchone()
    try:
        state = MapState(CompactRange.from_peaks(size, split_hashes(peaks)), root)
    except ValueError as error:
        raise Rot(str(error)) from None
    if size and read_passed(db, size) != (state.range.root(), root):
        raise Rot(f"it is not what it was at {size} leaves")
    return state


def write_state(db: sqlite3.Connection, state: MapState) -> None:
    """Writes what the file reflects, and notes it among the PASSED newest states."""
    db.execute(
        "UPDATE state SET size = ?, peaks = ?, root = ?",
        (state.range.size, b"".join(state.range.peaks), state.root),
    )
    size = state.range.size
    db.execute(
        "INSERT OR REPLACE INTO passed VALUES (?, ?, ?)", (size, state.range.root(), state.root)
    )
    db.execute(
        "DELETE FROM passed WHERE size <"
        " (SELECT size FROM passed ORDER BY size DESC LIMIT 1 OFFSET ?)",
        (PASSED,),
    )


def read_passed(db: sqlite3.Connection, size: int) -> tuple[bytes, bytes] | None:
    """The roots of the tree and of the map at a size that was passed; None if it is not known."""
    row: tuple[bytes, bytes] | None = db.execute(
        "SELECT tree_root, root FROM passed WHERE size = ?", (size,)
    ).fetchone()
    return row
