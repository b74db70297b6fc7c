-- How the database came to be: one row, written with it. A database from before this table has none.
CREATE TABLE made (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    time INTEGER NOT NULL,
    command TEXT NOT NULL
);
