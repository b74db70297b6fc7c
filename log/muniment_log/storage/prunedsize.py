"""How many entries of a log's database were pruned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

TABLE: Final = "SELECT 1 FROM sqlite_master WHERE name = 'pruned'"
"""Whether the file can say so: one that no log of this version has opened cannot."""

SIZE: Final = "SELECT size FROM pruned"


def pruned_size(db: sqlite3.Connection) -> int:
    """The minimum index: entries below it were pruned. A multiple of a bundle's width.

    Raises sqlite3.Error if the file cannot be read.
    """
    if db.execute(TABLE).fetchone() is None:
        return 0
    row = db.execute(SIZE).fetchone()
    return 0 if row is None else int(row[0])
