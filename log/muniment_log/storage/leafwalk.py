"""Everything that follows from the stored leaves (RFC 6962 section 2.1, C2SP tlog-tiles).

Tiles, roots, streams and batches are functions of the ordered leaves. This module reads the leaves
once, in order, and computes all of it again with its own code: what checks the integration
and the tile readers must not share a fault with them. Memory does not grow with the log, except for
one entry per stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from muniment.records.manifest import MANIFEST, MAX_BATCH_RECORDS, parse_manifest
from muniment.tlog.encoding import FormatError, unframe
from muniment.tlog.merkle import HASH_SIZE, CompactRange, leaf_hashes, root_of
from muniment.tlog.tiles import TILE_WIDTH
from muniment_log.core.ordering import Accepted
from muniment_log.core.ports import NEW_STREAM, StreamKey, StreamState
from muniment_log.core.tokens import TOKEN_STREAMS
from muniment_log.storage.prunedsize import pruned_size
from muniment_service.soundness import Damage

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator


Plain = Callable[[bytes], None]
"""Takes each leaf in order; raises FormatError for one that cannot be the next."""


class Sink(Protocol):
    """Takes what the leaves imply, as it comes."""

    def tile(self, level: int, index: int, data: bytes) -> None:
        """A stored hash tile: a full one, or above level 0 the partial one."""
        ...

    def batch(self, batch: Accepted) -> None:
        """A signed batch."""
        ...


@dataclass(slots=True)
class Walked:
    """What the leaves imply.

    Attributes:
        size: how many there are.
        root: the root of their tree.
        roots: size → root, for the sizes asked for, as far as there are leaves.
        streams: where each stream continues.
        damage: why the leaves cannot be right; the walk ends at a bundle that cannot be read.
    """

    size: int
    root: bytes
    roots: dict[int, bytes]
    streams: dict[StreamKey, StreamState]
    damage: list[Damage]


@dataclass(slots=True)
class _Walk:
    sink: Sink
    asked: Collection[int]
    plain: Plain | None
    tree: CompactRange = CompactRange.EMPTY
    levels: list[list[bytes]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    open: list[bytes] = field(default_factory=list)  # leaf hashes since the last manifest
    roots: dict[int, bytes] = field(default_factory=dict)
    streams: dict[StreamKey, StreamState] = field(default_factory=dict)
    damage: list[Damage] = field(default_factory=list)
    pruned: int = 0


def walk(
    db: sqlite3.Connection, asked: Collection[int], sink: Sink, plain: Plain | None = None
) -> Walked:
    """Reads all leaves and tells what follows from them; `db` is inside a transaction.

    The roots of the tree sizes `asked` for come with it; `sink` is told of tiles and batches.
    `plain` judges each leaf of a log whose leaves no manifests cover. Of entries that were pruned
    the hash tiles are taken instead: of streams that ended there nothing is told then, and of
    others the state before is believed.

    Raises sqlite3.Error if the file cannot be read.
    """
    state = _Walk(sink, asked, plain)
    if 0 in asked:
        state.roots[0] = state.tree.root()
    state.pruned = pruned_size(db)
    if not _take_pruned(state, db):
        return Walked(state.tree.size, state.tree.root(), state.roots, state.streams, state.damage)
    for table, index, data in _bundles(db, state.pruned // TILE_WIDTH):
        if data is None:
            state.damage.append(Damage(table, f"entry bundle {index} is missing"))
            break
        try:
            entries = unframe(data, f"entry bundle {index}")
        except FormatError as error:
            state.damage.append(Damage(table, str(error)))
            break
        full = table == "bundle"
        if (len(entries) == TILE_WIDTH) != full:
            state.damage.append(Damage(table, f"entry bundle {index} has {len(entries)} entries"))
            break
        _take(state, table, entries)
    _end(state)
    return Walked(state.tree.size, state.tree.root(), state.roots, state.streams, state.damage)


def _take_pruned(state: _Walk, db: sqlite3.Connection) -> bool:
    """Takes the hashes of pruned entries; whether all of them are there."""
    for index in range(state.pruned // TILE_WIDTH):
        row = db.execute("SELECT data FROM tile WHERE level = 0 AND idx = ?", (index,)).fetchone()
        if row is None or len(row[0]) != TILE_WIDTH * HASH_SIZE:
            what = f"tile {index} of level 0, of pruned entries, is missing or damaged"
            state.damage.append(Damage("tile", what))
            return False
        data = bytes(row[0])
        hashes = [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]
        _extend(state, hashes)
        _up(state, 0, hashes)
        # A manifest of later may cover them; which of them are manifests is not known any more.
        state.open = [*state.open, *hashes][-MAX_BATCH_RECORDS:]
    return True


def _bundles(db: sqlite3.Connection, first: int) -> Iterator[tuple[str, int, bytes | None]]:
    expected = first
    for index, data in db.execute("SELECT idx, data FROM bundle ORDER BY idx"):
        if index != expected:
            yield "bundle", expected, None
            return
        yield "bundle", index, bytes(data)
        expected += 1
    tail = db.execute("SELECT first, data FROM tail ORDER BY first").fetchall()
    if tail:
        if tail[0][0] != expected * TILE_WIDTH:
            yield "bundle" if tail[0][0] > expected * TILE_WIDTH else "tail", expected, None
            return
        yield "tail", expected, b"".join(bytes(data) for _, data in tail)


def _take(state: _Walk, table: str, entries: list[bytes]) -> None:
    hashes = leaf_hashes(entries)
    start = state.tree.size
    _extend(state, hashes)
    if table == "bundle":
        _up(state, 0, hashes)
    for place, (entry, leaf) in enumerate(zip(entries, hashes, strict=True)):
        if state.plain is not None:
            try:
                state.plain(entry)
            except FormatError as error:
                state.damage.append(Damage(table, f"leaf {start + place}: {error}"))
        elif entry.startswith(MANIFEST):
            _manifest(state, table, start + place, entry=entry, leaf=leaf)
        else:
            state.open.append(leaf)


def _extend(state: _Walk, hashes: list[bytes]) -> None:
    start = state.tree.size
    for size in state.asked:
        if start < size <= start + len(hashes):
            state.roots[size] = state.tree.extend(hashes[: size - start]).root()
    state.tree = state.tree.extend(hashes)


def _up(state: _Walk, level: int, hashes: list[bytes]) -> None:
    """A tile is full; its root is a hash of the level above."""
    if level == len(state.counts):
        state.counts.append(0)
        state.levels.append([])
    state.sink.tile(level, state.counts[level], b"".join(hashes))
    state.counts[level] += 1
    above = level + 1
    if above == len(state.counts):
        state.counts.append(0)
        state.levels.append([])
    state.levels[above].append(root_of(hashes))
    if len(state.levels[above]) == TILE_WIDTH:
        full, state.levels[above] = state.levels[above], []
        _up(state, above, full)


def _manifest(state: _Walk, table: str, index: int, *, entry: bytes, leaf: bytes) -> None:
    covered, state.open = state.open, []
    try:
        manifest, _ = parse_manifest(entry)
    except FormatError as error:
        state.damage.append(Damage(table, f"leaf {index}: {error}"))
        return
    key = StreamKey(manifest.producer, manifest.stream)
    before = state.streams.get(key, NEW_STREAM)
    if index - len(covered) < state.pruned:
        covered = covered[len(covered) - min(manifest.count, len(covered)) :]
    if key not in state.streams and state.pruned:
        before = StreamState(manifest.first, manifest.previous)
    first = index - len(covered)
    if len(covered) != manifest.count or root_of(covered) != manifest.root:
        state.damage.append(
            Damage(table, f"leaves [{first}, {index}) are not those of their manifest {index}")
        )
    if (manifest.first, manifest.previous) != before:
        what = f"leaf {index} does not continue stream {key.gateway} {key.label}"
        state.damage.append(Damage(table, what))
    state.streams[key] = StreamState(manifest.next, leaf)
    if not key.label.startswith(TOKEN_STREAMS):
        digest = sha256(manifest.text.encode()).digest()
        state.sink.batch(Accepted(key, manifest.first, manifest.count, digest, first))


def _end(state: _Walk) -> None:
    if state.open and not state.damage and state.tree.size > state.pruned:
        first = state.tree.size - len(state.open)
        state.damage.append(
            Damage("tail", f"leaves [{first}, {state.tree.size}) have no manifest behind them")
        )
    for level, hashes in enumerate(state.levels):
        if hashes:
            state.sink.tile(level, state.counts[level], b"".join(hashes))
