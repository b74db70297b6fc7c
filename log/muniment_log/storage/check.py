"""Checks a log's database against its own leaves, while the log runs or not.

*Quick* reads what a start reads: the right edge, the notes of the heads, the identity, and which
bundles and tiles there are. *Full* reads everything: SQLite's own structure, every leaf, and from
the leaves every tile, root, stream and batch again; and whether repeats would be recognised.

When leaves and what was computed from them disagree, one of them is damaged. The leaves are judged
sound when every one is covered by its batch's manifest, the manifests continue their streams, the
signed heads hold, and the stored root or the stored streams agree; then what differs is the damage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.encoding import FormatError, MunimentError, VerificationError
from muniment.tlog.heads import Head
from muniment.tlog.note import verify_note
from muniment.tlog.tiles import TILE_HEIGHT, TILE_WIDTH
from muniment_log.core.integrate import restore
from muniment_log.core.ports import StreamKey, StreamState
from muniment_log.errors import StorageError
from muniment_log.storage.leafwalk import Plain, Walked, walk
from muniment_log.storage.prunedsize import pruned_size
from muniment_log.storage.recalled import check_recalled
from muniment_log.storage.schema import migrations
from muniment_log.storage.sqlite import read_loaded
from muniment_service.soundness import (
    MAX_NAMED,
    Findings,
    check_schema,
    check_structure,
    inspect,
    inspect_file,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from muniment.tlog.note import Verifier
    from muniment_log.core.ordering import Accepted

    Progress = Callable[[int, int], None]

REBUILT: Final = frozenset({"tree", "tile", "stream", "batch"})
"""Tables that follow from the leaves."""


class CheckReport(Findings):
    """What a check found.

    Attributes:
        size: leaves in the database.
        leaves_sound: whether the leaves can be relied on to rebuild the rest; only a full check
            can say so.
    """

    size: int = 0
    leaves_sound: bool = False


def check(
    path: Path,
    origin: str,
    keys: Sequence[Verifier],
    *,
    full: bool,
    progress: Progress = lambda _done, _total: None,
    plain: Plain | None = None,
) -> CheckReport:
    """Checks the database of a log; a log that runs on it is not disturbed.

    A full check reads everything, and costs about as much as auditing the log; `progress` is told
    how many leaves were read, and how many there are. `plain` is for a log without manifests, see
    `walk`. Raises DatabaseError if there is no such
    database, or it cannot be opened.
    """
    report = CheckReport()
    if not inspect_file(
        path,
        report,
        lambda db: _examine(db, origin, keys, report, full=full, progress=progress, plain=plain),
    ):
        report.leaves_sound = False
    return report


def examine(
    db: sqlite3.Connection, origin: str, keys: Sequence[Verifier], *, full: bool
) -> CheckReport:
    """The check itself, on one snapshot; joins the transaction that is open, if one is."""
    report = CheckReport()
    if not inspect(db, report, lambda db: _examine(db, origin, keys, report, full=full)):
        report.leaves_sound = False
    return report


def _examine(
    db: sqlite3.Connection,
    origin: str,
    keys: Sequence[Verifier],
    report: CheckReport,
    *,
    full: bool,
    progress: Progress = lambda _done, _total: None,
    plain: Plain | None = None,
) -> None:
    if full:
        check_structure(db, report)
    check_schema(db, migrations(), report)
    _identity(db, origin, keys, report)
    row = db.execute("SELECT size, root FROM tree").fetchone()
    tree = None if row is None else Head(*row)
    if tree is None:
        report.add("tree", "the tree's row is missing")
    else:
        report.size = tree.size
    notes = _notes(db, origin, keys, report)
    if full:
        compare = _Compare(db, lambda done: progress(done, report.size))
        _full(db, tree, notes, report, compare, plain)
        check_recalled(db, report)
    elif tree is not None:
        _quick(db, tree, notes, report)


def _identity(
    db: sqlite3.Connection, origin: str, keys: Sequence[Verifier], report: CheckReport
) -> None:
    rows = set(db.execute("SELECT vkey, origin FROM identity").fetchall())
    if rows != {(str(key.vkey), origin) for key in keys}:
        report.add("identity", f"it does not say that this is {origin} with the keys configured")


def _notes(
    db: sqlite3.Connection, origin: str, keys: Sequence[Verifier], report: CheckReport
) -> dict[str, SignedCheckpoint]:
    """The stored heads whose signatures hold; by any of the log's keys, they are not replaced."""
    notes: dict[str, SignedCheckpoint] = {}
    for kind, note in db.execute("SELECT kind, note FROM head"):
        try:
            signed = parse_signed_checkpoint(bytes(note))
            verify_note(signed.note, keys)
        except (FormatError, VerificationError) as error:
            report.add("head", f"the {kind} checkpoint: {error}")
            continue
        if signed.checkpoint.origin != origin:
            report.add("head", f"the {kind} checkpoint is of another log")
        else:
            notes[kind] = signed
    if "published" in notes and "signed" not in notes:
        report.add("head", "the signed checkpoint is missing")
    return notes


def _quick(
    db: sqlite3.Connection, tree: Head, notes: dict[str, SignedCheckpoint], report: CheckReport
) -> None:
    try:
        loaded = read_loaded(db)
        restore(loaded.head, loaded.fragments, loaded.partials)
    except MunimentError as error:
        report.add("tree", f"the right edge: {error}")
    counts = {-1: _range(db, "SELECT count(*), min(idx), max(idx) FROM bundle")}
    width = tree.size >> TILE_HEIGHT
    pruned = pruned_size(db) // TILE_WIDTH
    if counts[-1] != _wanted(width, pruned):
        report.add("bundle", f"{counts[-1][0]} entry bundles, not {width - pruned}")
    level = 0
    while width:
        # Level 0 keeps full tiles only; above, the partial one is kept too.
        stored = width if level == 0 else -(-width // TILE_WIDTH)
        sql = f"SELECT count(*), min(idx), max(idx) FROM tile WHERE level = {level:d}"  # noqa: S608  # a number
        found = _range(db, sql)
        if found != _wanted(stored):
            report.add("tile", f"level {level}: {found[0]} tiles, not {stored}")
        width = width if level == 0 else width >> TILE_HEIGHT
        level += 1
    for kind, note in notes.items():
        known = note.checkpoint
        ahead = known.size > tree.size
        if ahead or (known.size == tree.size and known.root != tree.root):
            report.add("head", f"the {kind} checkpoint of {known.size} is not of this tree")


def _range(db: sqlite3.Connection, sql: str) -> tuple[int, int | None, int | None]:
    count, least, most = db.execute(sql).fetchone()
    return count, least, most


def _wanted(end: int, first: int = 0) -> tuple[int, int | None, int | None]:
    return (end - first, first, end - 1) if end > first else (0, None, None)


class _Compare:
    """Compares what the leaves imply with what is stored."""

    def __init__(self, db: sqlite3.Connection, progress: Callable[[int], None]) -> None:
        """Takes the database, and who is told how many leaves were compared."""
        self.db = db
        self._progress = progress
        self.tiles = self.batches = 0
        self.wrong_tiles: list[tuple[int, int]] = []
        self.wrong_batches: list[tuple[StreamKey, int]] = []

    def tile(self, level: int, index: int, data: bytes) -> None:
        row = self.db.execute(
            "SELECT data FROM tile WHERE level = ? AND idx = ?", (level, index)
        ).fetchone()
        self.tiles += row is not None
        if row is None or row[0] != data:
            self.wrong_tiles.append((level, index))
        if level == 0:
            self._progress((index + 1) * TILE_WIDTH)

    def batch(self, batch: Accepted) -> None:
        row = self.db.execute(
            "SELECT count, digest, idx FROM batch WHERE first = ? AND stream ="
            " (SELECT id FROM stream WHERE gateway = ? AND label = ?)",
            (batch.first, *batch.key),
        ).fetchone()
        self.batches += row is not None
        if row != (batch.count, batch.digest, batch.index):
            self.wrong_batches.append((batch.key, batch.first))


def _full(
    db: sqlite3.Connection,
    tree: Head | None,
    notes: dict[str, SignedCheckpoint],
    report: CheckReport,
    compare: _Compare,
    plain: Plain | None,
) -> None:
    walked = walk(db, [note.checkpoint.size for note in notes.values()], compare, plain)
    rows = db.execute("SELECT gateway, label, next, manifest FROM stream").fetchall()
    streams = {StreamKey(g, label): StreamState(n, manifest) for g, label, n, manifest in rows}
    pruned = pruned_size(db)
    if pruned:  # a stream that ended before is not in the leaves that are left
        streams = {key: state for key, state in streams.items() if key in walked.streams}
    tree_agrees = tree == (walked.size, walked.root)
    heads_agree = all(
        walked.roots.get(note.checkpoint.size) == note.checkpoint.root for note in notes.values()
    )
    report.leaves_sound = (
        not walked.damage
        and heads_agree
        and (tree_agrees or (plain is None and streams == walked.streams))
    )
    if not report.leaves_sound:
        _leaves(tree, walked, compare, report)
        return
    if not tree_agrees:
        report.add("tree", f"the leaves make another tree of {walked.size}")
    for level, index in compare.wrong_tiles[:MAX_NAMED]:
        report.add("tile", f"tile {index} of level {level} is missing or damaged")
    (stored,) = db.execute("SELECT count(*) FROM tile").fetchone()
    if stored != compare.tiles:
        report.add("tile", f"{stored - compare.tiles} tiles that no leaves make")
    for key in streams.keys() | walked.streams.keys():
        if streams.get(key) != walked.streams.get(key):
            report.add("stream", f"stream {key.gateway} {key.label} is not where its leaves end")
    for key, first in compare.wrong_batches[:MAX_NAMED]:
        report.add("batch", f"batch {first} of stream {key.gateway} {key.label} is damaged")
    sql = "SELECT count(*) FROM batch WHERE idx + count >= ?"
    (stored,) = db.execute(sql, (pruned,)).fetchone()
    if stored != compare.batches:
        report.add("batch", f"{stored - compare.batches} batches that are not in the leaves")


def _leaves(tree: Head | None, walked: Walked, compare: _Compare, report: CheckReport) -> None:
    """Says where the leaves are damaged, as closely as what is left allows."""
    for table, what in walked.damage:
        report.add(table, what)
    for level, index in compare.wrong_tiles:
        if level == 0:
            report.add("bundle", f"entry bundle {index} is not that of its hash tile")
    if tree is not None and walked.size != tree.size:
        report.add("tail", f"{walked.size} leaves, but the tree has {tree.size}")
    if not any(known.table in {"bundle", "tail"} for known in report.damage):
        report.add("tail", "the last leaves are not those of the signed head or the tree")


def need_sound(report: CheckReport) -> None:
    """Refuses to build on damaged leaves; StorageError if the leaves cannot be relied on."""
    if not report.leaves_sound:
        raise StorageError("the leaves are damaged: nothing can be rebuilt from them")
