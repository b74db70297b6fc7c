"""Entry bundles over HTTP: what is full and was given out once is not read from storage again."""

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from byzantine import View
from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.tiles import Tile
from muniment_log.http.reads import Reads
from muniment_service.http import Request, Response

LONG = b"one entry after the other" * 100


@dataclass
class Storage:
    """A published tree of 300 leaves, whose storage notes what is read."""

    published: SignedCheckpoint
    read_tiles: list[Tile] = field(default_factory=list)

    async def read(self, tiles: Sequence[Tile]) -> Mapping[Tile, bytes]:
        self.read_tiles += tiles
        return dict.fromkeys(tiles, LONG)


async def get(reads: Reads, path: str, accepted: str = "") -> Response:
    request = Request("GET", f"/tile/{path}", {"Accept-Encoding": accepted}, None)  # type: ignore[arg-type]
    request.rest = path
    return await reads.tile(request)


@pytest.mark.parametrize(("path", "times"), [("entries/000", 1), ("entries/001.p/44", 6)])
async def test_a_full_bundle_is_read_once_for_all(path: str, times: int) -> None:
    view = View("log.example/a")
    storage = Storage(view.append(300).checkpoint())
    reads = Reads(storage, storage)
    for _ in range(3):
        plain = await get(reads, path)
        assert plain.body == LONG
        assert "Content-Encoding" not in plain.headers
        packed = await get(reads, path, "gzip")
        assert gzip.decompress(packed.body) == LONG
        assert packed.headers["Content-Encoding"] == "gzip"
        assert packed.headers["ETag"] != plain.headers["ETag"]
    assert len(storage.read_tiles) == times
