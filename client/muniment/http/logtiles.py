"""A log's tiles over HTTP, authenticated (C2SP tlog-tiles: fetch the tiles, compute any proof).

They need nothing of a log but static files, so they also work on a mirror.
"""

import asyncio
from collections.abc import Sequence

from muniment.http.logclient import LogClient
from muniment.tlog.heads import Head
from muniment.tlog.tiles import Tile
from muniment.tlog.treereader import TreeTiles


def log_tiles(client: LogClient, head: Head) -> TreeTiles:
    """The tiles and bundles of the tree of a head, read at the same time and authenticated by it.

    Reading raises what `LogClient.tile` raises, and what `TreeTiles.read` does.
    """

    async def fetch(tiles: Sequence[Tile]) -> dict[Tile, bytes]:
        contents = await asyncio.gather(*map(client.tile, tiles))
        return dict(zip(tiles, contents, strict=True))

    return TreeTiles(head, fetch)
