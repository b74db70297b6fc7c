-- What recognises records and requests, without an index that costs each of them a page to write:
-- names come in no order. A row of `recalled` has what one batch brought, at most 256 of it, with
-- the ids from `first` on: 16 bytes of `names` each, and in `data` the rest, see storage/recalled.py.
-- Names of the ids behind `sorted` are in the memory of the log, which reads them when it starts;
-- they come to `recalled_by_name` many at a time, in order, so that several share a page. A prefix is
-- two bytes of the stream and six of the name: it may be that of several, and the row may be gone.
-- What a log of before kept stays in `recall`, until it is the oldest.
CREATE TABLE recalled (
    first INTEGER PRIMARY KEY,
    stream BLOB NOT NULL,
    place INTEGER NOT NULL,
    names BLOB NOT NULL,
    data BLOB NOT NULL
);

CREATE INDEX recalled_by_place ON recalled (stream, place);

CREATE TABLE recalled_by_name (
    prefix BLOB NOT NULL,
    id INTEGER NOT NULL,
    PRIMARY KEY (prefix, id)
) WITHOUT ROWID;

-- `swept`: up to which prefix it was looked for rows that are gone.
CREATE TABLE recalled_state (
    one INTEGER PRIMARY KEY CHECK (one = 0),
    sorted INTEGER NOT NULL,
    swept BLOB NOT NULL
);
INSERT INTO recalled_state VALUES (0, 0, x'');
