-- Finds an addendum by its digest, without an index that costs each addendum a page to write:
-- digests come in no order. Those of the rows behind `sorted` are in the memory of the log, which
-- reads them when it starts; they come here many at a time, in order, so that several share a page.
-- A prefix may be that of several digests, and the row may be gone: the digest is in the row.
PRAGMA secure_delete=ON;
PRAGMA temp_store=MEMORY;
CREATE TABLE by_digest (
    prefix BLOB NOT NULL,
    id INTEGER NOT NULL,
    PRIMARY KEY (prefix, id)
) WITHOUT ROWID;
INSERT INTO by_digest SELECT substr(digest, 1, 8), id FROM addendum ORDER BY 1, 2;
ALTER TABLE log ADD COLUMN sorted INTEGER NOT NULL DEFAULT 0;
UPDATE log SET sorted = (SELECT coalesce(max(id), 0) FROM addendum);

-- The same table as before, but for the index.
CREATE TABLE moved (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL,
    subject BLOB,
    execution TEXT,
    time INTEGER NOT NULL,
    size INTEGER NOT NULL,
    labels TEXT,
    erased INTEGER,
    erasure INTEGER,
    data BLOB
);
INSERT INTO moved SELECT id, digest, subject, execution, time, size, labels, erased, erasure, data
    FROM addendum ORDER BY id;
DROP TABLE addendum;
ALTER TABLE moved RENAME TO addendum;
CREATE INDEX addendum_by_execution ON addendum (execution) WHERE subject IS NULL;
CREATE INDEX addendum_by_labelled_run ON addendum (execution) WHERE labels IS NOT NULL;
