-- Addenda that came together: `number` of them, those of the rows [first, first + number), which are
-- not in `addendum`; so one row is written for many. `data` has each behind its length (a big-endian
-- uint32), as the batch had them; `ends` says where each ends in there, in eight decimal digits each;
-- `digests` has 32 bytes for each, `runs` is the JSON array of the runs that their records are of,
-- empty strings for none. Each has a subject (see `subjects`) and no label. One that is erased or
-- refused is overwritten with zeros here, and its digest, too: what is erased goes on as a row of
-- `addendum`. When none is left, the row goes. What is long stands behind what is short.
CREATE TABLE pack (
    first INTEGER PRIMARY KEY,
    number INTEGER NOT NULL,
    time INTEGER NOT NULL,
    size INTEGER NOT NULL,
    digests BLOB NOT NULL,
    ends TEXT NOT NULL,
    runs TEXT NOT NULL,
    data BLOB NOT NULL
);
