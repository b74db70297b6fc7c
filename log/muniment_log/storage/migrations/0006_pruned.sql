-- Entries below `size` were pruned: their bundles are in an archive, their hashes stay. One row, or
-- none.
CREATE TABLE pruned (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    size INTEGER NOT NULL,
    time INTEGER NOT NULL
);
