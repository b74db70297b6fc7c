-- What recognises records and requests of producers that cannot sign, when they come again: see
-- storage/recall.py. A row is written in the transaction that gives the records their indices.
-- `stream` stands for the producer's stream, `place` is how far that was: the oldest go first.
CREATE TABLE recall (
    stream bytea NOT NULL,
    name bytea NOT NULL,
    content bytea NOT NULL,
    time bigint NOT NULL,
    place bigint NOT NULL,
    runs bytea NOT NULL,
    PRIMARY KEY (stream, name)
);

CREATE INDEX recall_by_place ON recall (stream, place);
