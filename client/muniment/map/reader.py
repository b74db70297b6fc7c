"""Reading a map's file at one size, in any process: values, whole lists, proofs.

A reader keeps one transaction open: it goes on seeing the map as it was, however far its writer
gets meanwhile, until it is closed or told to `refresh`. What it reads is checked on the way from
the root down, so that nothing rotten gets into an answer.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Self

from muniment.local.sqlitefile import CACHE_KIBIBYTES, DatabaseError, open_reader
from muniment.local.sqliteopen import first_look, select
from muniment.map import bucket, proving
from muniment.map.bucket import ABSENT, Rot
from muniment.map.levels import KIND_BITS
from muniment.map.schema import (
    APPLICATION_ID,
    MapState,
    node_id,
    read_state,
    tile_depths,
)
from muniment.tlog.merkle import HASH_SIZE, split_hashes

MAX_KEPT: Final = 200_000
"""Nodes that a reader keeps for the next question: some 30 MB."""

MAX_BUCKETS: Final = 4096
"""Buckets that it keeps."""


class MapReader:
    """Reads one map; close it before its writer, if that is in this process.

    It belongs to one thread at a time. Every question raises `DatabaseError` if the file cannot be
    read, or contradicts itself.
    """

    def __init__(self, path: Path) -> None:
        """Opens the file. Raises DatabaseError if there is no map at the path."""
        self.path: Final = path
        self._db = open_reader(path, cache=CACHE_KIBIBYTES)
        with first_look(self._db, path, APPLICATION_ID, "a map"):
            self.refresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the transaction, and closes the connection."""
        self._db.close()

    def refresh(self) -> MapState:
        """Goes on to what is committed now."""
        if self._db.in_transaction:
            self._db.execute("COMMIT")
        self._db.execute("BEGIN")
        try:
            self._state = read_state(self._db)
            rows = self._db.execute("SELECT kind, depth, root FROM kind").fetchall()
            roots = {kind: root for kind, _, root in rows}
            if proving.root_of(roots) != self._state.root:
                raise Rot("its kinds do not lead to its root")
        except Rot as error:
            raise self._rotten(error) from None
        self._depths = {kind: depth for kind, depth, _ in rows}
        self._nodes: dict[tuple[int, int, int], bytes] = {
            (kind, 0, 0): root for kind, root in roots.items()
        }
        self._buckets: dict[int, dict[bytes, bytes]] = {}
        return self._state

    @property
    def state(self) -> MapState:
        """What the answers reflect."""
        return self._state

    @property
    def size(self) -> int:
        """How many leaves the map has taken."""
        return self._state.range.size

    @property
    def root(self) -> bytes:
        """The root of the map."""
        return self._state.root

    def value(self, key: bytes) -> bytes | None:
        """The value of a key: the count and root of its list; None for a key without leaves."""
        found = self._list(key)
        return None if found is None else bucket.value_of(found)

    def indices(self, key: bytes) -> list[int]:
        """The leaf indices of a key, ascending."""
        found = self._list(key)
        if found is None:
            return []
        data = bucket.indices_of(found)
        if bucket.count_of(found) >= bucket.CHUNK:
            data = self._chunks(key) + data
        if bucket.root_of_indices(data) != bucket.value_of(found):
            raise self._rotten(Rot(f"the list of key {key.hex()}"))
        width = bucket.INDEX_BYTES
        return [int.from_bytes(data[at : at + width], "big") for at in range(0, len(data), width)]

    def prove_many(self, keys: Iterable[bytes]) -> tuple[dict[bytes, bytes | None], bytes]:
        """The values of some keys, and one proof of all of them, see `mpt.verify_many`."""
        asked = list(keys)
        if len(self._nodes) > MAX_KEPT:
            self._nodes = {node: hash_ for node, hash_ in self._nodes.items() if node[1] == 0}
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets = {}
        try:
            return {key: self.value(key) for key in asked}, proving.prove(self, asked)
        except Rot as error:
            raise self._rotten(error) from None

    def kinds(self) -> Sequence[int]:
        """See `proving.Nodes`."""
        return sorted(self._depths)

    def hash_at(self, kind: int, depth: int, place: int) -> bytes:
        """See `proving.Nodes`; raises Rot."""
        node = kind, depth, place
        if node not in self._nodes:
            slots = self._depths[kind]
            depths = [0, *tile_depths(slots), slots]
            low = next(at for at, one in enumerate(depths) if one >= depth)
            top = depths[low - 1]
            self._read_tile(kind, top, place >> (depth - top), depths[low])
        return self._nodes[node]

    def items(self, kind: int, depth: int, place: int) -> Sequence[tuple[bytes, bytes]] | None:
        """See `proving.Nodes`; raises Rot."""
        lists = self._bucket(kind, depth, place)
        if lists is None:
            return None
        byte = bytes((kind,))
        return [(byte + key, bucket.value_of(list_)) for key, list_ in sorted(lists.items())]

    def _chunks(self, key: bytes) -> bytes:
        """The indices of a long list that are in full chunks."""
        asked = "SELECT data FROM chunk WHERE key = ? ORDER BY number"
        return b"".join([row for (row,) in self._rows(asked, key)])

    def _list(self, key: bytes) -> bytes | None:
        kind = key[0]
        if kind not in self._depths:
            return None
        depth = self._depths[kind]
        place = int.from_bytes(key[1:9], "big") >> (64 - depth)
        try:
            lists = self._bucket(kind, depth - 1, place >> 1) if depth else None
            if lists is None:
                lists = self._bucket(kind, depth, place)
        except Rot as error:
            raise self._rotten(error) from None
        return None if lists is None else lists.get(key[1:])

    def _bucket(self, kind: int, depth: int, place: int) -> dict[bytes, bytes] | None:
        """The lists of a bucket; None for a node above the buckets. Raises Rot."""
        slots = self._depths[kind]
        if depth < slots - 1:
            return None
        id_ = node_id(kind, depth, place)
        if id_ in self._buckets:
            return self._buckets[id_]
        hash_ = self.hash_at(kind, depth, place)
        rows = self._rows("SELECT data FROM bucket WHERE id = ?", id_)
        if not rows:
            if depth < slots:
                return None
            if hash_ != ABSENT:
                raise Rot(f"no bucket {id_}")
            return {}
        byte, stored_lists = bytes((kind,)), bucket.parse(rows[0][0])
        lists: dict[bytes, bytes] = {}
        for key, stored in stored_lists.items():
            lists[key] = list_ = stored[HASH_SIZE:]
            if bucket.hashed(byte + key, list_) != stored:
                raise Rot(f"key {(byte + key).hex()}")
        if bucket.hash_of(sorted(stored_lists.items())) != hash_:
            raise Rot(f"bucket {id_}")
        self._buckets[id_] = lists
        return lists

    def _read_tile(self, kind: int, top: int, place: int, low: int) -> None:
        """Reads the hashes at a depth below a node, and checks that they lead to it."""
        expected = self.hash_at(kind, top, place)
        nodes: dict[tuple[int, int], bytes] = {}
        if low < self._depths[kind]:
            rows = self._rows("SELECT hashes FROM tile WHERE id = ?", node_id(kind, top, place))
            hashes = split_hashes(rows[0][0]) if rows else []
            first = place << (low - top)
            nodes = {(low, first + at): hash_ for at, hash_ in enumerate(hashes)}
        else:
            for depth in {max(low - 1, top), low}:
                width = depth - top
                first = node_id(kind, depth, place << width)
                rows = self._rows(
                    "SELECT id - ?1, root FROM bucket WHERE id BETWEEN ?1 AND ?2",
                    first,
                    first + (1 << width) - 1,
                )
                for at, hash_ in rows:
                    nodes[depth, (place << width) + at] = hash_
        for depth in range(low - 1, top - 1, -1):
            first = place << (depth - top)
            for node in range(first, first + (1 << depth - top)):
                left = nodes.setdefault((depth + 1, 2 * node), ABSENT)
                right = nodes.setdefault((depth + 1, 2 * node + 1), ABSENT)
                if (depth, node) not in nodes:
                    if ABSENT in (left, right):
                        nodes[depth, node] = right if left == ABSENT else left
                    else:
                        nodes[depth, node] = bucket.inner(KIND_BITS + depth, left, right)
        if nodes.get((top, place), ABSENT) != expected:
            raise Rot(f"the hashes below node {node_id(kind, top, place)}")
        self._nodes.update({(kind, *node): hash_ for node, hash_ in nodes.items()})

    def _rows(self, sql: str, *values: object) -> list[Any]:
        return select(self._db, self.path, sql, values)

    def _rotten(self, error: Rot) -> DatabaseError:
        return DatabaseError(f"{self.path}: rotten: {error}; it can be made again")
