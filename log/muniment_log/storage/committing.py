"""One transaction for a whole group of batches: bundles, hash tiles, streams, tree; and a head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment_log.errors import StorageError

if TYPE_CHECKING:
    import sqlite3

    from muniment.tlog.heads import Head
    from muniment_log.core.ordering import Commit
    from muniment_log.storage.recalled import Recalled


def write(db: sqlite3.Connection, recalled: Recalled, commit: Commit) -> bytes | None:
    """Writes a group, and returns the signed checkpoint, when one was asked for.

    The tree row moves only from exactly the tree that the change starts from.

    Raises:
        KnownError: something of it was sent before.
        StorageError: another process has extended the tree.
    """
    # Few statements: after each one this thread has to win the interpreter lock back from a busy
    # event loop.
    change = commit.change
    recalled.check_new(db, commit.kept)
    note = commit.sign() if commit.sign is not None else None
    moved = db.execute(
        "UPDATE tree SET size = ?, root = ? WHERE size = ? AND root = ?",
        (*change.edge.head, *change.before),
    ).rowcount
    if moved != 1:
        raise not_alone(change.before)
    if change.bundles:
        db.executemany("INSERT INTO bundle (idx, data) VALUES (?, ?)", change.bundles)
        db.execute("DELETE FROM tail")
    if change.fragment is not None:
        db.execute("INSERT INTO tail (first, data) VALUES (?, ?)", change.fragment)
    if change.tiles:
        db.executemany(
            "INSERT INTO tile (level, idx, data) VALUES (?, ?, ?)"
            " ON CONFLICT (level, idx) DO UPDATE SET data = excluded.data",
            change.tiles,
        )
    db.executemany(
        "INSERT INTO stream (gateway, label, next, manifest) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (gateway, label)"
        " DO UPDATE SET next = excluded.next, manifest = excluded.manifest",
        [(*key, *state) for key, state in commit.streams.items()],
    )
    if commit.accepted:
        db.executemany(
            "INSERT INTO batch (stream, first, count, digest, idx) VALUES"
            " ((SELECT id FROM stream WHERE gateway = ? AND label = ?), ?, ?, ?, ?)",
            [(*b.key, b.first, b.count, b.digest, b.index) for b in commit.accepted],
        )
    if note is not None:
        put_head(db, "signed", note)
    recalled.add(db, commit.kept)
    return note


def put_head(db: sqlite3.Connection, kind: str, note: bytes) -> None:
    """Stores the `signed` or the `published` checkpoint."""
    db.execute(
        "INSERT INTO head (kind, note) VALUES (?, ?)"
        " ON CONFLICT (kind) DO UPDATE SET note = excluded.note",
        (kind, note),
    )


def not_alone(tree: Head) -> StorageError:
    """The stored tree is another one than this process extends."""
    return StorageError(
        f"the stored tree is not the one of size {tree.size} that this process extends: "
        "something else wrote to the database"
    )
