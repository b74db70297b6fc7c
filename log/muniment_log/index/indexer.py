"""The index process, ``python -m muniment_log.index.indexer --database LOG INDEX``.

`index.IndexProcess` starts it. It reads the log's database by a query-only connection, or the
bucket of a cluster, up to the published size, and writes the index; so it costs the write path
nothing but a share of the machine, and it runs at a lower priority. For each size reached it writes
``{"size": n}`` to stdout. It ends when its stdin does, and so never outlives the log.

An index that contradicts the log (the log's database was replaced by an older copy, say) is emptied
and built again; when even an empty one does not come to the published root, the log's database is
damaged, and the process ends with an error.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, get_args

import msgspec

from muniment.audit.trust import ProvenMisbehaviour, StaleCheckpoint
from muniment.index.follower import Follower, LogSource
from muniment.index.store import IndexStore
from muniment.local.logs import LogFormat, LogLevel, configure, event
from muniment.local.sqlitefile import AbsentDatabaseError
from muniment.tlog.encoding import FormatError, MunimentError, VerificationError
from muniment.tlog.note import parse_vkey
from muniment.tlog.policy import Policy, PolicyLog
from muniment.tlog.tiles import TILE_WIDTH
from muniment_log.core.integrate import cut_bundle
from muniment_log.storage.snapshot import LogSnapshot
from muniment_service.process import freeze_startup_objects

if TYPE_CHECKING:
    from collections.abc import Callable

    from muniment.tlog.heads import Head, Prefix
    from muniment.tlog.policy import CosignedCheckpoint
    from muniment.tlog.tiles import Tile

POLL_SECONDS: Final = 0.2
"""How often to look for a new published checkpoint: one row is read."""

CHUNK_BYTES: Final = 1 << 20
"""Of bundles in one transaction, whose first group of bundles mostly has more. Three chunks are in
memory at a time, beside the log's own: twice as many bundles in each would take 8 MB more, and save
a twentieth of this process's time."""

NICENESS: Final = 10
"""Added to the process's: when the processors do not suffice for both, the log goes first."""

_LOGGER: Final = logging.getLogger(__name__)


class Log(LogSource, Protocol):
    """The log, as the process that keeps its index reads it."""

    async def published(self) -> bytes | None:
        """The published checkpoint; None before the first."""
        ...

    async def close(self) -> None:
        """Closes what is open."""
        ...


class LogDatabase:
    """A `Log` over the log's own database.

    The policy asks for the log's signature only: the quorum was met before the log stored it as
    published.
    """

    def __init__(self, snapshot: LogSnapshot) -> None:
        """Reads the log's keys; DatabaseError if the database cannot be read."""
        self._snapshot = snapshot
        logs = tuple(PolicyLog(parse_vkey(key), None) for key in snapshot.vkeys())
        self._policy = Policy(logs, (), (), "none")

    async def close(self) -> None:
        """Closes the database."""
        self._snapshot.close()

    async def published(self) -> bytes | None:
        """The published checkpoint; None before the first."""
        return self._snapshot.published()

    async def head(self) -> CosignedCheckpoint:
        """The published checkpoint, verified."""
        note = self._snapshot.published()
        if note is None:
            raise VerificationError("nothing is published yet")
        return self._policy.verify(note)

    async def bundle(self, tile: Tile) -> bytes:
        """An entry bundle."""
        data = self._snapshot.bundle(tile.index)
        return data if tile.width == TILE_WIDTH else cut_bundle(data, tile.width)

    async def prefix(self, old: int, head: Head) -> Prefix:
        """Raises an error: the log would prove things to itself."""
        raise VerificationError(f"no proof from {old} to {head.size} is made of the log's own file")


async def keep(log: Log, index: Path, reached: Callable[[int], None]) -> None:
    """Keeps the index up to date until cancelled, or until its file is deleted.

    The log is closed at the end. The index is created when absent; `reached` is told of each size.

    Raises:
        DatabaseError: a file cannot be used.
        VerificationError, FormatError: what the log holds is damaged.
    """
    try:
        store = await _open_index(index)
        try:
            identity = _inode(index)
            reached((await store.state()).size)
            shown: bytes | None = None
            while _inode(index) == identity:
                note = await log.published()
                if note is not None and note != shown:
                    reached(await _step(store, log))
                    shown = note
                await asyncio.sleep(POLL_SECONDS)
            event(_LOGGER, logging.WARNING, "the index was deleted and is built again")
        finally:
            await store.close()
    finally:
        await log.close()


async def _open_index(path: Path) -> IndexStore:
    try:
        return await IndexStore.open(path, keeps_bundles=False)
    except AbsentDatabaseError as error:
        # All of it can be read from the log again.
        event(_LOGGER, logging.WARNING, "the index is empty and is built anew", error=str(error))
        for end in ("", "-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        return await IndexStore.open(path, keeps_bundles=False)


async def _step(store: IndexStore, source: Log) -> int:
    while True:
        fresh = not (await store.state()).pending.size
        try:
            follower = Follower(store, source, chunk_bytes=CHUNK_BYTES)
            return (await follower.step()).checkpoint.size
        except (ProvenMisbehaviour, StaleCheckpoint, VerificationError, FormatError) as error:
            if fresh:
                raise
            notes: tuple[bytes, ...] = ()
            if isinstance(error, ProvenMisbehaviour):
                notes = error.misbehaviour.notes
            event(
                _LOGGER,
                logging.ERROR,
                "the index contradicts the log and is built again",
                error=str(error),
                notes=[note.decode() for note in notes],
            )
            await store.clear(evidence=True)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


async def _until_stdin_ends(open_log: Callable[[], Log], index: Path) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(keep(open_log(), index, _say))
    stdin = sys.stdin.fileno()

    def look() -> None:
        # On the loop: a thread that waits in a read would abort the process when that ends first.
        if not os.read(stdin, 4096):
            loop.remove_reader(stdin)
            task.cancel()

    loop.add_reader(stdin, look)
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    # An interrupt from a terminal goes to the log as well, which ends this process in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


def _say(size: int) -> None:
    sys.stdout.write(msgspec.json.encode({"size": size}).decode() + "\n")
    sys.stdout.flush()


def _open(options: argparse.Namespace) -> Log:
    if options.database is not None:
        return LogDatabase(LogSnapshot(options.database))
    from muniment_log.cluster.objects import ObjectStore  # noqa: PLC0415
    from muniment_log.index.bucket import BucketLog  # noqa: PLC0415  # needs the extra `cluster`

    return BucketLog(ObjectStore.open(options.bucket), options.key)


def main() -> int:
    """Runs the process; the exit code is 0 when it was told to end, 1 for an error."""
    parser = argparse.ArgumentParser(prog="muniment_log.index.indexer")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--database", type=Path)
    source.add_argument("--bucket")
    parser.add_argument("--key", action="append", default=[])
    parser.add_argument("index", type=Path)
    parser.add_argument("--log-level", choices=get_args(LogLevel), default="info")
    parser.add_argument("--log-format", choices=get_args(LogFormat), default="text")
    options = parser.parse_args()
    configure(options.log_level, options.log_format)
    os.nice(NICENESS)
    freeze_startup_objects()
    try:
        # On asyncio's own loop: uvloop would take more memory than it saves time here.
        asyncio.run(_until_stdin_ends(lambda: _open(options), options.index))
    except (MunimentError, OSError) as error:
        event(_LOGGER, logging.ERROR, "the index cannot be kept", error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
