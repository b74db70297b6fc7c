"""Checks a cluster: its published tree leaf by leaf, and the addenda against records and bucket.

It reads beside a running cluster. What seems wrong with an addendum is looked at again, because it
may have been erased, or got its place, in between.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from muniment.records.manifest import MANIFEST
from muniment.tlog.encoding import FormatError, unframe
from muniment.tlog.tiles import ENTRIES
from muniment_log.cluster import addendarows
from muniment_log.cluster.addendaobjects import GONE, AddendaObjects
from muniment_log.cluster.exporting import open_bucket, published_tree
from muniment_log.cluster.keys import check_keys
from muniment_log.cluster.migrate import check_schema
from muniment_log.cluster.startup import Startup
from muniment_log.core.addenda import Erased
from muniment_log.core.heads import read_own_checkpoint
from muniment_log.core.naming import KEPT, kept_by
from muniment_log.errors import EngineRefusedError, StorageError
from muniment_log.export import carry
from muniment_service.soundness import Findings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from muniment.tlog.tiles import Tile
    from muniment_log.cluster.database import Database
    from muniment_log.config import LogConfig
    from muniment_log.core.ports import TileSource

ADDENDUM: Final = "addendum"
TREE: Final = "tree"

AT_ONCE: Final = 32
"""Objects that are read at the same time."""

_PAGE: Final = 1000  # rows

_LOOKS: Final = 3
"""How often an addendum is looked at before it is said to be damaged."""


async def check_cluster(
    config: LogConfig, *, full: bool, tell: Callable[[int, int], None]
) -> tuple[Findings, int]:
    """Checks a cluster; the findings, and how many leaves are published.

    A full check rereads every leaf and every addendum, and looks for those of which a record says
    that the log keeps them; otherwise it is only seen whether bucket and database can be read.
    `tell` is told now and then how many leaves are done, and how many there are.

    Raises:
        DatabaseError: the database cannot be used.
        WrongIdentityError: it is another log's.
        StorageError: it, or the bucket, refuses.
        UnavailableError: one of them cannot be reached.
    """
    origin, findings = config.file.origin, Findings()
    objects = open_bucket(config.cluster.object_store)
    database = None
    try:
        database = await Startup(config.cluster).database(2)
        await check_schema(database)
        await check_keys(database, origin, config.vkeys)
        tiles, note = await published_tree(objects)
        if note is None:
            return findings, 0
        head = read_own_checkpoint(note, "the checkpoint", origin, config.verifiers).head
        if not full:
            return findings, head.size
        source = _Promises(tiles)
        try:
            await carry(source, head, _Nowhere(objects.name), tell)
        except EngineRefusedError:
            raise
        except (FormatError, StorageError) as error:
            findings.add(TREE, str(error))
        checking = _Addenda(database, AddendaObjects(objects), findings)
        await checking.check_promised(source.promised)
        await checking.check_rows()
        return findings, head.size
    finally:
        await objects.close()
        if database is not None:
            await database.close()


class _Promises:
    """The published tree; notes of which addenda its records say that the log keeps them."""

    def __init__(self, tiles: TileSource) -> None:
        self.promised: dict[bytes, int] = {}
        self._tiles = tiles

    async def checkpoint(self) -> bytes | None:
        return await self._tiles.checkpoint()

    async def read(self, tiles: Sequence[Tile]) -> Mapping[Tile, bytes]:
        found = await self._tiles.read(tiles)
        for tile, data in found.items():
            if tile.level == ENTRIES and KEPT in data:
                for leaf, entry in enumerate(unframe(data, tile.path), tile.start):
                    if not entry.startswith(MANIFEST):
                        for digest in kept_by(entry):
                            self.promised.setdefault(digest, leaf)
        return found


class _Nowhere:
    """The target of an export of which only what is compared on the way is wanted."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def get(self, key: str) -> bytes:
        raise LookupError(key)

    async def create_many(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Writes nothing."""

    async def create_erasable(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Writes nothing."""

    async def remove(self, keys: Iterable[str]) -> None:
        """Removes nothing."""

    async def replace(self, key: str, data: bytes) -> None:
        """Writes nothing."""


class _Addenda:
    """The part of the check that is about addenda."""

    def __init__(self, database: Database, objects: AddendaObjects, findings: Findings) -> None:
        self._database = database
        self._objects = objects
        self._findings = findings

    async def check_promised(self, promised: Mapping[bytes, int]) -> None:
        """Names those that are neither kept, nor arriving, nor erased."""
        digests = list(promised)
        for start in range(0, len(digests), _PAGE):
            part = digests[start : start + _PAGE]
            known = await addendarows.known(self._database, part)
            for digest in part:
                if digest in known or await addendarows.find(self._database, digest) is not None:
                    continue
                leaf = promised[digest]
                self._findings.add(
                    ADDENDUM, f"{digest.hex()}: missing; leaf {leaf} says that the log has it"
                )

    async def check_rows(self) -> None:
        """Compares every row with its object."""
        last = 0
        while rows := await addendarows.page(self._database, last, _PAGE):
            last = rows[-1][0]
            limit = asyncio.Semaphore(AT_ONCE)
            await asyncio.gather(*(self._compare(digest, limit) for _, digest in rows))

    async def _compare(self, digest: bytes, limit: asyncio.Semaphore) -> None:
        async with limit:
            wrong = ""
            for _ in range(_LOOKS):
                known = await addendarows.find(self._database, digest)
                try:
                    found = await self._objects.look(digest)
                except EngineRefusedError:
                    raise
                except StorageError:
                    wrong = "other bytes than those of its digest"
                    continue
                if isinstance(known, Erased):
                    if found == GONE:
                        return
                    wrong = "erased, and the bucket does not say so"
                    if found is not None:
                        wrong = "erased, and the bucket still has it"
                elif found is not None and found != GONE:
                    return
                else:
                    wrong = "missing in the bucket"
                    if found == GONE:
                        wrong = "erased in the bucket, and the database does not say so"
            self._findings.add(ADDENDUM, f"{digest.hex()}: {wrong}")
