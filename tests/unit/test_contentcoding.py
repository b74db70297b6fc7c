"""gzip that comes in pieces: any cut, several behind each other, damage, and bombs."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.tlog.contentcoding import Gunzip
from muniment.tlog.encoding import FormatError


def undone(decoder: Gunzip, *pieces: bytes, most: int = 100) -> bytes:
    found = [part for piece in pieces for part in decoder.pieces(piece, most)]
    assert all(0 < len(part) <= most for part in found)
    return b"".join(found)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=3), st.integers(0, 400))
def test_what_was_compressed_comes_back_wherever_it_is_cut(parts: list[bytes], cut: int) -> None:
    data = b"".join(map(gzip.compress, parts))
    assert undone(Gunzip(), data[:cut], data[cut:]) == b"".join(parts)


def test_a_bomb_comes_in_small_pieces() -> None:
    bomb = gzip.compress(bytes(10_000_000))
    first = next(Gunzip().pieces(bomb, 4096))
    assert first == bytes(4096)
    assert undone(Gunzip(), bomb, most=1 << 16) == bytes(10_000_000)


@pytest.mark.parametrize("data", [b"no gzip at all", gzip.compress(b"x", mtime=0)[:-8] + bytes(8)])
def test_what_is_damaged_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match="no gzip"):
        undone(Gunzip(), data)
