"""Flips single bits: of one value of a table, or of a whole file.

MUNIMENT_ROT_ROUNDS is how many random bits of a file are flipped, one at a time; 2000 take some
minutes.
"""

import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from faults.logstate import memory_folder

ROUNDS = int(os.environ.get("MUNIMENT_ROT_ROUNDS", "80"))


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


def judge_any_bit(sound: Path, judge: Callable[[Path], bool], enough: float) -> None:
    """Flips random bits of a file, one at a time.

    Args:
        sound: the file, which stays as it is.
        judge: fails, or says whether the damage of a copy was named; may leave files beside it.
        enough: which part of the flips must have been named, at the least.
    """
    good, dice = sound.read_bytes(), random.Random(6)
    named = 0
    with memory_folder() as memory:
        path = memory / sound.name
        for number in range(ROUNDS):
            bit = dice.randrange(len(good) * 8)
            rotten = bytearray(good)
            rotten[bit // 8] ^= 1 << bit % 8
            path.write_bytes(rotten)
            try:
                named += judge(path)
            except BaseException as error:
                error.add_note(f"round {number}, bit {bit}")
                raise
            for leftover in memory.iterdir():
                leftover.unlink()
    assert named > ROUNDS * enough
