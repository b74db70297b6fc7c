"""The map's file against the tree in memory: any batches, any end of the process, any rot."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import index_tools as tools
from memtree import MemTree, list_value
from muniment.local.sqlitefile import DatabaseError
from muniment.map import batch, levels
from muniment.map.bucket import CHUNK, INLINE
from muniment.map.mapfile import MapFile
from muniment.map.reader import MapReader
from muniment.records.touched import map_key, touched
from muniment.tlog.merkle import leaf_hashes, root_of
from muniment.tlog.mpt import EMPTY, verify_many

ABSENT = (map_key("execution", "no-such-run"), map_key("stream", "nobody"), b"\x7f" + bytes(31))


class Expected:
    """What the map of some leaves is, from its definition."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.lists: dict[bytes, list[int]] = {}
        for index, leaf in enumerate(leaves):
            for key in touched(leaf, tools.ORIGIN):
                self.lists.setdefault(key, []).append(index)
        self.tree = MemTree((key, list_value(one)) for key, one in self.lists.items())


@pytest.fixture
def few_keys_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small maps have many slots, so that slots are halved, in several steps, and have tiles."""
    for module in (levels, batch):
        monkeypatch.setattr(module, "LOAD", 1)
    monkeypatch.setattr(batch, "AT_ONCE", 3)


def apply(path: Path, *batches: Sequence[bytes]) -> bytes:
    async def main() -> bytes:
        map_ = await MapFile.open(path, tools.ORIGIN)
        try:
            for leaves in batches:
                await map_.apply(map_.size, leaves)
            return map_.root
        finally:
            await map_.close()

    return asyncio.run(main())


def check(path: Path, leaves: Sequence[bytes], random: Random) -> None:
    expected = Expected(leaves)
    with MapReader(path) as reader:
        assert reader.root == expected.tree.root
        assert reader.state.range.root() == root_of(leaf_hashes(leaves))
        known = sorted(expected.lists)
        asked = [*random.sample(known, min(5, len(known))), *ABSENT]
        values, proof = reader.prove_many(asked)
        assert (values, proof) == expected.tree.prove_many(asked)
        verify_many(reader.root, values, proof)
        for key in asked:
            assert reader.indices(key) == expected.lists.get(key, [])


@pytest.mark.usefixtures("few_keys_a_slot")
@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 1 << 32), st.lists(st.integers(0, 120), min_size=1, max_size=5), st.booleans()
)
def test_any_batches_make_the_map_of_the_leaves(
    tmp_path_factory: pytest.TempPathFactory, seed: int, counts: list[int], reopened: bool
) -> None:
    random = Random(seed)
    path = tmp_path_factory.mktemp("map") / "map.db"
    leaves = mixed(random, sum(counts))
    ends = [sum(counts[: at + 1]) for at in range(len(counts))]
    batches = [leaves[end - count : end] for count, end in zip(counts, ends, strict=True)]
    if reopened:
        for one in batches:
            apply(path, one)
    else:
        apply(path, *batches)
    check(path, leaves, random)


def mixed(random: Random, count: int) -> list[bytes]:
    """Records that refer to each other, and twice as many on runs that nothing else refers to."""
    entries = tools.make_entries(random, count)
    runs = [f"{random.getrandbits(64):x}" for _ in range(count)]
    return [
        outcomes(run, 1)[0] if random.random() < 0.67 else entry
        for run, entry in zip(runs, entries, strict=True)
    ]


def outcomes(run: str, count: int) -> list[bytes]:
    return [
        b'{"id":"%d","kind":"outcome","execution":"%s"}' % (n, run.encode()) for n in range(count)
    ]


def test_a_list_is_as_it_should_be_at_each_length_where_its_form_changes(tmp_path: Path) -> None:
    path, leaves = tmp_path / "map.db", list[bytes]()
    for more in (1, INLINE - 1, 1, CHUNK - INLINE - 3, 1, 1, CHUNK, 2 * CHUNK + 1, CHUNK - 2, 1, 1):
        added = [*outcomes("a", more), *outcomes("b", 1)]
        apply(path, added)
        leaves += added
        check(path, leaves, Random(0))
        with MapReader(path) as reader:
            expected = Expected(leaves)
            for run in "ab":
                key = map_key("execution", run)
                assert reader.indices(key) == expected.lists[key]
                assert reader.value(key) == list_value(expected.lists[key])


def test_an_empty_map_has_the_empty_root_and_proves_absence(tmp_path: Path) -> None:
    path = tmp_path / "map.db"
    assert apply(path) == EMPTY
    with MapReader(path) as reader:
        assert reader.prove_many(ABSENT) == (dict.fromkeys(ABSENT), b"")
        assert reader.indices(ABSENT[0]) == []


def test_a_reader_goes_on_seeing_the_map_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "map.db"
    leaves = tools.make_entries(Random(1), 200)
    apply(path, leaves[:100])
    with MapReader(path) as reader:
        apply(path, leaves[100:])
        asked = [*sorted(Expected(leaves).lists)[::9], *ABSENT]
        assert reader.prove_many(asked) == Expected(leaves[:100]).tree.prove_many(asked)
        assert reader.refresh().range.size == reader.size == 200
        assert reader.prove_many(asked) == Expected(leaves).tree.prove_many(asked)


def test_leaves_come_in_order_and_of_one_log(tmp_path: Path) -> None:
    path = tmp_path / "map.db"

    async def main() -> None:
        map_ = await MapFile.open(path, tools.ORIGIN)
        with pytest.raises(ValueError, match="leaf 1 does not follow 0 leaves"):
            await map_.apply(1, [b"{}"])
        await map_.apply(0, tools.make_entries(Random(2), 50))
        with pytest.raises(DatabaseError, match="in use"):
            await MapFile.open(path, tools.ORIGIN)
        await map_.clear()
        assert (map_.size, map_.root) == (0, EMPTY)
        await map_.apply(0, tools.make_entries(Random(3), 60))
        await map_.close()
        with pytest.raises(DatabaseError, match=r"map 1 of .*, not map 1 of other\.example"):
            await MapFile.open(path, "other.example")

    asyncio.run(main())
    check(path, tools.make_entries(Random(3), 60), Random(0))


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from random import Random
import index_tools as tools
from muniment.local.sqlitefile import Writer
from muniment.map.mapfile import MapFile

path, when = Path(sys.argv[1]), sys.argv[2]
leaves = tools.make_entries(Random(5), 400)

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    map_ = await MapFile.open(path, tools.ORIGIN)
    await map_.apply(0, leaves[:200])
    if when.isdecimal():
        seen = iter(range(int(when)))
        trace = lambda _: next(seen, None) is None and die()
        await map_._writer.run(lambda db: db.set_trace_callback(trace))
    else:
        commit = Writer.commit
        def killed(self, db):
            if when == "after":
                commit(self, db)
            die()
        Writer.commit = killed
    await map_.apply(200, leaves[200:])
    print("alive")

asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["before", "after", "1", "5", "40"])
def test_a_process_that_is_killed_leaves_a_whole_batch_or_none(tmp_path: Path, when: str) -> None:
    path = tmp_path / "map.db"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, path, when],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    leaves = tools.make_entries(Random(5), 400)
    with MapReader(path) as reader:
        assert reader.size == (400 if when == "after" else 200)
        size = reader.size
    check(path, leaves[:size], Random(0))
    apply(path, leaves[size:])
    check(path, leaves, Random(0))


def read_all(path: Path, keys: Iterable[bytes]) -> None:
    with MapReader(path) as reader:
        for key in keys:
            reader.prove_many([key])
            reader.indices(key)


def damage() -> Iterator[tuple[str, str]]:
    """Statements that damage one place each, and where."""
    flip = "substr({0}, 1, {1}) || x'55' || substr({0}, {1} + 2)"
    for table, column, at in (
        ("bucket", "data", 40),
        ("bucket", "root", 5),
        ("tile", "hashes", 5),
        ("kind", "root", 5),
        ("chunk", "data", 3),
    ):
        changed = flip.format(column, at)
        yield table, f"UPDATE {table} SET {column} = CAST({changed} AS BLOB)"
    yield "bucket", "DELETE FROM bucket WHERE id % 3 = 0"
    yield "chunk", "DELETE FROM chunk"
    yield "tile", "DELETE FROM tile"


@pytest.mark.usefixtures("few_keys_a_slot")
@pytest.mark.parametrize(("table", "statement"), list(damage()))
def test_what_has_rotted_is_noticed_before_it_is_told(
    tmp_path: Path, table: str, statement: str
) -> None:
    path = tmp_path / "map.db"
    leaves = [*mixed(Random(7), 900), *outcomes("long", 150)]
    apply(path, leaves)
    with tools.database(path) as db:
        (rows,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert rows
        db.execute(statement)
    with pytest.raises(DatabaseError, match="rotten"):
        read_all(path, Expected(leaves).lists)


@pytest.mark.usefixtures("few_keys_a_slot")
@pytest.mark.parametrize("column", ["data", "root"])
def test_nothing_is_built_on_a_rotten_bucket_and_the_map_is_made_again(
    tmp_path: Path, column: str
) -> None:
    path = tmp_path / "map.db"
    leaves = tools.make_entries(Random(8), 300)
    apply(path, leaves)
    with tools.database(path) as db:
        db.execute(f"UPDATE bucket SET {column} = CAST(x'00' || substr({column}, 2) AS BLOB)")

    async def main() -> None:
        map_ = await MapFile.open(path, tools.ORIGIN)
        with pytest.raises(DatabaseError, match=r"rotten.*can be made again"):
            await map_.apply(300, leaves)
        assert map_.size == 300
        await map_.clear()
        await map_.apply(0, leaves)
        await map_.close()

    asyncio.run(main())
    check(path, leaves, Random(0))


def test_what_is_no_map_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with tools.database(path) as db:
        db.execute("CREATE TABLE x (y)")
    with pytest.raises(DatabaseError, match="not a map"):
        MapReader(path)
    with pytest.raises(DatabaseError, match="no such database"):
        MapReader(tmp_path / "none.db")
