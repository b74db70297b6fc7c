-- Whose addenda these are; how many are kept, their bytes, and how many were erased; one row. All
-- erasures before number `next` of the log's own stream have been carried through here, and those
-- behind it stand at leaf index `seen` or behind. Less than the log has shows an older copy.
CREATE TABLE log (
    one INTEGER PRIMARY KEY CHECK (one = 0),
    origin TEXT NOT NULL,
    addenda INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    erased INTEGER NOT NULL DEFAULT 0,
    next INTEGER NOT NULL DEFAULT 0,
    seen INTEGER NOT NULL DEFAULT 0
);

-- An addendum, in the order in which they came. `subject` stands for the subject of the decision that
-- names it (core/addenda.py: subject_key), `time` is when the log took it in Unix milliseconds by its
-- own clock, `size` how many leaves it had then: the record stands there or soon after, as a rule.
-- `labels` is the JSON array of its governance labels. An addendum that was erased has no `data`;
-- `erased` is when (Unix milliseconds), `erasure` the leaf index of the record that says so. Such a
-- row stays, so that the bytes are not stored again when they are sent again. `data` is last: the
-- other columns are read without it.
CREATE TABLE addendum (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    subject BLOB,
    execution TEXT,
    time INTEGER NOT NULL,
    size INTEGER NOT NULL,
    labels TEXT,
    erased INTEGER,
    erasure INTEGER,
    data BLOB
);

CREATE INDEX addendum_by_subject ON addendum (subject) WHERE subject IS NOT NULL;
CREATE INDEX addendum_by_execution ON addendum (execution) WHERE subject IS NULL;

-- Erasures that are to be carried through: the record that says so, by its id. It is logged from here
-- if need be, then the bytes go, and with them this row.
CREATE TABLE erasing (
    id TEXT PRIMARY KEY,
    record BLOB NOT NULL
) WITHOUT ROWID;

-- Rows [first, last] that are stored, for a request of which it is not known whether it was logged;
-- if it was, then at leaf index `size` or behind.
CREATE TABLE arriving (
    first INTEGER PRIMARY KEY,
    last INTEGER NOT NULL,
    size INTEGER NOT NULL
);
