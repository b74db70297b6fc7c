-- That this file is a copy which `backup` made: when, and how many leaves it holds. While the tree
-- has that size nothing was added to the copy, and the original may have gone on without it.
CREATE TABLE copied (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    time INTEGER NOT NULL,
    size INTEGER NOT NULL
);
