"""The tables of a spool's file (SQLite), by version."""

from collections.abc import Sequence
from typing import Final

APPLICATION_ID: Final = 0x4D756E53
"""``MunS`` in the file's header."""

MIGRATIONS: Final[Sequence[str]] = (
    """
-- The stream that the records go to, once it is known; `base` is the sequence number, there, of the
-- oldest row of `entry`; the oldest `claimed` rows may be on their way.
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    origin TEXT,
    producer TEXT,
    stream TEXT,
    base INTEGER NOT NULL,
    claimed INTEGER NOT NULL
);
INSERT INTO state VALUES (0, NULL, NULL, NULL, 0, 0);

-- Records that the log has not acknowledged, oldest first. AUTOINCREMENT: numbers never come back.
CREATE TABLE entry (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    data BLOB NOT NULL
);

-- Records that the log will never take, and what it said.
CREATE TABLE refused (
    position INTEGER PRIMARY KEY,
    data BLOB NOT NULL,
    reason TEXT NOT NULL
)
""",
    """
-- For each call that is going on: its outcome, should nobody see how it ends.
CREATE TABLE underway (
    call INTEGER PRIMARY KEY,
    data BLOB NOT NULL
)
""",
    """
-- Addenda that are to be sent with a record: that at `position` of `entry` (of `refused`, if it is
-- negative), or the outcome of a `call` of `underway`.
CREATE TABLE addendum (
    number INTEGER PRIMARY KEY,
    position INTEGER,
    call INTEGER,
    data BLOB NOT NULL,
    CHECK ((position IS NULL) <> (call IS NULL))
);
CREATE INDEX addendum_of_entry ON addendum (position) WHERE position IS NOT NULL;
CREATE INDEX addendum_of_call ON addendum (call) WHERE call IS NOT NULL;

-- Addenda that are kept here instead of in the log, until they are erased: by SHA-256; `record` is
-- the id of the producer's record that named it last, at `pointer`.
CREATE TABLE kept (
    digest TEXT PRIMARY KEY,
    producer TEXT NOT NULL,
    record TEXT NOT NULL,
    pointer TEXT NOT NULL,
    data BLOB NOT NULL
)
""",
    """
-- Names of what others have sent for the log, and may send again; the newest ones.
CREATE TABLE taken (
    number INTEGER PRIMARY KEY,
    name BLOB NOT NULL UNIQUE
)
""",
    """
-- The same, of each of the first 16 bytes: those of one transaction in a row, with the number of
-- the last of them, counted from the first that ever came.
CREATE TABLE recognised (
    last INTEGER PRIMARY KEY,
    names BLOB NOT NULL
);
INSERT INTO recognised SELECT number, substr(name, 1, 16) FROM taken ORDER BY number;
DROP TABLE taken
""",
)
"""Schema version n is the result of the first n scripts."""
