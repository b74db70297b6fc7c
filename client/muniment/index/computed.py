"""The root of the map over a replica's leaves: what evidence about an index is verified with."""

import tempfile
from pathlib import Path
from typing import Final

from muniment.index.reader import IndexReader
from muniment.map.mapfile import MapFile
from muniment.tlog.encoding import VerificationError, unframe
from muniment.tlog.heads import Head
from muniment.tlog.tiles import TILE_WIDTH

_LEAVES: Final = 64 * TILE_WIDTH  # in one batch


async def map_root(replica: Path, origin: str, head: Head) -> bytes:
    """Computes the root of the map over the first leaves of a replica, some 60 µs each.

    Raises VerificationError if it has other leaves than those of the head, or not so many;
    DatabaseError if it cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="muniment-map-") as folder:
        map_ = await MapFile.open(Path(folder) / "map.db", origin)
        try:
            with IndexReader(replica) as reader:
                known = reader.head()
                if known is None or (known.origin, known.size >= head.size) != (origin, True):
                    raise VerificationError(
                        f"{replica} does not hold the first {head.size} leaves of {origin}"
                    )
                while map_.size < head.size:
                    first = map_.size
                    end = min(first + _LEAVES, head.size)
                    bundles = range(first // TILE_WIDTH, (end - 1) // TILE_WIDTH + 1)
                    leaves = [leaf for one in bundles for leaf in unframe(reader.bundle(one))]
                    await map_.apply(first, leaves[: end - first])
            if map_.range.root() != head.root:
                raise VerificationError(f"{replica} holds other leaves than those of this index")
            return map_.root
        finally:
            await map_.close()
