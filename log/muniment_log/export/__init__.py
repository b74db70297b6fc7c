"""Exporting a log as static files (C2SP tlog-tiles): for a plain web server, or a CDN's bucket.

Everything exported is computed again from the published leaves and compared with what the log holds
before it is written, so an export is a check of the log as well. Files other than the checkpoint
never change. The checkpoint is written last, and only over a tree whose root is the one it states.

An export that was interrupted goes on where it was: what is complete in the target is found by a
binary search, because full tiles appear there in order, a step at a time.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.tiles import CHECKPOINT, ENTRIES, TILE_WIDTH, Tile, bundles_of
from muniment.tlog.treereader import TreeTiles
from muniment_log.core.edges import upper_partials
from muniment_log.core.heads import read_own_checkpoint
from muniment_log.core.integrate import EMPTY_EDGE, edge_of, integrate
from muniment_log.core.runs import run_of
from muniment_log.errors import RolledBackError, StorageError
from muniment_log.export.addenda import AddendaTarget, carry_addenda, remove_erased
from muniment_log.storage.tilewriter import write_partials, write_tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from muniment.tlog.checkpoint import Checkpoint
    from muniment.tlog.heads import Head
    from muniment.tlog.note import Verifier
    from muniment_log.core.integrate import RightEdge
    from muniment_log.core.ports import TileSource
    from muniment_log.export.addenda import AddendaSource

MIN_INDEX: Final = "min_index"
"""The file that says from which entry on a pruned target has them."""

ARCHIVE: Final = "archive"
"""The file that makes a target an archive, from which nothing is removed."""

_TOGETHER: Final = 1000  # files removed by one call

STEP: Final = 32
"""Bundles read, checked and written together: 5 MB as a rule, 512 MiB at the very most."""


class ExportTarget(AddendaTarget, Protocol):
    """Where an export goes; names are the paths of tlog-tiles."""

    async def create_many(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Writes files that never change, durably; those that are there must be the same.

        Raises StorageError if one holds something else, or cannot be written.
        """
        ...


class ExportResult(NamedTuple):
    """What an export did: leaves under the target's checkpoint before, and now.

    Attributes:
        addenda: How many addenda were written, and how many were erased; None if there are none.
    """

    before: int
    size: int
    addenda: tuple[int, int] | None = None


async def export(
    source: TileSource,
    note: bytes | None,
    *,
    origin: str,
    keys: Sequence[Verifier],
    target: ExportTarget,
    tell: Callable[[int, int], None] = lambda *_: None,
    old: Sequence[Verifier] = (),
    addenda: AddendaSource | None = None,
    takes_addenda: bool = False,
    min_index: int = 0,
) -> ExportResult:
    """Brings a target to the published tree of a log.

    The target is empty, or an earlier export of the same log, complete or not; `old` verifies keys
    that the log had before, by which the target's checkpoint may be. `tell` is told now and then
    how many leaves are done, and how many there are. Addenda are taken along when that is wanted;
    what was taken along is removed when it was erased. The source lacks entries before `min_index`:
    the target must have them.

    Raises:
        RolledBackError: the target holds more than the log has published, or another history.
        StorageError: the log, the target or the way to one of them is damaged; or nothing is
            published yet.
        UnavailableError: an object store cannot be reached.
    """
    if note is None:
        raise StorageError("the log has not published anything yet")
    checkpoint = read_own_checkpoint(note, "the log's checkpoint", origin, keys)
    before = await present(target, checkpoint, origin, keys, old=old)
    edge = await carry(source, checkpoint.head, target, tell, min_index)
    await write_partials(target, edge)
    # Before the checkpoint, so that nobody misses the addendum of a record that is there already.
    carried = await carry_addenda(source, addenda, target, checkpoint.size, takes=takes_addenda)
    await target.replace(CHECKPOINT, note)
    if carried is None:
        return ExportResult(before, checkpoint.size)
    await remove_erased(target, carried)
    return ExportResult(before, checkpoint.size, (carried.written, len(carried.erased)))


async def carry(
    source: TileSource,
    head: Head,
    target: ExportTarget,
    tell: Callable[[int, int], None],
    min_index: int = 0,
) -> RightEdge:
    """Brings the full bundles and tiles of a tree to a target, from where an earlier call got to.

    Reads full tiles and bundles only, and the last bundle. Returns the tree's right edge, for its
    partial tiles. Raises StorageError if the leaves do not make the tree's root, or one of the two
    is damaged, or the target lacks entries before `min_index`, which the source lacks too.
    """
    full = head.size // TILE_WIDTH
    complete, least = await _complete(target, full), min_index // TILE_WIDTH
    if complete < least:
        raise StorageError(
            f"{target.name} lacks entries before {min_index}, which the log has pruned: export to "
            "its archive, or to a copy of that"
        )
    at = max(least, complete - STEP)
    edge = await _edge(target, at * TILE_WIDTH)
    reading = asyncio.ensure_future(_read(source, at, full))
    try:
        while at < full:
            tell(at * TILE_WIDTH, head.size)
            found = await reading
            at = min(at + STEP, full)
            reading = asyncio.ensure_future(_read(source, at, full))
            edge = await _write(target, edge, found)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    for tile in bundles_of(full * TILE_WIDTH, head.size, head.size):
        data = (await source.read([tile]))[tile]
        edge = integrate(edge, [run_of(tile.start, tile.width, data)]).edge
    if edge.head != head:
        raise StorageError(
            f"the leaves do not make the root of the log's tree of {head.size}: they are damaged, "
            f"or what {target.name} holds of it is; do not trust what is there"
        )
    return edge


async def prune(target: ExportTarget, min_index: int) -> None:
    """Removes what the log has pruned from a target that is no archive, which says so first.

    Raises StorageError if it cannot be changed, UnavailableError if it cannot be reached.
    """
    if min_index == 0 or await is_archive(target):
        return
    await target.replace(MIN_INDEX, b"%d\n" % min_index)
    for at in range(0, min_index // TILE_WIDTH, _TOGETHER):
        places = range(at, min(at + _TOGETHER, min_index // TILE_WIDTH))
        await target.remove(Tile(ENTRIES, index).path for index in places)


async def is_archive(target: ExportTarget) -> bool:
    """Whether entries were put there before the log gave them up."""
    try:
        await target.get(ARCHIVE)
    except LookupError:
        return False
    return True


async def _fetch(target: ExportTarget, tiles: Sequence[Tile]) -> dict[Tile, bytes]:
    """Reads tiles as the target has them, unverified."""
    try:
        return {tile: await target.get(tile.path) for tile in tiles}
    except LookupError as error:
        raise StorageError(f"{target.name} is damaged: {error}") from error


async def present(
    target: ExportTarget,
    checkpoint: Checkpoint,
    origin: str,
    keys: Sequence[Verifier],
    *,
    old: Sequence[Verifier] = (),
) -> int:
    """Leaves under the target's checkpoint, after checking that the log continues it.

    Raises:
        RolledBackError: the target holds more than the log has published, or another history.
        StorageError: it is damaged, or of another log.
    """
    try:
        note = await target.get(CHECKPOINT)
    except LookupError:
        return 0
    try:
        known = read_own_checkpoint(note, f"the checkpoint in {target.name}", origin, [*keys, *old])
    except StorageError as error:
        raise StorageError(
            f"{error}. If it is by a key that this log had before, name that with --old-vkey; "
            "else it is another log's, and an export needs a folder of its own"
        ) from error
    if known.size > checkpoint.size:
        raise RolledBackError(
            f"{target.name} holds {known.size} leaves, the log has published {checkpoint.size}"
        )
    if known.size == checkpoint.size and known.root != checkpoint.root:
        raise RolledBackError(f"{target.name} holds another history of {known.size} leaves")
    try:
        await TreeTiles(known.head, partial(_fetch, target)).read(())
    except (FormatError, VerificationError) as error:
        what = "the tiles do not make the root of its checkpoint"
        raise StorageError(f"{target.name}: {what}: {error}") from error
    return known.size


async def _complete(target: ExportTarget, full: int) -> int:
    """About how many full tiles the target has: at most a step more than without gaps."""
    least, most = 0, full
    while least < most:
        middle = (least + most + 1) // 2
        try:
            await target.get(Tile(0, middle - 1).path)
        except LookupError:
            most = middle - 1
        else:
            least = middle
    return least


async def _edge(target: ExportTarget, size: int) -> RightEdge:
    """The right edge of a tree of full bundles, out of the target's tiles."""
    if size == 0:
        return EMPTY_EDGE

    async def read(wanted: Sequence[tuple[int, int]]) -> list[bytes]:
        return list((await _fetch(target, [Tile(*place) for place in wanted])).values())

    # Unverified for now: `carry` compares the root of the tree that grows out of this edge.
    return edge_of(size, (), await upper_partials(size, read))


async def _read(source: TileSource, at: int, full: int) -> dict[Tile, bytes]:
    """The bundles and tiles of one step; none at the end."""
    places = range(at, min(at + STEP, full))
    return dict(await source.read([Tile(kind, index) for index in places for kind in (ENTRIES, 0)]))


async def _write(target: ExportTarget, edge: RightEdge, found: dict[Tile, bytes]) -> RightEdge:
    """Checks one step and writes it; tiles come last, since `_complete` goes by them."""
    runs = [
        run_of(tile.start, TILE_WIDTH, data)
        for tile, data in found.items()
        if tile.level == ENTRIES
    ]
    change = await asyncio.to_thread(integrate, edge, runs)
    for level, index, data in change.tiles:
        if level == 0 and found[Tile(0, index)] != data:
            raise StorageError(
                f"entry bundle {index} of the log is not the one that its hash tile is of"
            )
    await write_tiles(target, change)
    return change.edge
