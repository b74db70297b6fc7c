-- The subjects of addenda: 16 bytes each, those of row `first` and of the rows behind it, zeros for
-- none. A row for each transaction, all of which are read to find a subject: 16 MB for a million
-- addenda. An index would cost each addendum a page to write, more than all else that is stored.
CREATE TABLE subjects (
    first INTEGER PRIMARY KEY,
    keys BLOB NOT NULL
);
INSERT INTO subjects SELECT id, subject FROM addendum WHERE subject IS NOT NULL;
DROP INDEX addendum_by_subject;
