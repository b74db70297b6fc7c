"""Restoring an index log from whoever serves its tiles: a mirror, a cache, a folder of files.

Which heads of the log the index log has leaves about stands nowhere else. What is fetched is
believed as far as the log's own signature goes: the newest checkpoint that is served, and exactly
the leaves of its tree. Whether there was more, its witnesses tell when the log starts: it is a
copy, which signs nothing before a quorum of them has cosigned it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment.http.logclient import LogClient
from muniment.index.httpsource import HttpSource
from muniment.local.sqlitefile import DatabaseError
from muniment.local.sqliteowner import DatabaseOwner
from muniment.tlog.encoding import VerificationError
from muniment.tlog.policy import Policy, PolicyLog
from muniment.tlog.tiles import bundles_of, check_bundle
from muniment_log.core.integrate import restore
from muniment_log.storage.indexleaves import Ascending
from muniment_log.storage.leaforder import LeafOrder
from muniment_log.storage.restored import finish
from muniment_log.storage.schema import create_database
from muniment_log.storage.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from muniment.tlog.heads import Head
    from muniment.tlog.policy import CosignedCheckpoint
    from muniment_log.config import LogConfig
    from muniment_log.core.integrate import Integration


async def restore_index_log(config: LogConfig, url: str) -> int:
    """Makes the index log's database from the tree that a URL serves; how many leaves it has.

    Raises:
        DatabaseError: there is one, or it cannot be written.
        MunimentError: what is served cannot be read, or is not the index log; nothing was made.
        ValueError: the URL is none.
    """
    own = config.index_log
    path = own.database
    with DatabaseOwner(path):
        if path.exists():
            raise DatabaseError(f"{path}: exists already; move it away first")
        part = path.with_name(f"{path.name}.part")
        _remove(part)
        logs = tuple(PolicyLog(signer.vkey) for signer in own.signers)
        try:
            async with LogClient(url) as client:
                source = HttpSource(client, Policy(logs, (), (), "none"), own.file.origin)
                await create_database(part, own.file.origin, own.vkeys, "restore-index-log")
                store = await SQLiteStore.open(part)
                try:
                    served = await _fill(store, source, Ascending(config.file.origin))
                finally:
                    await store.close()
            # Who serves may be behind: a copy that signs nothing before its witnesses are heard.
            await finish(part, served.signed.encode(), path)
        finally:
            _remove(part)
    return served.size


def _remove(part: Path) -> None:
    for end in ("", "-wal", "-shm", ".lock"):
        part.with_name(part.name + end).unlink(missing_ok=True)


class _Nobody:
    """Nobody is told of commits, and no head is signed."""

    def signer(self) -> Callable[[Head], bytes] | None:
        return None

    def committed(self, change: Integration, signed: bytes | None) -> None:
        pass


async def _fill(store: SQLiteStore, source: HttpSource, check: Ascending) -> CosignedCheckpoint:
    served = await source.head()
    loaded = await store.load()
    edge = restore(loaded.head, loaded.fragments, loaded.partials)
    order = LeafOrder(store, edge, _Nobody())
    for tile in bundles_of(0, served.size, served.size):
        entries = check_bundle(tile, await source.bundle(tile))
        for entry in entries:
            check(entry)
        await order.append(entries)
    if order.head != served.head:
        raise VerificationError(
            f"the {served.size} leaves that are served do not give the checkpoint's root"
        )
    await store.put_published(served.signed.encode())
    return served
