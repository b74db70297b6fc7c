-- An addendum that `addenda.db` has, the newest when it was noted: with the first one, every ten
-- minutes, and when the log ends. By it a start notices that that file was lost or is an older copy.
CREATE TABLE IF NOT EXISTS addenda (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    newest BLOB NOT NULL
);
