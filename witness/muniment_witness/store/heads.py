"""The witness's database: heads and their history; SQL as in database.py.

Two tables here. `head` has, for each origin, the tree last cosigned, and the note with the very
cosignatures that were returned. `history` has every accepted note once, with the proof that led to
it, so that the witness can show how it came to its head.

Every move of a head is guarded: the row changes only where size and root are still those that the
decision started from. A guard that fails means that somebody else wrote to the file, which the
lock on it rules out; the process must end then.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from sqlite3 import Connection
from typing import Final

from msgspec import Struct

from muniment.local.logs import event
from muniment.local.sqlitefile import UNREADABLE, DatabaseError, FatalDatabaseError, Writer
from muniment.tlog.heads import Head
from muniment.tlog.note import SignatureLine, VKey
from muniment.tlog.witnesswire import AddCheckpoint
from muniment_service.soundness import Findings, check_schema
from muniment_witness.judge.decide import NEVER, Acceptance
from muniment_witness.store.check import HISTORY_ROWS, check_start
from muniment_witness.store.database import (
    MIGRATIONS,
    Past,
    Teller,
    check_identity,
    identify,
    open_database,
    read_past,
    record_known,
)
from muniment_witness.store.observations import Observations
from muniment_witness.store.rows import DamagedRowError, HistoryRow, accepted_step


class Latest(Struct, frozen=True):
    """The latest cosigned checkpoint of an origin.

    The note has the log's signatures and the witness's cosignatures, whose time is in Unix
    seconds. The entity tag is strong and quoted.
    """

    head: Head
    note: bytes
    time: int
    etag: str


class CosignedHead(Struct, frozen=True):
    """A request that was accepted, and is durable: a cosignature of each key of the witness."""

    lines: tuple[SignatureLine, ...]
    latest: Latest


HISTORY: Final = 4096
"""Accepted heads of one origin that are kept by default; about 2 MB, and 17 MB where the log signs
with ML-DSA-44 as well, whose signature is 3.3 kB of each request's text."""

_PRUNE_EVERY: Final = 64
"""How many heads a history may have beyond its limit before it is pruned."""

_LOGGER: Final = logging.getLogger(__name__)

Sign = Callable[[Acceptance], tuple[SignatureLine, ...]]


class HeadStore:
    """The heads of a witness; use `open`.

    Attributes:
        latest: The latest cosigned checkpoint of each origin, as committed. Read it freely; only
            `commit` changes it.
        observations: Everything that is not about own cosignatures.
        signed: Newest timestamp of any committed cosignature, Unix seconds; 0 before the first.
        past: What the database may lack.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        latest: dict[str, Latest],
        observations: Observations,
        history: int,
        past: Past,
    ) -> None:
        """Takes over an opened database."""
        self._writer = writer
        self.latest: Final = latest
        self.observations: Final = observations
        self._history = history
        self._since_pruned: Final[dict[str, int]] = {}
        self.past = past
        self.signed = max((entry.time for entry in latest.values()), default=0)

    @classmethod
    async def open(
        cls,
        path: Path,
        keys: Sequence[VKey],
        history: int = HISTORY,
        *,
        cosigns: bool = True,
    ) -> "HeadStore":
        """Opens the database of the witness that has these keys.

        It was made with them, by `create`, and remembers them: it can be opened with the keys that
        were recorded for it, all or some of them, and with no others. `rebind` records more. Of
        each origin so many accepted heads are kept as `history` says. One that does not cosign (a
        mirror alone) accepts heads all the same.

        Raises:
            AbsentDatabaseError: If it is absent or empty.
            DatabaseError: If it is in use, not a witness's, too new, another witness's, or
                damaged.
        """
        writer = await open_database(path)
        try:
            latest, past = await writer.run(
                lambda connection: _load(connection, path, keys, cosigns=cosigns)
            )
            observations = await Observations.open(writer)
        except (FatalDatabaseError, *UNREADABLE) as error:
            await writer.close()
            raise DatabaseError(f"{path}: {error}") from error
        except BaseException:
            await writer.close()
            raise
        return cls(writer, latest=latest, observations=observations, history=history, past=past)

    async def make_ready(self) -> None:
        """Prepares for commits that somebody waits for.

        Raises FatalDatabaseError if the file cannot be written.
        """
        await self._writer.lengthen_log()

    def head(self, origin: str) -> Head:
        """Gives the latest cosigned head of an origin, `NEVER` without one."""
        entry = self.latest.get(origin)
        return NEVER if entry is None else entry.head

    async def commit(self, group: Sequence[Acceptance], sign: Sign) -> list[CosignedHead]:
        """Cosigns and stores a group of accepted checkpoints in order, in one transaction.

        Several of one origin follow on each other: each `old` is the head that the one before it
        left. When this returns, all of it is synced. `sign` runs on the writer's thread. Raises
        FatalDatabaseError if the disk is in doubt, or a guard failed: the process must end.
        """
        full = self._full(group)
        cosigned = await self._writer.run(
            lambda connection: _commit(connection, group, sign, full=full, most=self._history)
        )
        for accepted, result in zip(group, cosigned, strict=True):
            self.latest[accepted.request.checkpoint.origin] = result.latest
            self.signed = max(self.signed, accepted.now)
        return cosigned

    def _full(self, group: Sequence[Acceptance]) -> list[str]:
        """Counts the heads of each origin; gives those whose history is to be pruned now."""
        full: list[str] = []
        for accepted in group:
            origin = accepted.request.checkpoint.origin
            count = self._since_pruned.get(origin, _PRUNE_EVERY) + 1
            if count > _PRUNE_EVERY:
                full.append(origin)
                count = 0
            self._since_pruned[origin] = count
        return full

    async def notes_at(self, origin: str, size: int) -> list[bytes]:
        """Reads the accepted notes of an origin at one size; none from before the kept history."""
        steps = await self._steps("origin = ? AND size = ? LIMIT 8", (origin, size))
        return [step.checkpoint.encode() for step in steps]

    async def step_from(self, origin: str, size: int) -> AddCheckpoint | None:
        """Reads the accepted request that led furthest from a size; None without one."""
        where = "origin = ? AND old_size = ? AND size > ? ORDER BY size DESC LIMIT 1"
        steps = await self._steps(where, (origin, size, size))
        return steps[0] if steps else None

    async def _steps(self, where: str, values: tuple[object, ...]) -> list[AddCheckpoint]:
        """Reads steps of the history; skips and logs those that are damaged."""
        sql = f"{HISTORY_ROWS} WHERE {where}"
        rows = await self._writer.run(lambda connection: connection.execute(sql, values).fetchall())
        steps: list[AddCheckpoint] = []
        for row in map(HistoryRow._make, rows):
            try:
                steps.append(accepted_step(row))
            except DamagedRowError as error:
                event(
                    _LOGGER,
                    logging.ERROR,
                    "a step of the history is damaged; see `muniment-witness check`",
                    origin=row.origin,
                    size=row.size,
                    error=str(error),
                )
        return steps

    async def record_known(self, origin: str, now: int, by: Teller = "asked") -> None:
        """Records, durably, who told that it is known again what was signed for an origin.

        `now` is in Unix seconds.
        """
        await self._writer.run(lambda connection: record_known(connection, origin, now, by))
        self.past = self.past._replace(known=self.past.known | {origin})

    async def close(self) -> None:
        """Closes the database and releases its lock."""
        await self._writer.close()


def _load(
    connection: Connection, path: Path, keys: Sequence[VKey], *, cosigns: bool
) -> tuple[dict[str, Latest], Past]:
    new = check_identity(connection, path, keys)
    if new and not cosigns:
        identify(connection, keys)  # of a mirror, whose heads bear no cosignature of any key
    elif new:
        # Not taken silently: an edit that nobody meant would make the witness speak for that key.
        ids = ", ".join(sorted(vkey.split("+")[1] for vkey in new))
        raise DatabaseError(
            f"{path}: the key {ids} is not recorded as this witness's; `muniment-witness "
            "rotate-key --own` makes and records new keys; if it was cut off, repeat it"
        )
    # Nothing may be decided from damaged state: a head that is lost or went back would be signed
    # over, in good faith.
    findings = Findings()
    check_schema(connection, MIGRATIONS, findings)
    check_start(connection, keys, findings, cosigns=cosigns)
    if findings.damage:
        table, what = findings.damage[0]
        raise DatabaseError(f"{path}: damaged {table}: {what} (see `muniment-witness check`)")
    rows: Iterable[tuple[str, int, bytes, bytes, int]] = connection.execute(
        "SELECT origin, size, root, note, time FROM head"
    )
    latest = {
        origin: _latest(Head(size, root), note, time) for origin, size, root, note, time in rows
    }
    return latest, read_past(connection)


def _latest(head: Head, note: bytes, time: int) -> Latest:
    return Latest(head, note, time, f'"{sha256(note).hexdigest()[:32]}"')


def _commit(
    connection: Connection,
    group: Sequence[Acceptance],
    sign: Sign,
    *,
    full: Iterable[str],
    most: int,
) -> list[CosignedHead]:
    # Signed before the commit, so that one sync covers the checkpoint and its cosignature. A
    # cosignature that exists only in this process's memory harms nobody: it is released by the
    # caller, after the commit, or it dies with the process.
    cosigned = [_move(connection, accepted, sign(accepted)) for accepted in group]
    for origin in full:
        # By rows, not by sizes: a log may sign one tree with any number of extension lines, and the
        # head's own row stays.
        connection.execute(
            "DELETE FROM history WHERE rowid IN (SELECT rowid FROM history"
            " WHERE origin = ? ORDER BY size DESC, rowid DESC LIMIT -1 OFFSET ?)",
            (origin, most),
        )
    return cosigned


def _move(
    connection: Connection, accepted: Acceptance, lines: tuple[SignatureLine, ...]
) -> CosignedHead:
    request, old, head = accepted.request, accepted.old, accepted.head
    origin = request.checkpoint.origin
    note = request.note.with_signatures(lines).encode()
    moved = connection.execute(
        "UPDATE head SET size = ?, root = ?, note = ?, time = ?"
        " WHERE origin = ? AND size = ? AND root = ? AND time <= ?",
        (head.size, head.root, note, accepted.now, origin, old.size, old.root, accepted.now),
    ).rowcount
    if moved == 0 and old == NEVER:
        moved = connection.execute(
            "INSERT INTO head (origin, size, root, note, time) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            (origin, head.size, head.root, note, accepted.now),
        ).rowcount
    if moved != 1:
        raise FatalDatabaseError(f"the stored head of {origin} is not the one decided on")
    # A checkpoint that is submitted again is cosigned again, but needs no second row: anybody can
    # replay it, and must not be able to fill the disk by that.
    connection.execute(
        "INSERT INTO history (origin, size, digest, root, old_size, proof, note, time)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            origin,
            head.size,
            sha256(request.note.text.encode()).digest(),
            head.root,
            old.size,
            b"".join(request.proof),
            request.note.encode(),
            accepted.now,
        ),
    )
    return CosignedHead(lines, _latest(head, note, accepted.now))


async def declare_new(
    path: Path, keys: Sequence[VKey], origin: str, *, cosigns: bool = True
) -> None:
    """Records the operator's word that the witness has never signed for a log.

    Raises:
        DatabaseError: If that is known already, or known to be wrong, or as `HeadStore.open`.
        FatalDatabaseError: If it cannot be written.
    """
    store = await HeadStore.open(path, keys, cosigns=cosigns)
    try:
        if origin in store.latest:
            size = store.head(origin).size
            raise DatabaseError(f"{path}: this witness has cosigned size {size} of {origin}")
        if not store.past.lacks(origin):
            raise DatabaseError(f"{path}: it is known already what was signed for {origin}")
        await store.record_known(origin, int(time.time()), "operator")
    finally:
        await store.close()
