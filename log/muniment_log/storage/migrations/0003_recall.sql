-- What recognises records and requests of producers that cannot sign, when they come again: see
-- storage/recall.py. A row is written in the transaction that gives the records their indices.
-- `stream` stands for the producer's stream, `place` is how far that was: the oldest go first.
CREATE TABLE recall (
    stream BLOB NOT NULL,
    name BLOB NOT NULL,
    content BLOB NOT NULL,
    time INTEGER NOT NULL,
    place INTEGER NOT NULL,
    runs BLOB NOT NULL,
    PRIMARY KEY (stream, name)
) WITHOUT ROWID;

CREATE INDEX recall_by_place ON recall (stream, place);
