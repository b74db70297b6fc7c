"""The embedded store: one SQLite file.

One transaction commits a whole group of batches: bundles, hash tiles, streams, tree. The rules that
keep the file sound (one writing connection, WAL with ``synchronous=FULL``, query-only readers) are
those of `muniment.local.sqlitefile`. A commit never reads a bundle back: full bundles are written
once, and the partial one is a row per commit until it is full.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

from muniment.local.sqlitefile import AbsentDatabaseError, Writer, log_pages, not_usable
from muniment.tlog.heads import Head
from muniment_log.core.ordering import MAX_REFUSED, Accepted, Commit, Kept, Loaded
from muniment_log.core.ports import NEW_STREAM, StreamKey, StreamState
from muniment_log.errors import StorageError, WrongIdentityError
from muniment_log.storage.committing import not_alone, put_head, write
from muniment_log.storage.identity import check_identity, check_signed
from muniment_log.storage.prunedsize import pruned_size
from muniment_log.storage.recalled import Recalled, Recalls
from muniment_log.storage.reporting import reported
from muniment_log.storage.schema import APPLICATION_ID, Made, bind, migrations
from muniment_log.storage.tilereads import read_tiles
from muniment_service.readers import Readers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from muniment.tlog.note import VKey
    from muniment_log.core.recall import Recall


WAL_PAGES: Final = 8192
"""Pages in the write-ahead log before a commit checkpoints it: 32 MiB, where there is room for it.
Fewer, larger checkpoints cost less under load; the size bounds the file and the time to recover."""

WRITER_KIBIBYTES: Final = 4 * 1024
"""Page cache of the writer: it writes to the ends of its tables, and reads nothing of it again."""

READERS: Final = 2
"""Connections that read: reading tiles for proofs and auditors needs no more threads than cores."""

_NO_IDENTITY: Final = "{}: the database is of no log: it has no identity"


class SQLiteStore:
    """The log's one file. Use `open`; `close` when nothing runs any more."""

    def __init__(self, writer: Writer, readers: Readers, recalled: Recalled) -> None:
        """Takes over an opened writer and readers on the same file, and what that keeps."""
        self._writer = writer
        self._readers = readers
        self._tree: Head | None = None  # as loaded or committed; only the writer's thread uses it
        self._recalled = recalled
        self._recalls = Recalls(readers, recalled)

    @classmethod
    async def open(cls, path: Path) -> SQLiteStore:
        """Locks, opens and migrates the database, which `create_database` has made.

        Raises:
            AbsentDatabaseError: there is none, or an empty one.
            DatabaseError: it is in use, not a database, another program's, or of a newer version.
        """
        writer = await Writer.open(path, migrations(), application=APPLICATION_ID, expected="old")
        try:
            await writer.run(lambda db: _set_up(db, path))
            recalled = await writer.run(Recalled)
            readers = await Readers.open(path, READERS)
        except sqlite3.Error as error:
            await writer.close()
            raise not_usable(path, error) from error
        except BaseException:
            await writer.close()
            raise
        return cls(writer, readers, recalled)

    async def make_ready(self) -> None:
        """Prepares for commits that somebody waits for.

        Raises StorageError if the file cannot be written.
        """
        with reported("lengthening the write-ahead log"):
            await self._writer.lengthen_log()

    @property
    def path(self) -> Path:
        """The database file."""
        return self._writer.path

    async def close(self) -> None:
        """Closes the readers, then the writer, and lets another process have the file."""
        try:
            await self._readers.close()
        finally:
            await self._writer.close()

    async def claim(self, origin: str, keys: Sequence[str]) -> None:
        """Checks that the database is bound to a log's origin and vkeys.

        Raises:
            AbsentDatabaseError: it is bound to no log: whoever made it did not finish.
            WrongIdentityError: it belongs to another origin or to other keys.
            StorageError: the file cannot be read.
        """

        def work(db: sqlite3.Connection) -> dict[str, str]:
            return dict(db.execute("SELECT vkey, origin FROM identity").fetchall())

        with reported("reading the database's identity"):
            owned = await self._writer.run(work)
        if not owned:
            raise AbsentDatabaseError(_NO_IDENTITY.format(self.path))
        check_identity(owned, origin, keys, self.path)

    async def made(self) -> Made | None:
        """How the database came to be; None when a version made it that did not record that.

        Raises StorageError if the file cannot be read.
        """

        def work(db: sqlite3.Connection) -> Made | None:
            row = db.execute("SELECT time, command FROM made").fetchone()
            return None if row is None else Made(*row)

        with reported("reading how the database came to be"):
            return await self._writer.run(work)

    async def is_copy(self) -> bool:
        """Whether it is a copy which `backup` made, and nothing was added to it since.

        Raises StorageError if the file cannot be read.
        """

        def work(db: sqlite3.Connection) -> bool:
            row = db.execute("SELECT 1 FROM copied, tree WHERE copied.size = tree.size").fetchone()
            return row is not None

        with reported("reading whether the database is a copy"):
            return await self._writer.run(work)

    async def newest_addendum(self) -> bytes | None:
        """The digest of an addendum that the file of the addenda has; None if it may have none.

        Raises StorageError if the file cannot be read.
        """

        def work(db: sqlite3.Connection) -> bytes | None:
            row = db.execute("SELECT newest FROM addenda").fetchone()
            return None if row is None else bytes(row[0])

        with reported("reading what is known of the addenda"):
            return await self._writer.run(work)

    async def note_addendum(self, digest: bytes | None) -> None:
        """Notes durably that the file of the addenda has one; None that nothing is known of it.

        Raises StorageError if it is not known whether that is noted; the process must end.
        """

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM addenda")
            if digest is not None:
                db.execute("INSERT INTO addenda VALUES (0, ?)", (digest,))

        with reported("noting an addendum"):
            await self._writer.run(work)

    async def vkeys(self) -> list[str]:
        """The vkeys that the database is bound to; StorageError if the file cannot be read."""

        def work(db: sqlite3.Connection) -> list[str]:
            return [vkey for (vkey,) in db.execute("SELECT vkey FROM identity")]

        with reported("reading the log's keys"):
            return await self._writer.run(work)

    async def rebind(self, origin: str, keys: Sequence[VKey], commit: Callable[[], None]) -> None:
        """Binds the database to other keys of its log; see `muniment_service.rotation.Record`.

        A key goes only when all that stay have signed the published checkpoint: by it those who
        hold the new keys alone believe what was published.

        Raises:
            AbsentDatabaseError: it is bound to no log.
            WrongIdentityError: the database belongs to another origin, or no such key has signed.
            FatalDatabaseError: the file cannot be read or written.
        """

        def work(db: sqlite3.Connection) -> None:
            owned = dict(db.execute("SELECT vkey, origin FROM identity").fetchall())
            if not owned:
                raise AbsentDatabaseError(_NO_IDENTITY.format(self.path))
            if set(owned.values()) - {origin}:
                names = ", ".join(sorted(set(owned.values())))
                raise WrongIdentityError(f"{self.path} is the log {names}, not {origin}")
            row = db.execute("SELECT note FROM head WHERE kind = 'published'").fetchone()
            if row is not None and owned.keys() - set(map(str, keys)):
                check_signed(row[0], list(map(str, keys)))
            db.execute("DELETE FROM identity")
            bind(db, origin, [str(key) for key in keys])
            commit()

        await self._writer.run(work)

    async def load(self) -> Loaded:
        """Reads the right edge and the stored notes; the cost does not grow with the log.

        Raises StorageError if the file cannot be read, or lacks the tree.
        """

        def work(db: sqlite3.Connection) -> Loaded:
            loaded = read_loaded(db)
            self._tree = loaded.head
            return loaded

        with reported("reading the tree"):
            return await self._writer.run(work)

    async def check_alone(self) -> None:
        """Checks that the stored tree is the one that this process has loaded or committed.

        The lock keeps other processes away, unless somebody removes its file, or the process was
        stopped on another machine that shares the folder. Raises StorageError if another process
        has extended the tree, or the file cannot be read.
        """
        with reported("reading the tree"):
            await self._writer.run(self._check_alone)

    def _check_alone(self, db: sqlite3.Connection) -> None:
        if self._tree is None:
            return
        row = db.execute("SELECT size, root FROM tree").fetchone()
        if row is None or Head(*row) != self._tree:
            raise not_alone(self._tree)

    async def commit(self, commit: Commit) -> bytes | None:
        """Makes a group of batches durable, in one transaction.

        The tree row moves only from exactly the tree that the change starts from, so two writers
        can never fork the tree, whatever lock failed. Raises StorageError if nothing is known of
        the outcome; the process must stop and reload.

        Returns:
            The signed checkpoint, when one was asked for.
        """

        def work(db: sqlite3.Connection) -> bytes | None:
            note = write(db, self._recalled, commit)
            self._tree = commit.change.edge.head
            return note

        with reported("commit"):
            return await self._writer.run(work)

    async def put_signed(self, sign: Callable[[], bytes]) -> bytes:
        """Makes and stores a signed checkpoint, before anybody sees it.

        Raises StorageError if it is not known to be stored, or another process has extended the
        tree.
        """

        def work(db: sqlite3.Connection) -> bytes:
            self._check_alone(db)
            note = sign()
            put_head(db, "signed", note)
            return note

        with reported("storing a signed checkpoint"):
            return await self._writer.run(work)

    async def put_published(self, note: bytes) -> None:
        """Stores the published checkpoint, before it is served.

        Raises StorageError if it is not known to be stored, or another process has extended the
        tree: its published checkpoint may be newer.
        """

        def work(db: sqlite3.Connection) -> None:
            self._check_alone(db)
            put_head(db, "published", note)

        with reported("storing the published checkpoint"):
            await self._writer.run(work)

    async def keep_refused(self, key: StreamKey, first: int, note: bytes) -> None:
        """Keeps a manifest that contradicts an accepted one, once; bounded by `MAX_REFUSED`.

        Raises StorageError if it is not known to be stored.
        """

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO refused (gateway, label, first, note) SELECT ?, ?, ?, ?"
                " WHERE (SELECT count(*) FROM refused) < ? ON CONFLICT DO NOTHING",
                (*key, first, note, MAX_REFUSED),
            )

        with reported("storing a refused manifest"):
            await self._writer.run(work)

    async def refused(self, key: StreamKey) -> list[tuple[int, bytes]]:
        """The refused manifests of a stream: (sequence number, note), in order.

        Raises StorageError if the file cannot be read.
        """
        with reported("reading refused manifests"):
            return await self._readers.rows(
                "SELECT first, note FROM refused WHERE gateway = ? AND label = ?"
                " ORDER BY first, note",
                key,
            )

    async def stream(self, key: StreamKey) -> StreamState:
        """Where a stream continues; StorageError if the file cannot be read."""
        with reported("reading a stream"):
            row = await self._readers.row(
                "SELECT next, manifest FROM stream WHERE gateway = ? AND label = ?", key
            )
        return NEW_STREAM if row is None else StreamState(*row)

    async def accepted(self, key: StreamKey, first: int) -> Accepted | None:
        """The batch that begins at a sequence number of a stream; None if none begins there.

        Raises StorageError if the file cannot be read.
        """
        with reported("reading a batch"):
            row = await self._readers.row(
                "SELECT first, count, digest, idx FROM batch WHERE first = ? AND stream ="
                " (SELECT id FROM stream WHERE gateway = ? AND label = ?)",
                (first, *key),
            )
        return None if row is None else Accepted(key, *row)

    async def recall(self, key: StreamKey, names: Sequence[bytes]) -> dict[bytes, Recall]:
        """What is kept under names of a stream of the log's own.

        Raises StorageError if the file cannot be read.
        """
        return await self._recalls.read(key, names)

    async def remember(self, kept: Kept) -> None:
        """Keeps recalls of records that have their indices already.

        Raises StorageError if they are not known to be stored.
        """
        with reported("storing what recognises a request"):
            await self._writer.run(lambda db: self._recalled.remember(db, kept))

    async def tiles(self, wanted: Sequence[tuple[int, int]]) -> list[bytes]:
        """The full tiles at (level, index), level -1 for entry bundles, in the order asked for.

        Raises:
            DamagedTileError: one is not stored.
            StorageError: the file cannot be read.
        """
        return await read_tiles(self._readers, wanted)


def read_loaded(db: sqlite3.Connection) -> Loaded:
    """Reads the right edge and the stored notes; StorageError if the tree is not there."""
    tree = db.execute("SELECT size, root FROM tree").fetchone()
    if tree is None:
        raise StorageError("the database has lost its tree state")
    fragments = db.execute("SELECT data FROM tail ORDER BY first").fetchall()
    # The last tile of each level, found by descending the index: levels are few.
    partials: dict[int, tuple[int, bytes]] = {}
    level = 1
    while row := db.execute(
        "SELECT idx, data FROM tile WHERE level = ? ORDER BY idx DESC LIMIT 1", (level,)
    ).fetchone():
        partials[level] = row
        level += 1
    notes = dict(db.execute("SELECT kind, note FROM head").fetchall())
    return Loaded(
        head=Head(*tree),
        signed=notes.get("signed"),
        published=notes.get("published"),
        fragments=tuple(data for (data,) in fragments),
        partials=partials,
        pruned=pruned_size(db),
    )


def _set_up(db: sqlite3.Connection, path: Path) -> None:
    db.execute(f"PRAGMA wal_autocheckpoint={log_pages(path, WAL_PAGES)}")
    db.execute(f"PRAGMA cache_size=-{WRITER_KIBIBYTES}")
    # What is deleted is in the tree, too, or a hash. Where SQLite is built to overwrite it, a fifth
    # of the pages that a commit of single records writes were free ones, full of zeros.
    db.execute("PRAGMA secure_delete=FAST")
