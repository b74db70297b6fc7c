"""The index of a cluster's frontend: a follower of the bucket.

The child process reads the checkpoint and the bundles from the bucket, like any reader; answers
read the records through the frontend's own tile source.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from muniment.local.sqlitefile import DatabaseError
from muniment.tlog.encoding import MunimentError, VerificationError
from muniment.tlog.note import parse_vkey
from muniment.tlog.policy import Policy, PolicyLog
from muniment.tlog.tiles import CHECKPOINT, ENTRIES, tile_at
from muniment_log.index.supervisor import LogIndex, make_index
from muniment_log.publish.published import published_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from muniment.tlog.heads import Head, Prefix
    from muniment.tlog.policy import CosignedCheckpoint
    from muniment.tlog.tiles import Tile
    from muniment_log.cluster.objects import ObjectStore
    from muniment_log.config import LogConfig
    from muniment_log.core.ports import TileSource
    from muniment_log.publish.published import PublishedHead
    from muniment_service.metrics import Metrics

READ_SECONDS: Final = 10.0
"""How long an answer waits for a bundle."""


class BucketLog:
    """An `indexer.Log` over a cluster's bucket."""

    def __init__(self, objects: ObjectStore, vkeys: Sequence[str]) -> None:
        """Takes an open bucket and the log's keys.

        The policy asks for the log's signature only: the quorum was met before it was published.
        """
        self._objects = objects
        logs = tuple(PolicyLog(parse_vkey(key), None) for key in vkeys)
        self._policy = Policy(logs, (), (), "none")

    async def close(self) -> None:
        """Closes the bucket."""
        await self._objects.close()

    async def published(self) -> bytes | None:
        """The published checkpoint; None before the first."""
        found = await self._objects.get_versioned(CHECKPOINT)
        return None if found is None else found[0]

    async def head(self) -> CosignedCheckpoint:
        """The published checkpoint, verified."""
        note = await self.published()
        if note is None:
            raise VerificationError("nothing is published yet")
        return self._policy.verify(note)

    async def bundle(self, tile: Tile) -> bytes:
        """An entry bundle."""
        try:
            return await self._objects.get(tile.path)
        except LookupError as error:
            raise VerificationError(str(error)) from None

    async def prefix(self, old: int, head: Head) -> Prefix:
        """Raises an error: the log would prove things to itself."""
        raise VerificationError(
            f"no proof from {old} to {head.size} is made of the log's own bucket"
        )


class BucketBundles:
    """`index.reader.Bundles` for a thread beside the event loop of a frontend."""

    def __init__(self, head: PublishedHead, tiles: TileSource) -> None:
        """Takes what the frontend reads by; made on its event loop."""
        self._loop = asyncio.get_running_loop()
        self._head = head
        self._tiles = tiles

    def close(self) -> None:
        """Nothing is held."""

    def bundle(self, index: int) -> bytes:
        """The entry bundle at an index, as far as it is published.

        Raises DatabaseError if it is not, or it cannot be read now.
        """
        tile = tile_at(ENTRIES, index, published_size(self._head.published))
        reading = asyncio.run_coroutine_threadsafe(self._read(tile), self._loop)
        try:
            return reading.result(READ_SECONDS)
        except (MunimentError, LookupError, TimeoutError) as error:
            reading.cancel()
            raise DatabaseError(f"{tile.path} cannot be read: {error}") from error

    async def _read(self, tile: Tile) -> bytes:
        return (await self._tiles.read([tile]))[tile]


def bucket_index(
    config: LogConfig, path: Path, *, head: PublishedHead, tiles: TileSource, metrics: Metrics
) -> LogIndex:
    """The index of a frontend, in a file of its own."""
    source = ["--bucket", config.cluster.object_store]
    for vkey in config.vkeys:
        source += ["--key", vkey]
    bundles = BucketBundles(head, tiles)
    return make_index(
        config,
        path,
        tuple(source),
        lambda: bundles,
        lambda: published_size(head.published),
        metrics,
    )
