"""Following a log: from its bundles into an index that can be believed.

One round: read the newest checkpoint, verified; judge it by the trust rules of `audit.trust`; read
the entry bundles since the last one, rehash every leaf, and store chunks as pending; compare the
root with the checkpoint's; make the leaves visible. That the new tree extends the old one needs no
proof: the root is computed from the old compact range and the new leaves.

What can go wrong, and what becomes of it:

- *cannot reach*: `Unreachable` (or a retriable `Refused`). What was stored is kept, pending, and
  the next round goes on behind it.
- *cannot verify*: `VerificationError`, `FormatError`, `BadAnswer`. Whoever sent the bytes may have
  spoiled them. Pending leaves are dropped, the notes are kept as a suspicion, and the next round
  tries again.
- *stale*: `StaleCheckpoint`; a cache may lag. Nothing changes.
- *proved*: `ProvenMisbehaviour`; the log's key signed two histories. The proof is kept, and nothing
  is followed any more.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from itertools import takewhile
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from muniment.audit.trust import ProvenMisbehaviour, TrustState, describe_root
from muniment.index.addenda import AddendaRound
from muniment.index.postings import extract
from muniment.index.schema import IndexState
from muniment.index.store import Chunk, IndexStore
from muniment.index.summary import Summary
from muniment.tlog.encoding import FormatError, MunimentError, VerificationError
from muniment.tlog.heads import Head, Prefix, Relation
from muniment.tlog.merkle import CompactRange, leaf_hashes
from muniment.tlog.policy import CosignedCheckpoint
from muniment.tlog.tiles import TILE_WIDTH, Tile, bundles_of, check_bundle

CHUNK_BUNDLES: Final = 64
"""Bundles in a chunk: 16,384 leaves, a sixth of a second of work. Divides a part's bundles."""

CHUNK_BYTES: Final = 32 << 20
"""Bytes of bundles from which on a chunk ends early. Three chunks are in memory at a time."""

WINDOW: Final = 16
"""Bundles read at the same time: about 2.5 MB as a rule, 256 MB at the very most."""

Progress = Callable[[int, int], None]
"""Told (leaves stored in this round, leaves to store)."""

T = TypeVar("T")


def make_chunk(
    origin: str,
    before: CompactRange,
    bundles: Sequence[tuple[Tile, bytes]],
    *,
    keeps_bundles: bool,
) -> Chunk:
    """Hashes and indexes the leaves that follow a range; about 10 µs a leaf.

    The bundle that the range ends in holds older leaves, too; those must be the ones that were
    hashed before, which the peaks of the compact range tell.

    Args:
        origin: The log's origin.
        before: The leaves before.
        bundles: The bundles that follow, in order, at least one; the first is the one that the
            next leaf is in. All of one part (see `keys`).
        keeps_bundles: Whether the chunk shall hold the bundles.

    Raises:
        FormatError: If a bundle is malformed.
        VerificationError: If the first bundle's older leaves are not those of `before`.
    """
    known = before.size % TILE_WIDTH
    if bundles[0][0].index != before.size // TILE_WIDTH:
        raise ValueError(f"bundle {bundles[0][0].index} does not follow {before.size} leaves")
    new: list[bytes] = []  # leaf hashes
    postings: list[int] = []
    links: list[tuple[int, int]] = []
    unknown = 0
    summaries: list[Summary] = []
    # Bundle by bundle: what is in memory at a time then fits into a processor's own cache.
    for tile, data in bundles:
        entries = check_bundle(tile, data)
        hashes = leaf_hashes(entries)
        if known and not new:
            old = CompactRange.EMPTY.extend(hashes[:known])
            if old.peaks != before.peaks[-len(old.peaks) :]:
                raise VerificationError(
                    f"{tile.path}: the leaves up to {before.size} are not those that the log "
                    "served before"
                )
            del hashes[:known], entries[:known]
        found = extract(entries, before.size + len(new), origin)
        new += hashes
        postings += found.postings
        links += found.links.items()
        unknown += found.unknown
        summaries.append(Summary(tile.index, found.earliest, found.latest, found.things))
    postings.sort()
    links.sort()
    return Chunk(
        origin,
        before,
        before.extend(new),
        postings,
        dict(links),
        [(tile.index, data) for tile, data in bundles] if keeps_bundles else (),
        unknown,
        summaries,
    )


class LogSource(Protocol):
    """Where the log is read from.

    Each read raises `Unreachable` if it cannot be done now, and `VerificationError`, `FormatError`
    or `BadAnswer` if what is there is not to be believed.
    """

    async def head(self) -> CosignedCheckpoint:
        """The newest checkpoint, verified."""
        ...

    async def bundle(self, tile: Tile) -> bytes:
        """An entry bundle, as it stands at `tile.width`; unverified."""
        ...

    async def prefix(self, old: int, head: Head) -> Prefix:
        """What the tree of a head has at an older size.

        Raises MunimentError if that cannot be found out.
        """
        ...


class FollowRound(NamedTuple):
    """The checkpoint that the index now reflects, and how many leaves are new.

    `unknown` counts the leaves of the log that are neither a record nor a manifest; `taken` tells
    what became of addenda.
    """

    checkpoint: CosignedCheckpoint
    leaves: int
    unknown: int
    taken: AddendaRound = AddendaRound()


class Follower:
    """Follows one log into one index; belongs to an event loop, and does one thing at a time."""

    def __init__(
        self,
        store: IndexStore,
        source: LogSource,
        *,
        clock: Callable[[], float] = time.time,
        check: Callable[[TrustState], None] = lambda _: None,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        """Takes what it works with; `clock` gives Unix seconds.

        A chunk ends with the group of bundles in which it reaches `chunk_bytes`: fewer take less
        memory, and more transactions.

        `check` verifies what the index keeps, and raises what ends a round if that does not hold.
        The log's own index needs none: it follows from the log's own database.
        """
        self._store = store
        self._source = source
        self._clock = clock
        self._check = check
        self._chunk_bytes = chunk_bytes
        self._seen: tuple[int, int] | None = None  # the newest head, and when it was shown last

    async def step(self, progress: Progress = lambda _done, _total: None) -> FollowRound:
        """Does one round.

        Raises:
            Unreachable, Refused: If the log cannot be reached.
            VerificationError, FormatError, BadAnswer: If what it says cannot be verified.
            StaleCheckpoint: If it shows an older checkpoint than before.
            ProvenMisbehaviour: If its own signatures prove that it has two histories.
            DatabaseError, FatalDatabaseError: If the file cannot be used.
        """
        trust = await self._store.trust()
        if trust is not None:
            self._check(trust)
        if trust is not None and trust.misbehaviour is not None:
            raise ProvenMisbehaviour(trust.misbehaviour)
        asked = int(self._clock())
        new = await self._source.head()
        try:
            # The leaves themselves will show whether a larger tree continues the trusted one.
            if trust is None:
                TrustState.on_first_use(new)
            is_new = trust is None or trust.relate(new) is not Relation.SAME
        except ProvenMisbehaviour as proof:
            await self._condemn(trust, proof)
            raise
        state = await self._store.state()
        if state.origin not in (None, new.origin):
            raise VerificationError(f"{self._store.path} is of {state.origin}, not {new.origin}")
        if state.pending.size > new.size:
            # Of a checkpoint that was shown before this one, and that nobody can be asked for now.
            await self._store.drop_pending()
            state = await self._store.state()
        if is_new:
            try:
                await self._catch_up(state, new, progress)
            except (FormatError, VerificationError) as error:
                await self._suspect(trust, new, error)
                raise
        await self._store.advance(new, int(self._clock()), seen=self._seen)
        self._seen = new.size, asked
        unknown = (await self._store.state()).unknown
        return FollowRound(new, new.size - state.size, unknown)

    async def _catch_up(
        self, state: IndexState, new: CosignedCheckpoint, progress: Progress
    ) -> None:
        """Stores all leaves up to the checkpoint as pending, and compares the root.

        Three things go on at the same time: the next chunk is read, one is hashed and indexed on a
        thread, and the one before is written on the store's.
        """
        stored, first = state.pending, state.pending.size
        reading: asyncio.Task[list[tuple[Tile, bytes]]] | None = None
        writing: asyncio.Task[None] | None = None
        try:
            if first < new.size:
                reading = asyncio.create_task(self._read(first, new.size))
            while reading is not None:
                bundles = await reading
                end = bundles[-1][0].end
                reading = None
                if end < new.size:
                    reading = asyncio.create_task(self._read(end, new.size))
                chunk = await asyncio.to_thread(
                    make_chunk,
                    new.origin,
                    stored,
                    bundles,
                    keeps_bundles=self._store.keeps_bundles,
                )
                if writing is not None:
                    await writing
                writing = asyncio.create_task(self._store.add(chunk))
                stored = chunk.after
                progress(stored.size - first, new.size - first)
            if writing is not None:
                await writing
        finally:
            # A write goes on to its end in any case; nothing else may be asked of the store before.
            if writing is not None:
                await asyncio.wait([writing])
            if reading is not None:
                await _cancelled([reading])
        if stored.root() != new.root:
            raise VerificationError(
                f"the leaves give the root {describe_root(stored.root())}, the checkpoint of size "
                f"{new.size} says {describe_root(new.root)}"
            )

    async def _read(self, start: int, size: int) -> list[tuple[Tile, bytes]]:
        """Reads the bundles of the next chunk: up to the next multiple of CHUNK_BUNDLES."""
        tiles = bundles_of(start, size, size)
        first = next(tiles)
        last = first.index // CHUNK_BUNDLES
        wanted = [first, *takewhile(lambda tile: tile.index // CHUNK_BUNDLES == last, tiles)]
        read: list[tuple[Tile, bytes]] = []
        length = 0
        for at in range(0, len(wanted), WINDOW):
            group = wanted[at : at + WINDOW]
            data = await _together(map(self._source.bundle, group))
            read += zip(group, data, strict=True)
            length += sum(map(len, data))
            if length >= self._chunk_bytes:
                break
        return read

    async def _condemn(self, trust: TrustState | None, proof: ProvenMisbehaviour) -> None:
        if trust is not None:
            self._check(trust.condemned(proof.misbehaviour))
        await self._store.condemn(proof.misbehaviour)

    async def _suspect(
        self, trust: TrustState | None, new: CosignedCheckpoint, error: MunimentError
    ) -> None:
        """After leaves that did not verify: forgets them, keeps the notes, looks for a proof.

        Raises ProvenMisbehaviour if the log's tiles prove that the new tree is not an extension of
        the old one.
        """
        await self._store.drop_pending()
        await self._store.suspect(str(error), new)
        if trust is None or not trust.size:
            return
        try:
            prefix = await self._source.prefix(trust.size, new.head)
            trust.accept(new, prefix.proof, implied_root=prefix.root)
        except ProvenMisbehaviour as proof:
            await self._condemn(trust, proof)
            raise
        except MunimentError:
            return  # no proof of anything: the suspicion stands


async def _together(work: Iterable[Coroutine[Any, Any, T]]) -> Sequence[T]:
    """Runs coroutines at the same time; when one fails, the others are not left running."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        await _cancelled(tasks)
        raise


async def _cancelled(tasks: Sequence["asyncio.Task[Any]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
