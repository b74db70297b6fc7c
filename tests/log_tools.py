"""What the log's tests share: gateways that build batches, and the embedded log without HTTP."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from msgspec.structs import force_setattr

import rfc6962
import signing
from muniment.local.sqlitefile import DatabaseError
from muniment.records.manifest import NO_PREVIOUS, Batch, build_batch
from muniment.tlog.encoding import unframe
from muniment.tlog.heads import Head
from muniment.tlog.note import Ed25519Signer
from muniment.tlog.tiles import bundles_of
from muniment_log.cli.setup import init
from muniment_log.core.integrate import Integration, restore
from muniment_log.core.orders import Orders
from muniment_log.core.ports import SequencerPort, TileSource
from muniment_log.core.repeats import RequestRecords
from muniment_log.core.sequencer import Sequencer, SequencerLimits
from muniment_log.core.tokens import TokenFramer
from muniment_log.errors import StreamGapError, UnavailableError
from muniment_log.metrics import LogMetrics
from muniment_log.publish.publisher import Publisher
from muniment_log.storage.embedded import EmbeddedTiles
from muniment_log.storage.order import EmbeddedOrder
from muniment_log.storage.schema import create_database
from muniment_log.storage.sqlite import SQLiteStore
from muniment_log.workers.desk import Ports
from muniment_service.metrics import Metrics
from waiting import SECONDS, at_work

ORIGIN = signing.ORIGIN
GATEWAY = "gw.example/edge"

# Long enough for what is sent together, on any machine.
LIMITS = SequencerLimits(parked_seconds=SECONDS)


@contextlib.contextmanager
def hasty(limits: SequencerLimits, seconds: float = 0.0) -> Iterator[None]:
    """A batch that comes before its turn is refused after so many seconds meanwhile."""
    patient = limits.parked_seconds
    force_setattr(limits, "parked_seconds", seconds)
    try:
        yield
    finally:
        force_setattr(limits, "parked_seconds", patient)


async def gap(sequencer: SequencerPort, batch: Batch) -> StreamGapError:
    """How a batch is refused whose stream is not yet there, by who knows where it is."""
    while True:
        try:
            receipt = await sequencer.submit(batch)
        except UnavailableError:
            continue  # this one does not know, and says so
        except StreamGapError as error:
            return error
        raise AssertionError(receipt)


def record(text: str) -> bytes:
    """Any bytes: below HTTP nobody looks into records."""
    return b'{"n":"%b"}' % text.encode()


def nameless(*records: bytes) -> RequestRecords:
    """Records by which nothing is recognised when they come again."""
    return RequestRecords(records, [None] * len(records))


@dataclass
class GatewayStream:
    """Builds the batches of one stream, as a gateway does."""

    label: str = "main"
    gateway: str = GATEWAY
    next: int = 0
    previous: bytes = NO_PREVIOUS

    @property
    def signer(self) -> Ed25519Signer:
        return Ed25519Signer(self.gateway, signing.ed25519(self.gateway))

    def peek(self, count: int = 1, *, text: str = "") -> Batch:
        """The next batch, without moving on."""
        records = [record(f"{text}{self.label}/{self.next + i}") for i in range(count)]
        return build_batch(ORIGIN, self.signer, self.label, self.next, self.previous, records)

    def take(self, count: int = 1, *, text: str = "") -> Batch:
        batch = self.peek(count, text=text)
        self.next += count
        self.previous = batch.leaf_hashes[-1]
        return batch

    def copy(self) -> "GatewayStream":
        return replace(self)


def entries_of(batch: Batch) -> list[bytes]:
    return [*batch.records, batch.manifest_note]


@dataclass
class Listening:
    """A `Listener` that remembers; it signs nothing unless told how, or for a publisher."""

    tiles: EmbeddedTiles
    sign: Callable[[Head], bytes] | None = None
    heads: list[tuple[Head, bytes | None]] = field(default_factory=list)
    publisher: Publisher | None = None

    def signer(self) -> Callable[[Head], bytes] | None:
        return self.sign if self.publisher is None else self.publisher.signer()

    def committed(self, change: Integration, signed: bytes | None) -> None:
        self.tiles.advance(change)
        self.heads.append((change.edge.head, signed))
        if self.publisher is not None:
            self.publisher.committed(change.edge.head, signed)


@dataclass
class Embedded:
    """An embedded log without HTTP and without witnesses."""

    store: SQLiteStore
    tiles: EmbeddedTiles
    order: EmbeddedOrder
    sequencer: Sequencer
    listener: Listening
    task: asyncio.Task[None]

    @property
    def head(self) -> Head:
        return self.order.head


async def open_store(path: Path) -> SQLiteStore:
    """The store of a log's database, which is made when absent."""
    with contextlib.suppress(DatabaseError):  # it exists
        await create_database(path, ORIGIN, [str(signing.log_signer().vkey)], "init")
    return await SQLiteStore.open(path)


def by_hand(path: Path, statement: str) -> list[Any]:
    """What another program finds in a database, or does to it."""
    with contextlib.closing(sqlite3.connect(path)) as other, other:
        return other.execute(statement).fetchall()


async def at_once() -> None: ...


@contextlib.asynccontextmanager
async def embedded(
    path: Path,
    limits: SequencerLimits = LIMITS,
    *,
    cleared: Callable[[], Awaitable[None]] = at_once,
) -> AsyncIterator[Embedded]:
    store = await open_store(path)
    try:
        loaded = await store.load()
        edge = restore(loaded.head, loaded.fragments, loaded.partials)
        tiles = EmbeddedTiles(store, edge, loaded.published)
        listener = Listening(tiles)
        framer = TokenFramer(ORIGIN, signing.log_signer())
        metrics = LogMetrics(Metrics("test"))
        order = EmbeddedOrder(store, edge, listener, limits.recalled_records)
        sequencer = Sequencer(
            order=order,
            queue=limits.queue(framer),
            metrics=metrics,
            limits=limits,
            cleared=cleared,
        )
        async with at_work(sequencer.run()) as task:
            yield Embedded(store, tiles, order, sequencer, listener, task)
    finally:
        await store.close()


def ports_of(log: Embedded) -> Ports:
    """What a worker asks that orders and reads, and publishes nothing."""
    unused: Any = None
    return Ports(
        orders=Orders(log.sequencer, unused),
        at_once=log.sequencer.submit_at_once,
        publisher=unused,
        tiles=log.tiles,
        reached=unused,
        damaged=unused,
        pruned=0,
    )


async def all_entries(tiles: TileSource, size: int) -> list[bytes]:
    """Every leaf of a tree, from its bundles."""
    wanted = list(bundles_of(0, size, size))
    found = await tiles.read(wanted)
    return [entry for tile in wanted for entry in unframe(found[tile])]


def root(entries: Sequence[bytes]) -> bytes:
    return rfc6962.MTH(list(entries))


def configured(folder: Path, top: str, more: str = "", *, listen: str = "[::1]:0") -> Path:
    """Makes a log's folder; its configuration, with a gateway of a rate and a token."""
    init(folder, origin="log.example/l", listen=listen, passphrase_file=None, passphrase=None)
    config = folder / "log.toml"
    vkey = signing.log_signer("gw.example/a").vkey
    config.write_text(
        f'{top}\n{config.read_text()}\n[[gateway]]\nvkey = "{vkey}"\nrecords_per_second = 5.0\n'
        f'[[token]]\nproducer = "p.example"\nsha256 = "{"ab" * 32}"\n'
        f"expires = 2031-01-01T00:00:00Z\n{more}"
    )
    return config
