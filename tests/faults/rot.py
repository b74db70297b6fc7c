"""Flips single bits: of one value of a table, or of a whole file."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path


def flip(path: Path, table: str, column: str, where: str, dice: random.Random) -> None:
    """Flips one bit of one value."""
    with closing(sqlite3.connect(path)) as db:
        (value,) = db.execute(f"SELECT {column} FROM {table} WHERE {where}").fetchone()
        if isinstance(value, int):
            flipped: object = value ^ (1 << dice.randrange(8))
        else:
            data = bytearray(value if isinstance(value, bytes) else value.encode())
            # In text the lowest bit, so that it stays text.
            bit = 0 if isinstance(value, str) else dice.randrange(8)
            data[dice.randrange(len(data))] ^= 1 << bit
            flipped = bytes(data) if isinstance(value, bytes) else data.decode()
        assert db.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (flipped,)).rowcount
        db.commit()


def rotten_files(sound: Path, path: Path, rounds: int, dice: random.Random) -> Iterator[str]:
    """Copies a file again and again, each time with one random bit flipped; says which.

    Nothing else is left in its folder, before each round and in the end.
    """
    good = sound.read_bytes()
    for number in range(rounds):
        bit = dice.randrange(len(good) * 8)
        rotten = bytearray(good)
        rotten[bit // 8] ^= 1 << bit % 8
        path.write_bytes(rotten)
        yield f"round {number}, bit {bit}"
        for leftover in path.parent.iterdir():
            leftover.unlink()
