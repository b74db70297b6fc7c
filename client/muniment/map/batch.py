"""One batch of a map: every bucket that it changes is read, hashed and written once.

So is every node above them, see `levels`; of the nodes in memory those that changed are written as
tiles.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final

from msgspec.json import encode as to_json

from muniment.map import bucket, proving
from muniment.map.bucket import ABSENT, INDEX_BYTES, Rot
from muniment.map.levels import LOAD, Levels
from muniment.map.schema import node_id, tile_depths
from muniment.tlog.merkle import HASH_SIZE

AT_ONCE: Final = 2048
"""Buckets that are read and written in one go."""


def load(db: sqlite3.Connection, root: bytes) -> dict[int, Levels]:
    """Reads the hashes of all buckets, and hashes the nodes above; Rot if they lead elsewhere."""
    kinds = {
        kind: Levels(depth, keys)
        for kind, depth, keys in db.execute("SELECT kind, depth, keys FROM kind")
    }
    for kind, levels in kinds.items():
        whole, slots = levels.nodes[levels.depth - 1], levels.nodes[levels.depth]
        middle, high = node_id(kind, levels.depth, 0), node_id(kind, max(levels.depth - 1, 0), 0)
        rows = db.execute(
            "SELECT id, root FROM bucket WHERE id BETWEEN ? AND ?",
            (high, node_id(kind, levels.depth + 1, 0) - 1),
        )
        for id_, hash_ in rows:
            if len(hash_) != HASH_SIZE:
                raise Rot(f"bucket {id_}")
            if id_ >= middle:
                slots[(id_ - middle) << 5 : (id_ - middle + 1) << 5] = hash_
            else:
                place = id_ - high
                whole[place << 5 : (place + 1) << 5] = hash_
                levels.whole[place] = 1
        levels.hash_all()
    if proving.root_of({kind: levels.root for kind, levels in kinds.items()}) != root:
        raise Rot("its buckets do not lead to its root")
    return kinds


class BatchUpdate:
    """Changes a map by what one batch touches, within a transaction."""

    def __init__(self, db: sqlite3.Connection, kinds: dict[int, Levels]) -> None:
        """Takes the file's connection, and the nodes in memory, which it changes."""
        self._db = db
        self._kinds = kinds

    def take(self, touched: Mapping[bytes, Sequence[int]]) -> bytes:
        """Adds indices to the lists of keys; the map's root then."""
        for kind, keys in groupby(sorted(touched), key=lambda key: key[0]):
            levels = self._kinds.setdefault(kind, Levels())
            self._take_kind(kind, levels, {key: touched[key] for key in keys})
        return proving.root_of({kind: levels.root for kind, levels in self._kinds.items()})

    def _take_kind(self, kind: int, levels: Levels, touched: Mapping[bytes, Sequence[int]]) -> None:
        hashes: dict[int, bytes] = {}
        shift = 64 - levels.depth
        slots = groupby(touched, key=lambda key: int.from_bytes(key[1:9], "big") >> shift)
        many: list[tuple[int, list[bytes]]] = []
        for slot, keys in slots:
            many.append((slot, list(keys)))
            if len(many) == AT_ONCE:
                self._change(kind, levels, many, touched, hashes)
                many = []
        self._change(kind, levels, many, touched, hashes)
        before, nodes = levels.depth, levels.set(hashes)
        while levels.count > LOAD << levels.depth:
            self._grow(kind, levels)
        if levels.depth == before:
            self._write_tiles(kind, levels, nodes)
        else:  # they lie otherwise now
            first = node_id(kind, 0, 0)
            self._db.execute(
                "DELETE FROM tile WHERE id BETWEEN ? AND ?", (first, node_id(kind + 1, 0, 0) - 2)
            )
            every = [range(1 << depth) for depth in range(levels.depth + 1)]
            self._write_tiles(kind, levels, every)
        self._db.execute(
            "INSERT OR REPLACE INTO kind VALUES (?, ?, ?, ?)",
            (kind, levels.depth, levels.count, levels.root),
        )

    def _change(
        self,
        kind: int,
        levels: Levels,
        many: Sequence[tuple[int, Sequence[bytes]]],
        touched: Mapping[bytes, Sequence[int]],
        hashes: dict[int, bytes],
    ) -> None:
        """Changes some slots; notes their new hashes."""
        whole, depth = levels.whole, levels.depth
        start, above = node_id(kind, depth, 0), node_id(kind, max(depth - 1, 0), 0)
        ids = [
            above + (slot >> 1) if depth and whole[slot >> 1] else start + slot for slot, _ in many
        ]
        found = self._read(ids)
        rows: list[tuple[int, bytes, bytes]] = []
        chunks: list[tuple[bytes, int, bytes]] = []
        opened: dict[int, dict[bytes, bytes]] = {}  # slots whose bucket was whole until now
        gone: list[tuple[int]] = []
        for (slot, keys), id_ in zip(many, ids, strict=True):
            if id_ < start and slot not in opened:
                # Of a bucket that is halved now, both halves are written, this one changed.
                opened.update(self._halve(levels, slot >> 1, _row(found, id_)))
                gone.append((id_,))
            if slot in opened:
                lists = opened.pop(slot)
            elif hashes.get(slot, levels.hash_at(depth, slot)) == ABSENT:
                lists = {}
            else:
                lists = bucket.parse(_row(found, id_))
            for key in keys:
                rest, more = key[1:], touched[key]
                stored = lists.get(rest)
                if stored is None:
                    levels.count += 1
                indices = b"".join([index.to_bytes(INDEX_BYTES, "big") for index in more])
                list_, full = bucket.longer(None if stored is None else stored[HASH_SIZE:], indices)
                lists[rest] = bucket.hashed(key, list_)
                chunks += [(key, number, data) for number, data in full]
            ordered = sorted(lists.items())
            hashes[slot] = hash_ = bucket.hash_of(ordered)
            if ordered:
                rows.append((start + slot, hash_, bucket.encode(ordered)))
        for slot, lists in opened.items():
            ordered = sorted(lists.items())
            hashes[slot] = hash_ = bucket.hash_of(ordered)
            if ordered:
                rows.append((start + slot, hash_, bucket.encode(ordered)))
        db = self._db
        if gone:
            db.executemany("DELETE FROM bucket WHERE id = ?", gone)
        db.executemany("INSERT OR REPLACE INTO bucket VALUES (?, ?, ?)", rows)
        db.executemany("INSERT OR REPLACE INTO chunk VALUES (?, ?, ?)", chunks)

    def _read(self, ids: Sequence[int]) -> dict[int, bytes]:
        return dict(
            self._db.execute(
                "SELECT bucket.id, data FROM json_each(?) CROSS JOIN bucket ON bucket.id = value",
                (to_json(ids).decode(),),
            )
        )

    def _halve(self, levels: Levels, pair: int, row: bytes) -> dict[int, dict[bytes, bytes]]:
        """The keys of both slots of a bucket that was whole until now."""
        levels.whole[pair] = 0
        halves: dict[int, dict[bytes, bytes]] = {2 * pair: {}, 2 * pair + 1: {}}
        shift = 64 - levels.depth
        for key, list_ in bucket.parse(row).items():
            halves[int.from_bytes(key[:8], "big") >> shift][key] = list_
        return halves

    def _grow(self, kind: int, levels: Levels) -> None:
        """Doubles the slots of a kind."""
        left = [pair for pair, is_whole in enumerate(levels.whole) if is_whole]
        hashes: dict[int, bytes] = {}
        for at in range(0, len(left), AT_ONCE):
            some: list[tuple[int, Sequence[bytes]]] = [
                (2 * pair, ()) for pair in left[at : at + AT_ONCE]
            ]
            self._change(kind, levels, some, {}, hashes)
        levels.set(hashes)  # changes no node above them
        levels.grow()

    def _write_tiles(self, kind: int, levels: Levels, changed: Sequence[Sequence[int]]) -> None:
        top = 0
        for depth in tile_depths(levels.depth):
            nodes, first, bits = levels.nodes[depth], node_id(kind, top, 0), depth - top
            width = HASH_SIZE << bits
            self._db.executemany(
                "INSERT OR REPLACE INTO tile VALUES (?, ?)",
                [
                    (first + tile, bytes(nodes[tile * width : (tile + 1) * width]))
                    for tile in dict.fromkeys([place >> bits for place in changed[depth]])
                ],
            )
            top = depth


def _row(found: Mapping[int, bytes], id_: int) -> bytes:
    row = found.get(id_)
    if row is None:
        raise Rot(f"bucket {id_} is gone")
    return row
