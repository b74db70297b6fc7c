"""Writing an index file: chunks that nobody sees yet, then the step ahead.

A chunk is stored as *pending*, in one transaction with the compact range that it leads to. Answers
reflect the leaves below `size` only, and `size` moves in one place, `IndexStore.advance`, which
takes a verified checkpoint and refuses any whose root the stored leaves do not have. Therefore a
crash at any moment leaves either verified leaves, or verified and pending ones, and the next run
goes on behind the pending ones. When a root does not fit, `drop_pending` forgets what was pending.

Every change is guarded by the size that it starts from, so that two followers of one file (which
the lock forbids) could still not mix their chunks.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from muniment.audit.trust import Misbehaviour, TrustState
from muniment.index.addendatable import AddendaTable
from muniment.index.keys import LOCAL_MASK, PART, PART_BITS
from muniment.index.schema import APPLICATION_ID, MIGRATIONS, STATE, IndexState, state_of
from muniment.index.summary import Summary
from muniment.local.sqlitefile import DatabaseError, Writer, log_pages
from muniment.tlog.encoding import frame, unframe
from muniment.tlog.merkle import CompactRange, split_hashes
from muniment.tlog.policy import CosignedCheckpoint
from muniment.tlog.quorum import CLOCK_SKEW
from muniment.tlog.tiles import TILE_WIDTH

WAL_PAGES: Final = 8192
"""Pages in the write-ahead log before a commit checkpoints it: 32 MiB, as in the log."""

MAX_HEADS: Final = 1 << 16
"""Heads of which each is kept: those of the last day as a rule. Of older ones stay those that lie
HEAD_SECONDS apart."""

HEAD_SECONDS: Final = 600

PUBLISHING: Final = 2
"""Seconds that a log may take from an entry to a cosigned head: a look at an older head does not
tell that the entry was not there yet."""

MAX_SUSPICIONS: Final = 16
"""Suspicions kept, the newest ones: the same bad answer comes again with every attempt."""


class Chunk(Struct, frozen=True):
    """Consecutive leaves of one part, ready to be stored.

    Attributes:
        origin: The log's origin.
        before: Compact range of the leaves before them.
        after: Compact range with them.
        postings: Their postings of all roles but FROM, in ascending order.
        links: Their postings of the role FROM, in ascending order, and where their edges lead.
        bundles: (index, data) of the bundles that hold them; () where bundles are not kept.
        unknown: How many are neither a record nor a manifest.
        summaries: What they are about, by bundle; of the first bundle, these leaves only.
    """

    origin: str
    before: CompactRange
    after: CompactRange
    postings: Sequence[int]
    links: Mapping[int, int]
    bundles: Sequence[tuple[int, bytes]]
    unknown: int
    summaries: Sequence[Summary] = ()


class IndexStore:
    """The writing side of one index file, on a thread of its own. Use `open`, then `close`.

    What is stored raises `FatalDatabaseError` if the disk's state is unknown, and `DatabaseError`
    if the file contradicts itself.
    """

    def __init__(self, writer: Writer, *, keeps_bundles: bool) -> None:
        """Takes over an opened writer."""
        self._writer = writer
        self.keeps_bundles: Final = keeps_bundles
        self.addenda: Final = AddendaTable(writer)

    @classmethod
    async def open(cls, path: Path, *, keeps_bundles: bool) -> "IndexStore":
        """Locks, opens and migrates an index, creating it (not its folder) when absent.

        `keeps_bundles` says that it is a replica, which holds the records too. Raises DatabaseError
        if it is in use, no index, of a newer version, or of the other sort.
        """
        writer = await Writer.open(path, MIGRATIONS, application=APPLICATION_ID)

        def work(db: sqlite3.Connection) -> int:
            db.execute(
                "UPDATE state SET bundles = ? WHERE pending = 0 AND origin IS NULL",
                (keeps_bundles,),
            )
            (kept,) = db.execute("SELECT bundles FROM state").fetchone()
            return int(kept)

        def set_up(db: sqlite3.Connection) -> None:
            db.execute(f"PRAGMA wal_autocheckpoint={log_pages(path, WAL_PAGES)}")

        try:
            await writer.run(set_up)
            if bool(await writer.run(work)) != keeps_bundles:
                words = ("a log's index, not a replica", "a replica, not a log's index")
                raise DatabaseError(f"{path}: {words[not keeps_bundles]}")
        except BaseException:
            await writer.close()
            raise
        return cls(writer, keeps_bundles=keeps_bundles)

    @property
    def path(self) -> Path:
        """The file."""
        return self._writer.path

    async def close(self) -> None:
        """Waits for running work and closes the file."""
        await self._writer.close()

    async def state(self) -> IndexState:
        """How far the index is."""

        def work(db: sqlite3.Connection) -> IndexState:
            return state_of(db.execute(f"SELECT {STATE} FROM state").fetchone(), self.path)  # noqa: S608 - a constant

        return await self._writer.run(work)

    async def trust(self) -> TrustState | None:
        """The checkpoint that the next one is compared with, and what was proven; None at first."""
        checkpoint = (await self.state()).checkpoint
        if checkpoint is None:
            return None
        return TrustState(checkpoint, await self._writer.run(_misbehaviour))

    async def add(self, chunk: Chunk) -> None:
        """Stores a chunk as pending; raises `DatabaseError` if the file is not where it begins."""
        part = chunk.before.size >> PART_BITS
        if chunk.after.size > (part + 1) * PART:
            raise ValueError("a chunk must lie within one part")
        # One statement for all rows: after each one, this thread has to win the interpreter's lock
        # back from the threads that hash and fetch.
        rows = msgspec.json.encode(chunk.postings).decode("ascii")
        links = msgspec.json.encode(chunk.links).decode("ascii")

        def work(db: sqlite3.Connection) -> None:
            moved = db.execute(
                "UPDATE state SET origin = ?1, pending = ?2, pending_peaks = ?3,"
                " unknown = unknown + ?4"
                " WHERE pending = ?5 AND pending_peaks = ?6 AND ifnull(origin, ?1) = ?1",
                (
                    chunk.origin,
                    chunk.after.size,
                    b"".join(chunk.after.peaks),
                    chunk.unknown,
                    chunk.before.size,
                    b"".join(chunk.before.peaks),
                ),
            ).rowcount
            if moved != 1:
                raise DatabaseError(f"{self.path}: not at leaf {chunk.before.size}")
            # A leaf may have one posting twice: two things with one hash, by somebody's effort.
            db.execute(
                "INSERT OR IGNORE INTO posting SELECT ?, value, NULL FROM json_each(?)",
                (part, rows),
            )
            db.execute(
                "INSERT OR IGNORE INTO posting"
                " SELECT ?, CAST(key AS INTEGER), value FROM json_each(?)",
                (part, links),
            )
            _summarize(db, chunk)
            if self.keeps_bundles:
                db.executemany(
                    "INSERT INTO bundle VALUES (?, ?)"
                    " ON CONFLICT (idx) DO UPDATE SET data = excluded.data",
                    chunk.bundles,
                )

        await self._writer.run(work)

    async def advance(
        self, cosigned: CosignedCheckpoint, now: int, *, seen: tuple[int, int] | None = None
    ) -> None:
        """Makes the pending leaves visible: the checkpoint vouches for exactly them.

        Raises ValueError if the checkpoint is of another log, or is not that of the pending leaves.

        Args:
            cosigned: The checkpoint.
            now: Unix seconds; a time in the future does not count.
            seen: When the log was last seen to show an older head, by our clock: that head's size,
                and Unix seconds.
        """
        note, vouched = cosigned.signed.encode(), cosigned.time(now)

        def work(db: sqlite3.Connection) -> None:
            state = state_of(db.execute(f"SELECT {STATE} FROM state").fetchone(), self.path)  # noqa: S608 - a constant
            pending = state.pending
            if state.origin not in (None, cosigned.origin):
                raise ValueError(f"a checkpoint of {cosigned.origin} for {state.origin}")
            if (pending.size, pending.root()) != (cosigned.size, cosigned.root):
                raise ValueError("the checkpoint is not that of the pending leaves")
            # Of one tree shown twice, the time may be older the second time. A time in the future
            # was stored by a clock that was wrong, ours or a witness's.
            db.execute(
                "UPDATE state SET origin = ?1, size = pending, peaks = pending_peaks, note = ?2,"
                " time = CASE WHEN size = pending AND time <= ?4 THEN max(time, ?3) ELSE ?3 END",
                (cosigned.origin, note, vouched, now + CLOCK_SKEW),
            )
            if self.keeps_bundles and vouched:
                _keep_head(db, cosigned.size, vouched, seen)

        await self._writer.run(work)

    async def drop_pending(self) -> None:
        """Forgets what nothing vouches for; what is verified stays as it is."""

        def work(db: sqlite3.Connection) -> None:
            size, pending = db.execute("SELECT size, pending FROM state").fetchone()
            if size == pending:
                return
            part, local = size >> PART_BITS, size & LOCAL_MASK
            db.execute("DELETE FROM posting WHERE part > ?", (part,))
            db.execute(
                "DELETE FROM posting WHERE part = ? AND entry & ? >= ?", (part, LOCAL_MASK, local)
            )
            index, width = divmod(size, TILE_WIDTH)
            db.execute("DELETE FROM bundle WHERE idx > ?", (index - (not width),))
            db.execute("DELETE FROM summary WHERE idx > ?", (index - (not width),))
            row = db.execute("SELECT data FROM bundle WHERE idx = ?", (index,)).fetchone()
            if width and row is not None:
                data = frame(unframe(row[0])[:width])
                db.execute("UPDATE bundle SET data = ? WHERE idx = ?", (data, index))
            # The count of unknown leaves is of interest only as "some"; it is not taken back.
            db.execute("UPDATE state SET pending = size, pending_peaks = peaks")

        await self._writer.run(work)

    async def condemn(self, misbehaviour: Misbehaviour) -> None:
        """Keeps the proof that the log's key signed two histories; the first one stays."""
        notes = msgspec.json.encode([note.decode() for note in misbehaviour.notes])
        proof = b"".join(misbehaviour.proof)

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO misbehaviour SELECT ?, ?, ?, ?"
                " WHERE NOT EXISTS (SELECT * FROM misbehaviour)",
                (misbehaviour.kind, notes, misbehaviour.implied_root, proof),
            )

        await self._writer.run(work)

    async def suspect(self, sentence: str, shown: CosignedCheckpoint) -> None:
        """Keeps a checkpoint that did not verify against the leaves, with the trusted one."""
        note = shown.signed.encode()

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO suspicion (sentence, trusted, shown) SELECT ?1, note, ?2 FROM state"
                " WHERE NOT EXISTS (SELECT * FROM suspicion WHERE sentence = ?1 AND shown = ?2)",
                (sentence, note),
            )
            db.execute(
                "DELETE FROM suspicion WHERE id <= (SELECT max(id) FROM suspicion) - ?",
                (MAX_SUSPICIONS,),
            )

        await self._writer.run(work)

    async def trust_gateways(self, vkeys: Sequence[str]) -> None:
        """Keeps whose word counts for who reads this replica, instead of who was kept before."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM gateway")
            db.executemany("INSERT INTO gateway VALUES (?)", [(vkey,) for vkey in vkeys])

        await self._writer.run(work)

    async def suspicions(self) -> list[tuple[str, bytes | None, bytes]]:
        """What did not verify, oldest first: (sentence, trusted note or None, shown note)."""

        def work(db: sqlite3.Connection) -> list[tuple[str, bytes | None, bytes]]:
            return db.execute(
                "SELECT sentence, trusted, shown FROM suspicion ORDER BY id"
            ).fetchall()

        return await self._writer.run(work)

    async def clear(self, *, evidence: bool = False) -> None:
        """Forgets everything, to build the index again.

        With `evidence`, proofs and suspicions, too: for a log's own index, whose owner has been
        told of them.
        """

        def work(db: sqlite3.Connection) -> None:
            if evidence:
                db.execute("DELETE FROM misbehaviour")
                db.execute("DELETE FROM suspicion")
            for table in ("posting", "bundle", "head", "summary"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608 - constants
            db.execute("UPDATE noted SET keys_from = 0")
            db.execute("PRAGMA secure_delete=1")
            db.execute("DELETE FROM addendum")
            db.execute("UPDATE addenda SET taken = 0, obeyed = 0, unwiped = 1")
            db.execute(
                "UPDATE state SET origin = NULL, size = 0, peaks = x'', note = NULL, time = 0,"
                " pending = 0, pending_peaks = x'', unknown = 0"
            )

        await self._writer.run(work)


def _summarize(db: sqlite3.Connection, chunk: Chunk) -> None:
    """Stores what a chunk's bundles are about."""
    rows = list(chunk.summaries)
    if rows and chunk.before.size % TILE_WIDTH:
        # The first bundle's older leaves: without a summary, it stays without one.
        stored = db.execute("SELECT * FROM summary WHERE idx = ?", (rows[0].bundle,)).fetchone()
        rows[:1] = [] if stored is None else [Summary(*stored).with_(rows[0])]
    db.executemany("INSERT OR REPLACE INTO summary VALUES (?, ?, ?, ?)", rows)


def _keep_head(db: sqlite3.Connection, size: int, time: int, seen: tuple[int, int] | None) -> None:
    """Notes when the log was known to have a size, and lets old heads go."""
    if seen is not None and seen[0] < size:
        # Our own look at the older head counts as far as the witnesses' times bear it out.
        db.execute(
            "UPDATE head SET until = max(until, ?) WHERE size = ?",
            (min(seen[1] - PUBLISHING, time), seen[0]),
        )
    db.execute(
        "INSERT INTO head (size, until, time) VALUES (?, ?, ?)"
        " ON CONFLICT (size) DO UPDATE SET until = max(until, excluded.until)",
        (size, time, time),
    )
    db.execute(
        "DELETE FROM head WHERE id = (SELECT max(id) FROM head) - ?1 AND EXISTS"
        " (SELECT 1 FROM head AS older WHERE older.id = (SELECT max(id) FROM head WHERE id <"
        " (SELECT max(id) FROM head) - ?1) AND older.time > head.time - ?2)",
        (MAX_HEADS, HEAD_SECONDS),
    )


def _misbehaviour(db: sqlite3.Connection) -> Misbehaviour | None:
    row = db.execute("SELECT kind, notes, implied_root, proof FROM misbehaviour").fetchone()
    if row is None:
        return None
    kind, notes, implied_root, proof = row
    hashes = tuple(split_hashes(proof))
    texts = msgspec.json.decode(notes, type=tuple[str, ...])
    return Misbehaviour(kind, tuple([text.encode() for text in texts]), implied_root, hashes)
