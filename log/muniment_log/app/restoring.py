"""Rebuilds the database of a log from a mirror (C2SP tlog-mirror): whose disk is lost.

The mirror is believed nothing. Its checkpoint must be signed by the log, and cosigned by a mirror
that the log's policy or the caller names; every bundle is authenticated by that checkpoint as it
comes, the tree is built again from the leaves, and what was written is read and checked in full.
Then the witnesses are asked: a log that goes on from less than they have cosigned is a fork.

The database is made beside its place, and moved there when it is whole. One that was interrupted is
gone on with.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from muniment.http.logclient import LogClient
from muniment.http.logtiles import log_tiles
from muniment.local.sqlitefile import DatabaseError
from muniment.local.sqliteowner import DatabaseOwner
from muniment.tlog.addcheckpoint import WitnessError
from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import MunimentError, VerificationError, unframe
from muniment.tlog.mirrors import mirrors_of
from muniment.tlog.note import UnverifiedNote, verify_note
from muniment.tlog.tiles import ENTRIES, TILE_WIDTH, tile_at
from muniment.tlog.treereader import read_root
from muniment.tlog.witnesswire import origin_hash
from muniment_log.core.integrate import restore as right_edge
from muniment_log.core.rebuilding import Rebuilding
from muniment_log.errors import RolledBackError, StorageError
from muniment_log.inforce import Witnesses
from muniment_log.storage.check import check
from muniment_log.storage.contents import Contents
from muniment_log.storage.embedded import EmbeddedTiles
from muniment_log.storage.restored import finish
from muniment_log.storage.schema import create_database
from muniment_log.storage.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from muniment.tlog.heads import Head
    from muniment.tlog.note import Verified, VKey
    from muniment_log.config import LogConfig

SUFFIX: Final = ".restoring"
"""Of the database while it is being made."""

_TOGETHER: Final = 16
"""Bundles that are read together, and are one transaction."""


class MirrorHead(NamedTuple):
    """What a mirror shows: where, the checkpoint, and the mirrors' keys and times on it."""

    url: str
    signed: SignedCheckpoint
    mirrors: tuple[Verified, ...]


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored, and what others know beyond it.

    Attributes:
        head: the mirrored head, up to which everything is there.
        streams: how many there are.
        ahead: the label and the size of each witness that has cosigned a larger tree.
        same: the label and the size of each that has cosigned this one, or an older one.
        silent: the label of each that could not be asked, or shows nothing, and why.
        is_attested: whether the log's heads need a quorum, which remembers them.
    """

    head: MirrorHead
    streams: int
    ahead: tuple[tuple[str, int], ...]
    same: tuple[tuple[str, int], ...]
    silent: tuple[tuple[str, str], ...]
    is_attested: bool


async def restore(
    config: LogConfig,
    urls: Sequence[str],
    vkeys: Sequence[VKey] = (),
    tell: Callable[[int, int], None] = lambda *_: None,
) -> Restored:
    """Makes the database of a log from the mirror at one of the URLs that has the most.

    Each is the mirror's monitoring prefix, or where its copy of this log is. `vkeys` are of mirrors
    that count besides the policy's. `tell` is told how many leaves are done, and how many there
    are.

    Raises:
        DatabaseError: there is a database already, or one cannot be written.
        VerificationError: no mirror shows a checkpoint that holds, or what it serves is not of it.
        RolledBackError: a witness has cosigned another history than the mirror's.
        StorageError: the leaves are not those of a log of this kind.
        Unreachable, Refused, BadAnswer: the mirror cannot be read.
    """
    path = config.database
    with DatabaseOwner(path):
        if path.exists():
            raise DatabaseError(
                f"{path}: is there already; restore into a place where no database is"
            )
        newest = await _newest(config, urls, vkeys)
        making = path.with_name(path.name + SUFFIX)
        if not making.exists() or not making.stat().st_size:  # a power cut may leave a mere name
            await create_database(making, config.file.origin, config.vkeys, "restore")
        store = await SQLiteStore.open(making)
        try:
            await store.claim(config.file.origin, config.vkeys)
            await _fill(config, store, newest, tell)
        finally:
            await store.close()
        report = await asyncio.to_thread(
            check, making, config.file.origin, config.verifiers, full=True
        )
        if report.damage:
            raise StorageError(f"what was written is damaged: {report.damage[0].what}")
        known = await _ask_witnesses(config, making)
        await finish(making, _own(config, newest.signed).encode(), path)
        streams = sum(len(some) for some in Contents(path).streams())
        is_attested = config.policy is not None and not config.policy.is_met(())
        return Restored(newest, streams, *known, is_attested)


async def _newest(config: LogConfig, urls: Sequence[str], vkeys: Sequence[VKey]) -> MirrorHead:
    """The largest head that a mirror shows; the error of the last one if none does."""
    keys = [*vkeys]
    if config.policy is not None:
        keys += [witness.vkey for witness in mirrors_of(config.policy)]
    if not keys:
        raise VerificationError(
            "no mirror's key is known: the policy names no mirrors; give it with --vkey"
        )
    found: list[MirrorHead] = []
    failure: MunimentError | None = None
    for url in urls:
        try:
            found.append(await _head_of(config, url, keys))
        except MunimentError as error:
            failure = error
    if not found:
        raise failure or VerificationError("no mirror was named")
    return max(found, key=lambda head: head.signed.checkpoint.size)


async def _head_of(config: LogConfig, url: str, keys: Sequence[VKey]) -> MirrorHead:
    origin = config.file.origin
    place, name = url.rstrip("/"), origin_hash(origin)
    if not place.endswith(f"/{name}"):  # a monitoring prefix
        place = f"{place}/{name}"
    data = await _checkpoint(config, place)
    signed = parse_signed_checkpoint(data)
    if signed.checkpoint.origin != origin:
        raise VerificationError(f"{place}: is of the log {signed.checkpoint.origin}")
    try:
        verify_note(signed.note, config.verifiers)
    except VerificationError as error:
        raise VerificationError(f"{place}: not signed by this log's keys: {error}") from None
    try:
        mirrors = verify_note(signed.note, [verifier_for(key) for key in keys]).signatures
    except VerificationError as error:
        raise VerificationError(
            f"{place}: not cosigned by a mirror that the policy or --vkey names: {error}"
        ) from None
    if not all(mirror.timestamp for mirror in mirrors):
        raise VerificationError(f"{place}: a mirror's cosignature states no time")
    return MirrorHead(place, signed, mirrors)


async def _checkpoint(config: LogConfig, url: str) -> bytes:
    async with LogClient(url, access=config.file.outgoing.access) as client:
        return await client.checkpoint()


async def _fill(
    config: LogConfig,
    store: SQLiteStore,
    newest: MirrorHead,
    tell: Callable[[int, int], None],
) -> None:
    """Writes what is missing up to the mirrored head, a few bundles a transaction."""
    head = newest.signed.checkpoint.head
    loaded = await store.load()
    edge = right_edge(loaded.head, loaded.fragments, loaded.partials)
    streams = {key: state for some in Contents(store.path).streams() for key, state in some}
    rebuilding = Rebuilding(config.file.origin, edge, config.file.limits.recalled_records, streams)
    async with LogClient(newest.url, access=config.file.outgoing.access) as client:
        tiles = log_tiles(client, head)
        while rebuilding.next < head.size:
            at = rebuilding.next
            first = at // TILE_WIDTH
            last = min(first + _TOGETHER, -(-head.size // TILE_WIDTH))
            wanted = [tile_at(ENTRIES, index, head.size) for index in range(first, last)]
            found = await tiles.read(wanted)
            leaves = [leaf for tile in wanted for leaf in unframe(found[tile])]
            commit = rebuilding.add(leaves[at - first * TILE_WIDTH :])
            if commit is not None:
                for kept in commit.kept:
                    await store.remember(kept)
                await store.commit(replace(commit, kept=()))
            tell(min(rebuilding.next, head.size), head.size)
    _compare(rebuilding, head)


def _compare(rebuilding: Rebuilding, head: Head) -> None:
    if not rebuilding.is_whole:
        raise StorageError("the mirrored head ends within a batch: it is not of a log of this kind")
    if rebuilding.edge.head != head:
        raise StorageError(
            f"the tree of {rebuilding.edge.head.size} leaves that was made is not the mirrored one "
            f"of {head.size}: remove what {SUFFIX} has, and restore again"
        )


def _own(config: LogConfig, signed: SignedCheckpoint) -> SignedCheckpoint:
    """The checkpoint with the log's own signatures alone."""
    known = {(key.vkey.name, key.vkey.key_id) for key in config.verifiers}
    lines = [line for line in signed.note.signatures if (line.name, line.key_id) in known]
    return parse_signed_checkpoint(UnverifiedNote(signed.note.text, tuple(lines)).encode())


async def _ask_witnesses(
    config: LogConfig, making: Path
) -> tuple[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...], tuple[tuple[str, str], ...]]:
    """Who has cosigned more than was restored, who as much or less, and who does not say."""
    ahead: list[tuple[str, int]] = []
    same: list[tuple[str, int]] = []
    silent: list[tuple[str, str]] = []
    store = await SQLiteStore.open(making)
    try:
        loaded = await store.load()
        edge = right_edge(loaded.head, loaded.fragments, loaded.partials)
        tiles = EmbeddedTiles(store, edge, None)
        async with Witnesses(config) as witnesses:
            for witness in witnesses.asked.all:
                try:
                    signed = await witness.latest(config.file.origin, config.verifiers)
                    why = "it shows no head of this log"
                except WitnessError as error:
                    signed, why = None, str(error)
                if signed is None:
                    if witness not in witnesses.asked.mirrors:  # they show theirs elsewhere
                        silent.append((witness.label, why))
                    continue
                known = signed.checkpoint
                if known.size > edge.head.size:
                    ahead.append((witness.label, known.size))
                elif await read_root(tiles, known.size) != known.root:
                    raise RolledBackError(
                        f"the mirror holds another history: at size {known.size} its root is not "
                        f"the one that this log signed and the witness {witness.label} has seen"
                    )
                else:
                    same.append((witness.label, known.size))
    finally:
        await store.close()
    return tuple(ahead), tuple(same), tuple(silent)
