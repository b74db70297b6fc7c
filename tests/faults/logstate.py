"""Looks at a log's database as a starting log does, and judges what it finds."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import signing
from judging import HeadState, decide
from log_deployment import ORIGIN
from log_tools import all_entries
from muniment.tlog.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    parse_signed_checkpoint,
    sign_checkpoint,
)
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.heads import Head
from muniment.tlog.heads import Head as WitnessHead
from muniment.tlog.merkle import CompactRange, leaf_hashes
from muniment.tlog.treereader import read_consistency, read_root
from muniment.tlog.witnesswire import AddCheckpoint
from muniment_log.core.erasing import Eraser
from muniment_log.core.integrate import restore
from muniment_log.core.retention import Retention
from muniment_log.storage.addenda import AddendaStore
from muniment_log.storage.embedded import EmbeddedTiles
from muniment_log.storage.erasing import ErasableAddenda
from muniment_log.storage.sqlite import SQLiteStore
from muniment_witness.judge.decide import NEVER, Acceptance, KnownLog
from packing import stored

SIGNER = signing.log_signer(ORIGIN)
LOG = KnownLog(ORIGIN, (verifier_for(SIGNER.vkey),))


@contextlib.contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder without a disk below it, where there is one: syncs cost nothing there."""
    memory = Path("/dev/shm")
    parent = memory if memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30 else None
    with tempfile.TemporaryDirectory(prefix="muniment-", dir=parent) as folder:
        yield Path(folder)


class History:
    """All leaves of a log, in order, and the roots of its trees."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = list(leaves)
        tree = CompactRange.EMPTY
        self.roots = [tree.root()]
        for leaf in leaf_hashes(self.leaves):
            tree = tree.extend([leaf])
            self.roots.append(tree.root())

    def head(self, size: int) -> Head:
        return Head(size, self.roots[size])


@dataclass(frozen=True, slots=True)
class Found:
    """What a database holds, after all of it was checked against the history.

    Attributes:
        size: leaves.
        signed: size of the newest signed checkpoint; -1 without one.
        published: size of the published one; -1 without one.
        addenda: digests of what the next start keeps of the addenda, or knows to be erased.
        readable: those of them of which it has the bytes.
    """

    size: int
    signed: int
    published: int
    addenda: frozenset[bytes] = frozenset()
    readable: frozenset[bytes] = frozenset()


async def look(path: Path, history: History, cosigned: Sequence[int] = ()) -> Found:
    """Opens a database as the log does, and compares all of it with what was ever logged.

    Raises AssertionError if it holds anything else than a prefix of the history.

    Args:
        path: the database.
        history: every leaf that was ever sent, in the order of its index.
        cosigned: sizes of heads that witnesses may have cosigned: they must accept what follows.
    """
    store = await SQLiteStore.open(path)
    try:
        loaded = await store.load()
        head = loaded.head
        assert head.root == history.roots[head.size]
        edge = restore(head, loaded.fragments, loaded.partials)
        tiles = EmbeddedTiles(store, edge, loaded.published)
        assert await all_entries(tiles, head.size) == history.leaves[: head.size]
        sizes = []
        for note in (loaded.signed, loaded.published):
            if note is None:
                sizes.append(-1)
                continue
            known = parse_signed_checkpoint(note).checkpoint
            assert known.size <= head.size, "a signed head is ahead of the tree"
            assert await read_root(tiles, known.size) == known.root == history.roots[known.size]
            sizes.append(known.size)
        for size in cosigned:
            await _witness_accepts(tiles, history.head(size), head)
        signed, published = sizes
        kept, readable = await _addenda(path.with_name("addenda.db"), tiles, store)
        return Found(head.size, signed, published, kept, readable)
    finally:
        await store.close()


async def _addenda(
    path: Path, tiles: EmbeddedTiles, log: SQLiteStore
) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """What a start keeps of addenda, and of which it has the bytes: those that were sent."""

    store = AddendaStore(path, ORIGIN, size=lambda: 0, waiting_bytes=1, now_ms=lambda: 0)
    try:
        await store.open()
        await store.sweep(tiles.leaves)
        eraser = Eraser(
            origin=ORIGIN,
            addenda=ErasableAddenda(store),
            sequencer=log,  # which logs nothing
            size=tiles.size,
            retention=Retention(),
            now_ms=lambda: 0,
            new_id=str,
        )
        await eraser.catch_up(tiles.leaves)
        assert not await store.rows("reading", "SELECT * FROM arriving")
        rows = [(row.digest, data) for row, data in stored(path)]
        assert all(data is None or sha256(data).digest() == digest for digest, data in rows)
        readable = frozenset(digest for digest, data in rows if data is not None)
        return frozenset(digest for digest, _ in rows), readable
    finally:
        await store.close()


async def _witness_accepts(tiles: EmbeddedTiles, known: Head, head: Head) -> None:
    """The rules of a real witness that has cosigned `known`, on the next head."""
    note: SignedCheckpoint = sign_checkpoint(Checkpoint(ORIGIN, *head), [SIGNER], 1)
    proof = await read_consistency(tiles, known.size, head.size) if known.size else ()
    request = AddCheckpoint(known.size, tuple(proof), note)
    remembered = NEVER if known.size == 0 else WitnessHead(*known)
    outcome = decide(HeadState(LOG, remembered, 1), request, 2)
    assert isinstance(outcome, Acceptance), outcome
