-- The tree, and what makes delivery exactly-once.

-- Whose log this is: one row for each of its public keys.
CREATE TABLE identity (
    vkey TEXT PRIMARY KEY,
    origin TEXT NOT NULL
) WITHOUT ROWID;

-- The integrated tree: one row, moved only by a guarded update.
CREATE TABLE tree (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    size INTEGER NOT NULL,
    root BLOB NOT NULL
);

-- The root of the empty tree is the SHA-256 of nothing.
INSERT INTO tree VALUES
    (0, 0, x'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');

-- Full entry bundles: 256 framed entries each.
CREATE TABLE bundle (
    idx INTEGER PRIMARY KEY,
    data BLOB NOT NULL
);

-- The partial entry bundle, one row for each commit that added to it.
CREATE TABLE tail (
    first INTEGER PRIMARY KEY,
    data BLOB NOT NULL
);

-- Full hash tiles, and above level 0 the partial one.
CREATE TABLE tile (
    level INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (level, idx)
);

CREATE TABLE stream (
    id INTEGER PRIMARY KEY,
    gateway TEXT NOT NULL,
    label TEXT NOT NULL,
    next INTEGER NOT NULL,
    manifest BLOB NOT NULL,
    UNIQUE (gateway, label)
);

-- Signed batches, to recognise a retry: digest is the SHA-256 of the manifest's text.
CREATE TABLE batch (
    stream INTEGER NOT NULL REFERENCES stream,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    digest BLOB NOT NULL,
    idx INTEGER NOT NULL,
    PRIMARY KEY (stream, first)
) WITHOUT ROWID;

-- Manifests that contradict an accepted one: the proof that a gateway forked its stream.
CREATE TABLE refused (
    gateway TEXT NOT NULL,
    label TEXT NOT NULL,
    first INTEGER NOT NULL,
    note BLOB NOT NULL,
    PRIMARY KEY (gateway, label, first, note)
) WITHOUT ROWID;

-- The newest checkpoint that the log signed, and the published one.
CREATE TABLE head (
    kind TEXT PRIMARY KEY CHECK (kind IN ('signed', 'published')),
    note BLOB NOT NULL
) WITHOUT ROWID;
