"""Addenda in a SQLite file of their own, which forgets what is deleted from it.

The log's own file never forgets, and is copied by everybody who mirrors the log; this one is the
operator's alone. It has its own writer, whose transactions take all that came meanwhile, and is
made when the first addendum comes. `secure_delete` overwrites with zeros what is removed.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from muniment.local.sqlitefile import (
    FatalDatabaseError,
    UnwritableError,
    Writer,
    log_pages,
)
from muniment.records.manifest import MANIFEST
from muniment_log.core.addenda import (
    SUBJECT_SIZE,
    Erased,
    MissingAddendumError,
    digests_of,
)
from muniment_log.core.erasing import Totals
from muniment_log.errors import (
    OverloadedError,
    StorageError,
    UnavailableError,
    UnwritableStorageError,
    WrongIdentityError,
)
from muniment_log.storage.readers import Readers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from muniment_log.core.addenda import Addendum, Sent

APPLICATION_ID: Final = 0x4D756E41
"""``MunA`` in the file's header."""

WAL_PAGES: Final = 8192
"""Pages in the write-ahead log before a commit checkpoints it: 32 MiB, where there is room."""

READERS: Final = 1
"""Connections that read: addenda are asked for one by one, and seldom."""

SETTLE_SECONDS: Final = 1.0
"""How long an idle store keeps notes of addenda that have arrived: how far a start after a crash
has to look back."""

MOST_AT_ONCE: Final = 500
"""Rows that a transaction of `AddendaStore.write` may add."""

_GROUP_BYTES: Final = 32 << 20
"""Bytes of addenda in one transaction, unless one request alone has more."""

_NO_SUBJECT: Final = bytes(SUBJECT_SIZE)

# One statement for all rows: after each statement the writer's thread has to win the interpreter
# lock back from a busy event loop.
_INSERT: Final = f"""
INSERT INTO addendum (id, digest, subject, execution, time, size, labels, data)
SELECT ?1 + key, substr(?2, key * 32 + 1, 32),
    nullif(substr(?3, key * {SUBJECT_SIZE} + 1, {SUBJECT_SIZE}), zeroblob({SUBJECT_SIZE})),
    json_extract(value, '$[2]'), ?6, ?7, json_extract(value, '$[3]'),
    substr(?4, json_extract(value, '$[0]'), json_extract(value, '$[1]'))
FROM json_each(?5) WHERE true
ON CONFLICT (digest) DO NOTHING
"""  # noqa: S608  # constants
_ABSENT: Final = """
SELECT substr(?1, key * 32 + 1, 32) FROM json_each(?2)
WHERE NOT EXISTS (SELECT 1 FROM addendum WHERE digest = substr(?1, key * 32 + 1, 32))
"""


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except UnwritableError as error:
        raise UnwritableStorageError(f"{what}: {error}") from error
    except (FatalDatabaseError, sqlite3.Error) as error:
        raise StorageError(f"{what}: {error}") from error


class _Waiting(NamedTuple):
    sent: Sent
    done: asyncio.Future[None]


class _Place(NamedTuple):
    """Where a transaction stores: from which row on, at what size of the log, when."""

    first: int
    size: int
    now_ms: int


@dataclass(slots=True, eq=False)
class _Group:
    """What one transaction has stored, as long as it is noted as arriving.

    Attributes:
        first: its row in `arriving`.
        size: where the records that name it stand, or behind.
        left: addenda of it of whose requests it is not known whether they are logged.
    """

    first: int
    size: int
    left: int


@dataclass(slots=True)
class _Changes:
    """What the next transaction writes besides what waits.

    Attributes:
        arrived: first ids of groups that need not be noted any more.
        lowered: groups whose records stand further to the front.
        dropped: digests of what goes.
    """

    arrived: list[int] = field(default_factory=list[int])
    lowered: dict[int, int] = field(default_factory=dict[int, int])
    dropped: list[bytes] = field(default_factory=list[bytes])

    def __bool__(self) -> bool:
        return bool(self.arrived or self.lowered or self.dropped)


class AddendaStore:
    """The addenda of one log; belongs to one event loop, and `run` is its one task.

    Attributes:
        path: the file.
        totals: how much is in it.
    """

    def __init__(
        self,
        path: Path,
        origin: str,
        *,
        size: Callable[[], int],
        waiting_bytes: int,
        now_ms: Callable[[], int],
    ) -> None:
        """Opens nothing yet.

        Args:
            path: the file.
            origin: the log's.
            size: leaves that are in the log now.
            waiting_bytes: bytes of addenda that may be on their way at one time.
            now_ms: the clock, Unix milliseconds.
        """
        self.path = path
        self.totals = Totals(0, 0, 0)
        self._origin = origin
        self._size = size
        self._limit = waiting_bytes
        self._now_ms = now_ms
        self._writer: Writer | None = None
        self._readers: Readers | None = None
        self._next = 0
        self._wake = asyncio.Event()
        self._waiting: list[_Waiting] = []
        self._held = 0  # bytes
        self._users: Counter[bytes] = Counter()  # requests at work, by digest
        self._arriving: dict[bytes, _Group] = {}
        self._changes = _Changes()
        self._written: list[asyncio.Future[None]] = []  # who waits for the changes
        self._timer: asyncio.TimerHandle | None = None
        self._failure: BaseException | None = None

    async def open(self) -> None:
        """Opens the file if there is one.

        Raises:
            DatabaseError: it cannot be used.
            WrongIdentityError: it is another log's.
            StorageError: it cannot be read.
        """
        if await asyncio.to_thread(self.path.exists):
            await self._open()

    async def _open(self) -> Writer:
        def begin(db: sqlite3.Connection) -> tuple[str, int, Totals]:
            db.execute("PRAGMA secure_delete=ON")
            db.execute(f"PRAGMA wal_autocheckpoint={log_pages(self.path, WAL_PAGES)}")
            (origin,) = db.execute("SELECT origin FROM log").fetchone()
            (last,) = db.execute("SELECT coalesce(max(id), 0) FROM addendum").fetchone()
            return origin, last, count(db)

        writer = await Writer.open(
            self.path,
            migrations(),
            application=APPLICATION_ID,
            fill=lambda db: db.execute(
                "INSERT INTO log (one, origin) VALUES (0, ?)", (self._origin,)
            ),
        )
        try:
            with _translated("reading the addenda"):
                origin, last, self.totals = await writer.run(begin)
            if origin != self._origin:
                raise WrongIdentityError(f"{self.path} is the log {origin}, not {self._origin}")
            # Of a process that was killed it may have pages from before an erasure.
            await writer.truncate_log()
            # What somebody waits for overwrites pages, which is synced in half the time.
            with _translated("lengthening the log of the addenda"):
                await writer.lengthen_log()
            self._readers = await Readers.open(self.path, READERS)
        except BaseException:
            await writer.close()
            raise
        self._next, self._writer = last + 1, writer
        return writer

    async def close(self) -> None:
        """Closes the file, when nothing runs any more."""
        if self._timer is not None:
            self._timer.cancel()
        writer, readers, self._writer, self._readers = self._writer, self._readers, None, None
        if writer is None:
            return
        try:
            if readers is not None:
                await readers.close()
            if self._changes and not writer.is_broken:
                changes = self._changes
                await writer.run(lambda db: _change(db, changes))
        finally:
            await writer.close()

    async def keep(self, sent: Sent) -> None:
        """Stores addenda durably, see `AddendaPort.keep`."""
        if self._failure is not None:
            raise _unavailable()
        if self._held + sent.size > self._limit:
            raise OverloadedError("too many addenda wait to be written")
        self._held += sent.size
        self._users.update(sent.digests)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(sent, done))
        self._wake.set()
        try:
            await done
        except (StorageError, UnavailableError, asyncio.CancelledError):
            self.abandoned(sent)
            raise
        except BaseException:
            self.refused(sent)
            raise

    async def named(self, sent: Sent, first: int) -> None:
        """The request is logged, see `AddendaPort.named`."""
        self._leave(sent)
        is_before = False
        for digest in sent.digests:
            group = self._resolve(digest)
            if group is not None and first < group.size:
                group.size = self._changes.lowered[group.first] = first
                is_before = True
        if is_before:
            # The next start would not find the record from where the group was noted.
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._written.append(done)
            self._wake.set()
            await done
        self._change_soon()

    def refused(self, sent: Sent) -> None:
        """Nothing of the request is logged, see `AddendaPort.refused`."""
        for digest in self._leave(sent):
            if self._resolve(digest) is not None:
                self._changes.dropped.append(digest)
        self._change_soon()

    def abandoned(self, sent: Sent) -> None:
        """It is not known whether the request is logged, see `AddendaPort.abandoned`."""
        self._leave(sent)

    def _leave(self, sent: Sent) -> list[bytes]:
        """A request is done with its addenda; those that no other one is at work with."""
        self._held -= sent.size
        last: list[bytes] = []
        users = self._users
        for digest in sent.digests:
            if (others := users.pop(digest) - 1) > 0:
                users[digest] = others
            else:
                last.append(digest)
        return last

    def _resolve(self, digest: bytes) -> _Group | None:
        """It is known what became of an addendum; its group, if it was still arriving."""
        group = self._arriving.pop(digest, None)
        if group is not None:
            group.left -= 1
            if not group.left:
                self._changes.arrived.append(group.first)
        return group

    def _change_soon(self) -> None:
        """Has the changes written with the next addenda, or when none come."""
        if self._changes and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._wake.set)

    async def read(self, digest: bytes) -> bytes | Erased | None:
        """The bytes of a digest, see `AddendaPort.read`."""
        if self._readers is None:
            return None
        with _translated("reading an addendum"):
            row = await self._readers.row(
                "SELECT data, erased, erasure FROM addendum WHERE digest = ?", (digest,)
            )
        if row is None:
            return None
        data, erased, erasure = row
        if erased is not None:
            return Erased(erased, erasure)
        return bytes(data)

    async def run(self) -> None:
        """Writes what waits, until cancelled.

        Raises:
            DatabaseError: the file cannot be made.
            StorageError: a commit failed; the process must end.
        """
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._waiting or self._changes:
                    await self._write(await self._open() if self._writer is None else self._writer)
        except BaseException as error:
            self._failure = error
            for waiting in self._waiting:
                _fail(waiting.done)
            for done in self._written:
                _fail(done)
            raise

    async def _write(self, writer: Writer) -> None:
        """Writes one group, and what has changed since the last."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        group = self._gather()
        changes, self._changes = self._changes, _Changes()
        written, self._written = self._written, []
        sent = [waiting.sent for waiting in group]
        first, size, now = self._next, self._size(), self._now_ms()
        self._next += sum(len(one.addenda) for one in sent)
        try:
            with _translated("storing addenda"):
                absent, new, self.totals = await writer.run(
                    lambda db: _commit(db, changes, sent, _Place(first, size, now)),
                    synced=bool(group or changes.lowered),
                )
        except BaseException:
            for waiting in group:
                _fail(waiting.done)
            for done in written:
                _fail(done)
            raise
        if new:
            noted = _Group(first, size, len(new))
            self._arriving.update(dict.fromkeys(new, noted))
        for done in written:
            if not done.done():
                done.set_result(None)
        for waiting in group:
            if waiting.done.done():
                continue  # cancelled
            missing = absent.intersection(waiting.sent.expected) if absent else ()
            if missing:
                digest = min(missing, key=waiting.sent.expected.__getitem__)
                waiting.done.set_exception(
                    MissingAddendumError(waiting.sent.expected[digest], digest)
                )
            else:
                waiting.done.set_result(None)

    def _gather(self) -> list[_Waiting]:
        """Takes what waits, bounded."""
        size = 0
        for number, waiting in enumerate(self._waiting):
            size += waiting.sent.size
            if number and size > _GROUP_BYTES:
                group, self._waiting = self._waiting[:number], self._waiting[number:]
                self._wake.set()
                return group
        group, self._waiting = self._waiting, []
        return group

    async def rows(self, what: str, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """Reads rows of the file, none while there is none; `what` for the error's text.

        Raises StorageError if the file cannot be read.
        """
        if self._readers is None:
            return []
        with _translated(what):
            return await self._readers.rows(statement, values)

    async def write(self, what: str, work: Callable[[sqlite3.Connection, int], Totals]) -> None:
        """Runs a durable transaction that gives the new totals; nothing while there is no file.

        Raises StorageError if the outcome is not known; the process must end.

        Args:
            what: for the error's text.
            work: gets the connection and an id from which on none was given out; may give out
                MOST_AT_ONCE.
        """
        writer, first = self._writer, self._next
        if writer is not None:
            self._next += MOST_AT_ONCE
            with _translated(what):
                self.totals = await writer.run(lambda db: work(db, first))

    async def cut_log(self) -> bool:
        """Cuts the write-ahead log off; False while somebody reads the file.

        Raises StorageError if the file cannot be written.
        """
        if self._writer is None:
            return True
        with _translated("cutting the log of the addenda"):
            return await self._writer.truncate_log()

    async def sweep(self, leaves: Callable[[int], AsyncIterator[bytes]]) -> int:
        """Removes what a crash has left that no record names, before requests are taken.

        Raises StorageError if the file or the log cannot be read.

        Args:
            leaves: gives the leaves of the log from an index on.

        Returns:
            How many addenda it has removed.
        """
        writer = self._writer
        if writer is None:
            return 0

        def find(db: sqlite3.Connection) -> tuple[int | None, set[bytes]]:
            (size,) = db.execute("SELECT min(size) FROM arriving").fetchone()
            rows = db.execute(
                "SELECT digest FROM arriving, addendum WHERE id BETWEEN first AND last"
                " AND erased IS NULL"
            )
            return size, {digest for (digest,) in rows}

        with _translated("looking for addenda without a record"):
            size, unknown = await writer.run(find)
        if size is None:
            return 0
        if unknown:
            async for leaf in leaves(size):
                unknown.difference_update(() if leaf.startswith(MANIFEST) else digests_of(leaf))
        with _translated("removing addenda without a record"):
            await writer.run(lambda db: _forget(db, unknown))
        return len(unknown)


def _commit(
    db: sqlite3.Connection, changes: _Changes, sent: Sequence[Sent], place: _Place
) -> tuple[set[bytes], list[bytes], Totals]:
    """Writes changes and a group; of a request that lacks something nothing is stored.

    Returns which of what is expected is absent, which addenda are new, and the totals.
    """
    _change(db, changes)
    absent: set[bytes] = set()
    if expected := [digest for one in sent for digest in one.expected]:
        absent = {digest for (digest,) in db.execute(_ABSENT, places(expected))}
        sent = [one for one in sent if absent.isdisjoint(one.expected)]
    addenda = [addendum for one in sent for addendum in one.addenda]
    if not addenda:
        return absent, [], count(db)
    first, size, now = place
    stored = db.execute(_INSERT, (first, *_packed(addenda), now, size)).rowcount
    last = first + len(addenda) - 1
    if stored != len(addenda):
        rows = db.execute("SELECT digest FROM addendum WHERE id BETWEEN ? AND ?", (first, last))
        by_digest = {addendum.digest: addendum for addendum in addenda}
        addenda = [by_digest[digest] for (digest,) in rows]
    if addenda:
        db.execute("INSERT INTO arriving VALUES (?, ?, ?)", (first, last, size))
    more = sum(len(addendum.data) for addendum in addenda)
    return absent, [one.digest for one in addenda], count(db, len(addenda), more)


def _packed(addenda: Sequence[Addendum]) -> tuple[bytes, bytes, bytes, str]:
    """The rows of addenda as four values, for one statement."""
    rows: list[tuple[object, ...]] = []
    at = 1  # SQLite counts bytes from 1
    for one in addenda:
        labels = msgspec.json.encode(one.labels).decode() if one.labels else None
        rows.append((at, len(one.data), one.execution, labels))
        at += len(one.data)
    return (
        b"".join([one.digest for one in addenda]),
        b"".join([one.subject or _NO_SUBJECT for one in addenda]),
        b"".join([one.data for one in addenda]),
        msgspec.json.encode(rows).decode(),
    )


def places(digests: Sequence[bytes]) -> tuple[bytes, str]:
    """Digests as two values, for `json_each`."""
    return b"".join(digests), f"[0{',0' * (len(digests) - 1)}]"


def _change(db: sqlite3.Connection, changes: _Changes) -> None:
    if changes.lowered:
        db.executemany(
            "UPDATE arriving SET size = min(size, ?2) WHERE first = ?1", changes.lowered.items()
        )
    if changes.dropped:
        _drop(db, changes.dropped)
    if changes.arrived:
        db.execute(
            "DELETE FROM arriving WHERE first IN (SELECT value FROM json_each(?))",
            (msgspec.json.encode(changes.arrived).decode(),),
        )


def _drop(db: sqlite3.Connection, digests: Sequence[bytes]) -> None:
    gone = db.execute(
        "DELETE FROM addendum WHERE erased IS NULL AND digest IN"
        " (SELECT substr(?1, key * 32 + 1, 32) FROM json_each(?2)) RETURNING length(data)",
        places(digests),
    ).fetchall()
    count(db, -len(gone), -sum(size for (size,) in gone))


def count(db: sqlite3.Connection, addenda: int = 0, size: int = 0, erased: int = 0) -> Totals:
    """Changes the totals, within the transaction that changes what they count; the new ones."""
    row = db.execute(
        "UPDATE log SET addenda = addenda + ?, bytes = bytes + ?, erased = erased + ?"
        " RETURNING addenda, bytes, erased",
        (addenda, size, erased),
    ).fetchone()
    return Totals(*row)


def _forget(db: sqlite3.Connection, digests: set[bytes]) -> None:
    if digests:
        _drop(db, [*digests])
    db.execute("DELETE FROM arriving")


def _fail(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_exception(_unavailable())
        done.exception()  # read: whoever waited may be gone


def _unavailable() -> UnavailableError:
    return UnavailableError("the log has stopped; ask again when it is back")


def migrations() -> list[str]:
    """The schema's changes, oldest first, for `Writer.open`."""
    folder = resources.files("muniment_log.storage") / "addendamigrations"
    scripts = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(folder / name).read_text("utf-8") for name in scripts]
