"""Which heads of an index a witness has compared itself, as a file remembers it."""

from pathlib import Path

import pytest

from muniment.tlog.heads import EMPTY, Head
from muniment_witness.store.compared import MOST, ComparedHeads

INDEX = "log.example/map"


def head(size: int) -> Head:
    return Head(size, bytes([size]) * 32)


def test_the_cosigned_head_stays_among_the_newest(tmp_path: Path) -> None:
    compared = ComparedHeads(tmp_path / "w.db")
    assert compared.of(INDEX) == ()
    compared.add(INDEX, head(1), EMPTY)
    for size in range(2, 9):  # each of them was asked for, and none was cosigned
        compared.add(INDEX, head(size), head(1))
    assert compared.of(INDEX) == (head(1), head(6), head(7), head(8))
    assert len(compared.of(INDEX)) == MOST
    compared.add(INDEX, head(9), head(8))
    assert compared.of(INDEX)[0] == head(8)
    assert ComparedHeads(tmp_path / "w.db").of(INDEX) == compared.of(INDEX)
    assert compared.of("log.example/other") == ()


@pytest.mark.parametrize("data", [b"", b"7\n", b"7 x\n", b"\xff\n", b"1 " + b"A" * 2000 + b"\n"])
def test_a_damaged_file_says_nothing(tmp_path: Path, data: bytes) -> None:
    compared = ComparedHeads(tmp_path / "w.db")
    compared.path(INDEX).write_bytes(data)
    assert compared.of(INDEX) == ()
    compared.add(INDEX, head(3), EMPTY)
    assert ComparedHeads(tmp_path / "w.db").of(INDEX) == (head(3),)
