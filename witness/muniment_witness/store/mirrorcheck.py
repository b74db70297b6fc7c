"""Checks a mirror's database: every entry is hashed anew, up to the root and the checkpoint.

Also while the mirror runs. It uses none of what the mirror reads and writes by but the hashing of
trees, so that a fault of that cannot hide itself.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from sqlite3 import Connection
from typing import Final

from muniment.tlog.checkpoint import Checkpoint, parse_signed_checkpoint
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import FormatError, unframe
from muniment.tlog.heads import Head
from muniment.tlog.merkle import leaf_hashes
from muniment.tlog.note import VKey
from muniment.tlog.rightedge import TileEdge
from muniment.tlog.tiles import TILE_WIDTH, Tile
from muniment_service.soundness import Findings, check_schema, check_structure, inspect_file
from muniment_witness.store.mirrordb import MIGRATIONS
from muniment_witness.store.rows import DamagedRowError, check_signatures

_TILE: Final = "SELECT data FROM tile WHERE log = ? AND level = ? AND idx = ?"


class MirrorReport(Findings):
    """What a check found: copies, and entries that were hashed."""

    copies: int = 0
    entries: int = 0


def check_mirror(path: Path, keys: Sequence[VKey]) -> MirrorReport:
    """Checks the database of the mirror that has these keys.

    Raises DatabaseError if there is no such database, or it cannot be opened.
    """
    report = MirrorReport()

    def work(db: Connection) -> None:
        check_structure(db, report)
        check_schema(db, MIGRATIONS, report)
        rows = db.execute("SELECT log, origin, size, root FROM copy ORDER BY log").fetchall()
        for number, origin, size, root in rows:
            report.copies += 1
            try:
                mirrored = _check_copy(db, number, Head(size, root), keys, report)
                if mirrored is not None and mirrored.origin != origin:
                    raise DamagedRowError("its mirror checkpoint is another log's")
            except (FormatError, DamagedRowError) as error:
                report.add("copy", f"{origin}: {error}")
            except TypeError:  # damage may turn the type of a value into another
                report.add("copy", f"{origin}: a value is not of its column's type")

    inspect_file(path, report, work)
    return report


def _check_copy(
    db: Connection, number: int, tree: Head, keys: Sequence[VKey], report: MirrorReport
) -> Checkpoint | None:
    """Checks one copy, and returns its mirror checkpoint, if it has one."""
    row = db.execute("SELECT size, note FROM head WHERE log = ?", (number,)).fetchone()
    size, note = (-1, None) if row is None else row
    edge = TileEdge()
    root = edge.root()  # of the tree of the mirror checkpoint, once its entries were hashed
    for entries in _bundles(db, number, tree.size):
        hashes = leaf_hashes(entries)
        if edge.size < size <= edge.size + len(hashes):
            root = edge.append(hashes[: size - edge.size])[0].root()
        edge, full = edge.append(hashes)
        for tile, data in full:
            _check_tile(db, number, tile, data)
        report.entries += len(hashes)
    for tile, data in edge.tiles():
        if tile.level:
            _check_tile(db, number, tile, data)
    if (edge.size, edge.root()) != tree:
        raise DamagedRowError(f"its entries do not make the root of its tree of {tree.size}")
    if note is None:
        return None
    mirrored = parse_signed_checkpoint(note)
    if mirrored.checkpoint.head != (size, root):
        raise DamagedRowError(f"its entries do not make the mirror checkpoint of {size}")
    check_signatures(mirrored.note, map(verifier_for, keys))
    return mirrored.checkpoint


def _bundles(db: Connection, number: int, size: int) -> Iterator[list[bytes]]:
    """The entries of each bundle of a copy; the last one is partial, or empty."""
    for index in range(size // TILE_WIDTH):
        sql = "SELECT data FROM bundle WHERE log = ? AND idx = ?"
        row = db.execute(sql, (number, index)).fetchone()
        entries = [] if row is None else unframe(row[0], f"bundle {index}")
        if len(entries) != TILE_WIDTH:
            raise DamagedRowError(f"bundle {index} is lost, or has not {TILE_WIDTH} entries")
        yield entries
    sql = "SELECT data FROM tail WHERE log = ? ORDER BY first"
    yield unframe(b"".join(data for (data,) in db.execute(sql, (number,))), "partial bundle")


def _check_tile(db: Connection, number: int, tile: Tile, data: bytes) -> None:
    row = db.execute(_TILE, (number, tile.level, tile.index)).fetchone()
    if row is None or row[0] != data:
        raise DamagedRowError(f"{tile.path} is lost, or not that of its entries")
