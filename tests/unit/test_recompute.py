"""The map made anew from a log's leaves, and compared with what its index says."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

import pytest

import index_tools as tools
from indexed_log import IndexedLog
from muniment.map import recompute, schema
from muniment.map.mapfile import MapFile
from muniment.map.recompute import Recomputer, Wrong
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.evidence import (
    WrongMapRoot,
    describe,
    explain,
    parse_evidence,
    strip,
    verify_evidence,
)
from muniment.tlog.heads import Head
from muniment.tlog.indexleaf import IndexLeaf
from muniment.tlog.note import parse_vkey
from muniment.tlog.tiles import Tile

ORIGIN = tools.ORIGIN


@pytest.fixture
def log(tmp_path: Path) -> IndexedLog:
    """600 leaves, indexed at three sizes."""
    made = IndexedLog(tmp_path / "log", ORIGIN)
    entries = tools.make_entries(Random(1), 600)
    for end in (100, 350, 600):
        made.log.leaves = entries[:end]
        made.index()
    return made


def with_map(
    path: Path, log: IndexedLog, work: Callable[[Recomputer, MapFile], Coroutine[Any, Any, None]]
) -> None:
    async def main() -> None:
        map_ = await MapFile.open(path, ORIGIN)
        try:
            await work(Recomputer(map_, log.log.fetch(), log.indexed.fetch()), map_)
        finally:
            await map_.close()

    asyncio.run(main())


def wrong_of(path: Path, log: IndexedLog, start: int = 0) -> Wrong | None:
    found: list[Wrong | None] = []

    async def work(recomputer: Recomputer, _: MapFile) -> None:
        found.append(await recomputer.compare(start, log.indexed.head))

    with_map(path, log, work)
    return found[0]


def test_an_index_of_all_leaves_is_found_to_be_one(
    tmp_path: Path, log: IndexedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recompute, "BUNDLES", 1)
    monkeypatch.setattr(recompute, "BATCH", 300)
    path = tmp_path / "map.db"
    assert wrong_of(path, log) is None
    # Again, from what was noted on the way: a witness may have stopped before it cosigned.
    assert wrong_of(path, log) is None
    assert wrong_of(path, log, 2) is None
    log.log.leaves += tools.make_entries(Random(2), 40)
    log.index()
    assert wrong_of(path, log, 3) is None


def evidence_of(log: IndexedLog, wrong: Wrong) -> WrongMapRoot:
    signed = strip(log.indexed.signed)
    return WrongMapRoot(wrong.index, wrong.leaf, wrong.proof, wrong.computed, signed)


def test_an_index_that_omits_a_record_is_evidence_for_who_has_the_leaves(
    tmp_path: Path, log: IndexedLog
) -> None:
    honest = parse_root(log)
    log.indexed.leaves.pop()
    revocation = next(
        at for at, leaf in enumerate(log.log.leaves) if b'"kind":"revocation"' in leaf
    )
    leaf = log.index(hide={revocation})
    log.log.leaves += tools.make_entries(Random(2), 40)
    log.index()
    wrong = wrong_of(tmp_path / "map.db", log)
    assert (wrong.index, wrong.leaf, wrong.computed) == (2, leaf, honest)
    made = evidence_of(log, wrong)
    again = parse_evidence(made.encode())
    assert again == made
    verifiers = [verifier_for(parse_vkey(log.indexed.vkey))]
    proven = verify_evidence(again, verifiers, computed=honest)
    assert proven.evidence == made
    text = "\n".join(explain(proven))
    assert "Leaf 2 of it is about the first 600 leaves" in text
    assert describe(made)[0].endswith("the log signed an index that is not that of its leaves.")
    for computed, reason in ((None, "takes the leaves"), (leaf.map_root, "has the root")):
        with pytest.raises(VerificationError, match=reason):
            verify_evidence(again, verifiers, computed=computed)
    other = [verifier_for(parse_vkey(log.log.vkey))]
    with pytest.raises(VerificationError, match="checkpoint 1"):
        verify_evidence(again, other, origin=log.indexed.origin, computed=honest)


def parse_root(log: IndexedLog) -> bytes:
    """The map root of all leaves."""
    root = log.index().map_root
    log.indexed.leaves.pop()
    return root


def test_what_is_no_such_evidence_cannot_be_made(tmp_path: Path, log: IndexedLog) -> None:
    log.indexed.leaves.pop()
    log.index(hide=range(600))
    wrong = wrong_of(tmp_path / "map.db", log)
    assert wrong is not None
    with pytest.raises(FormatError, match="has the root that was computed"):
        evidence_of(log, wrong._replace(computed=wrong.leaf.map_root))
    with pytest.raises(FormatError, match="not in the tree"):
        evidence_of(log, wrong._replace(index=3))
    elsewhere = IndexLeaf("other.example", wrong.leaf.head, wrong.leaf.map_root)
    with pytest.raises(FormatError, match="another index log"):
        evidence_of(log, wrong._replace(leaf=elsewhere))
    forged = evidence_of(
        log, wrong._replace(leaf=IndexLeaf(ORIGIN, Head(600, bytes(32)), bytes(32)))
    )
    with pytest.raises(VerificationError, match="evidence"):
        verify_evidence(
            forged, [verifier_for(parse_vkey(log.indexed.vkey))], computed=wrong.computed
        )


def test_leaves_that_are_not_of_the_tree_get_nowhere(tmp_path: Path, log: IndexedLog) -> None:
    path = tmp_path / "map.db"

    async def spoiled(recomputer: Recomputer, map_: MapFile) -> None:
        async def fetch(tiles: list[Tile]) -> dict[Tile, bytes]:
            contents = await log.log.fetch()(tiles)
            return {tile: data[:-1] + b"?" for tile, data in contents.items()}

        recomputer = Recomputer(map_, fetch, log.indexed.fetch())  # type: ignore[arg-type]
        with pytest.raises((VerificationError, FormatError)):
            await recomputer.compare(0, log.indexed.head)
        assert map_.size == 0

    with_map(path, log, spoiled)
    assert wrong_of(path, log) is None


def test_an_index_of_another_log_or_tree_is_not_compared(tmp_path: Path, log: IndexedLog) -> None:
    path = tmp_path / "map.db"
    good = list(log.indexed.leaves)
    for leaf, reason in (
        (IndexLeaf("other.example", log.log.head, bytes(32)), "about map 1 of other.example"),
        (IndexLeaf(ORIGIN, log.log.head, bytes(32), 2), "about map 2"),
        (IndexLeaf(ORIGIN, Head(600, bytes(32)), bytes(32)), "another tree of 600 leaves"),
    ):
        log.indexed.leaves = [*good, leaf.encode()]
        with pytest.raises(VerificationError, match=reason):
            wrong_of(path, log)


def test_a_size_that_was_passed_too_long_ago_is_computed_anew(
    tmp_path: Path, log: IndexedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "PASSED", 1)
    path = tmp_path / "map.db"
    assert wrong_of(path, log) is None
    assert wrong_of(path, log) is None
