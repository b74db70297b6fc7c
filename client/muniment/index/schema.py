"""The index file: its tables, and the values that are read from them."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from muniment.local.sqlitefile import DatabaseError
from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.encoding import FormatError
from muniment.tlog.merkle import HASH_SIZE, CompactRange, split_hashes

APPLICATION_ID: Final = 0x4D756E49
"""``MunI`` in the file's header: SQLite and file(1) show whose database it is."""

MIGRATIONS: Final[Sequence[str]] = (
    """
-- What is indexed: one row, moved only by guarded updates. Answers reflect exactly the leaves
-- [0, size), which the checkpoint in `note` vouches for. Leaves up to `pending` are in the tables,
-- but nothing vouches for them yet. `peaks` and `pending_peaks` are compact ranges.
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    bundles INTEGER NOT NULL,
    origin TEXT,
    size INTEGER NOT NULL,
    peaks BLOB NOT NULL,
    note BLOB,
    time INTEGER NOT NULL,
    pending INTEGER NOT NULL,
    pending_peaks BLOB NOT NULL,
    unknown INTEGER NOT NULL
);
INSERT INTO state VALUES (0, 0, NULL, 0, x'', NULL, 0, 0, x'', 0);

-- See keys.py. The order of the key is the order of every search. In the role FROM, `far` is the
-- hash of the thing that the edge leads to, so that a chain is walked in one statement.
CREATE TABLE posting (
    part INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    far INTEGER,
    PRIMARY KEY (part, entry)
) WITHOUT ROWID;

-- Entry bundles as the log serves them, the last one partial; only in a replica.
CREATE TABLE bundle (
    idx INTEGER PRIMARY KEY,
    data BLOB NOT NULL
);

-- Proof that the log's key signed two histories; nothing is followed any more then.
CREATE TABLE misbehaviour (
    kind TEXT NOT NULL,
    notes BLOB NOT NULL,
    implied_root BLOB,
    proof BLOB NOT NULL
);

-- What did not verify, and proves nothing: the trusted note and the one that did not fit.
CREATE TABLE suspicion (
    id INTEGER PRIMARY KEY,
    sentence TEXT NOT NULL,
    trusted BLOB,
    shown BLOB NOT NULL
)
""",
    """
-- The heads that a replica has followed: when the log was known to have no more than `size` leaves,
-- and when it was known to have them, Unix seconds. The older they are, the fewer are kept.
CREATE TABLE head (
    id INTEGER PRIMARY KEY,
    size INTEGER NOT NULL UNIQUE,
    until INTEGER NOT NULL,
    time INTEGER NOT NULL
);

-- The gateways whose word counts for whoever reads this replica and names no others.
CREATE TABLE gateway (
    vkey TEXT PRIMARY KEY
) WITHOUT ROWID
""",
    """
-- From which leaf on keys are found by what they signed; 0 but for a file that an older version
-- began.
CREATE TABLE noted (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    keys_from INTEGER NOT NULL
);
INSERT INTO noted SELECT 0, pending FROM state;

-- What the decisions of a bundle are about, so that a search passes over the others, see
-- summary.py. A bundle that was stored before this table has no row, and is looked into.
CREATE TABLE summary (
    idx INTEGER PRIMARY KEY,
    earliest INTEGER NOT NULL,
    latest INTEGER NOT NULL,
    things BLOB NOT NULL
)
""",
    """
-- What was withheld, and taken along: by SHA-256 in hexadecimal digits, with the producer of a
-- record that names it, who may have it erased. Only in a replica that was told to.
CREATE TABLE IF NOT EXISTS addendum (
    digest TEXT PRIMARY KEY,
    producer TEXT NOT NULL,
    data BLOB NOT NULL
);

-- Up to which leaf the log was asked for them, and erasures are carried out; and whether traces of
-- what was erased may be left in the write-ahead log.
CREATE TABLE IF NOT EXISTS addenda (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    taken INTEGER NOT NULL,
    obeyed INTEGER NOT NULL,
    unwiped INTEGER NOT NULL
);
INSERT OR IGNORE INTO addenda VALUES (0, 0, 0, 0)
""",
    """
-- What the log did not have when it was asked: it may come with a later retry of its batch. It is
-- asked for again at `again` (Unix seconds), after pauses that double.
CREATE TABLE IF NOT EXISTS absent (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    producer TEXT NOT NULL,
    pause INTEGER NOT NULL,
    again INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS absent_by_time ON absent (again)
""",
)
"""Schema version n is the result of the first n scripts."""

HAS_HEADS: Final = "SELECT 1 FROM sqlite_schema WHERE name = 'head'"
HAS_SUMMARIES: Final = "SELECT 1 FROM sqlite_schema WHERE name = 'summary'"
HAS_ADDENDA: Final = "SELECT 1 FROM sqlite_schema WHERE name = 'addenda'"
"""Tell whether a file is of a version with the tables of the second, the third and the fourth
script: who only reads a file of before makes do without them."""

STATE: Final = "origin, size, peaks, note, time, pending, pending_peaks, unknown"
"""The columns of `IndexState`, in order."""


class IndexState(NamedTuple):
    """How far an index of a log is; the origin is None while nothing was indexed.

    Attributes:
        origin: The log.
        verified: Compact range of the leaves that answers reflect.
        checkpoint: What vouches for them, verified when it was stored; None while nothing does.
        time: When that log was known to have this size, Unix seconds; 0 when nobody says.
        pending: Compact range of the leaves that are stored; at least as large.
        unknown: Number of leaves among them that are neither a record nor a manifest.
    """

    origin: str | None
    verified: CompactRange
    checkpoint: SignedCheckpoint | None
    time: int
    pending: CompactRange
    unknown: int

    @property
    def size(self) -> int:
        """Number of leaves that answers reflect."""
        return self.verified.size


def state_of(row: Sequence[object] | None, what: object) -> IndexState:
    """Makes the state of a row with the columns `STATE`; `what` names the file.

    Raises DatabaseError if there is none, or it contradicts itself.
    """
    try:
        if row is None:
            raise ValueError("no state")
        origin, size, peaks, note, time, pending, pending_peaks, unknown = row
        if not (
            isinstance(origin, str | None)
            and isinstance(size, int)
            and isinstance(peaks, bytes)
            and isinstance(note, bytes | None)
            and isinstance(time, int)
            and isinstance(pending, int)
            and isinstance(pending_peaks, bytes)
            and isinstance(unknown, int)
        ):
            raise ValueError("a value of another type")  # noqa: TRY004 - of the file, not a caller
        return IndexState(
            origin,
            range_of(size, peaks),
            None if note is None else parse_signed_checkpoint(note),
            time,
            range_of(pending, pending_peaks),
            unknown,
        )
    except (ValueError, FormatError) as error:
        raise DatabaseError(f"{what}: not a usable index ({error}); delete it") from None


def range_of(size: int, peaks: bytes) -> CompactRange:
    """Restores a stored compact range; ValueError if the peaks are not those of that size."""
    if len(peaks) % HASH_SIZE:
        raise ValueError("peaks are not hashes")
    hashes = split_hashes(peaks)
    return CompactRange.from_peaks(size, hashes)
