"""The paths of Go's checksum database, and its records."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.tlog import sumdb
from muniment.tlog.encoding import FormatError
from muniment.tlog.tiles import ENTRIES, Tile

# golang.org/x/mod/sumdb/tlog, isValidRecordText: lines without an empty one among them.
lines = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs"]), min_size=1)
records = st.lists(lines, min_size=1, max_size=3).map(
    lambda found: "".join(f"{line}\n" for line in found).encode()
)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/8/0/000"),
        (Tile(1, 1234067, 5), "tile/8/1/x001/x234/067.p/5"),
        (Tile(ENTRIES, 2, 255), "tile/8/data/002.p/255"),
    ],
)
def test_paths(tile: Tile, path: str) -> None:
    assert sumdb.tile_path(tile) == path
    assert sumdb.tile_paths(sumdb.ORIGIN, tile) == (tile.path, path)
    assert sumdb.tile_paths("log.example", tile) == (tile.path,)


def test_the_checkpoint() -> None:
    assert sumdb.checkpoint_paths(sumdb.ORIGIN) == ("checkpoint", "latest")
    assert sumdb.checkpoint_paths("log.example") == ("checkpoint",)
    assert sumdb.is_latest(b"go.sum database tree\n1\n")
    assert not sumdb.is_latest(b"go.sum database tree of mine\n1\n")


@given(st.lists(records, max_size=5), st.integers(0, 6))
def test_records_come_back(found: list[bytes], most: int) -> None:
    data = b"".join(record + b"\n" for record in found)
    assert sumdb.leaves_of(data, most=most) == found[:most]


@pytest.mark.parametrize("data", [b"x", b"a\n", b"\n", b"\n\n", b"a\n\n\n\nb\n\n", b"a\n\nb\n"])
def test_what_is_no_data_tile(data: bytes) -> None:
    with pytest.raises(FormatError, match="data tile"):
        sumdb.leaves_of(data, most=9)
