"""A cluster's addenda without HTTP: frontends, eraser and sweeper, to be stopped anywhere."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from itertools import count
from typing import Any

import objectserver
import signing
from cluster_tools import Clustered, clustered
from engines import Bucket
from log_tools import GATEWAY, LIMITS
from muniment.records.canonical import encode_canonical
from muniment.records.manifest import NO_PREVIOUS, Batch, build_batch
from muniment.tlog.note import Ed25519Signer
from muniment_log.cluster.addenda import ClusterAddenda
from muniment_log.cluster.addendaobjects import AddendaObjects
from muniment_log.cluster.database import Database, DatabaseConnection
from muniment_log.cluster.erasing import ClusterErasable
from muniment_log.cluster.objects import ObjectStore, Version
from muniment_log.cluster.sweeping import Sweeper
from muniment_log.core.addenda import Addendum, Erased, Sent
from muniment_log.core.erasable import Selection
from muniment_log.core.erasing import Eraser
from muniment_log.core.orders import Orders
from muniment_log.core.ports import Receipt, StreamKey, StreamState
from muniment_log.core.retention import Retention, Rule
from signing import ORIGIN

_numbers = count()


def named(*addenda: Addendum) -> bytes:
    """A record that names addenda."""
    places = {f"/request/m{n}": one.digest.hex() for n, one in enumerate(addenda)}
    return encode_canonical({"addenda": places, "id": f"r{next(_numbers)}", "kind": "decision"})


class Crash(BaseException):
    """The process ends here."""


class Objects(AddendaObjects):
    """The bucket, whose requests a test may stop, or hold back until later."""

    def __init__(self, objects: ObjectStore) -> None:
        super().__init__(objects)
        self.late: list[Callable[[], Awaitable[object]]] = []
        self.stopped: str = ""

    async def arrive(self, key: str, addenda: Sequence[Addendum]) -> None:
        if self.stopped == "arrive":
            self.late.append(lambda: super(Objects, self).arrive(key, addenda))
            raise Crash
        await super().arrive(key, addenda)
        if self.stopped == "arrived":
            raise Crash

    async def put(self, digest: bytes, data: bytes) -> Version | None:
        if self.stopped == "put":
            self.late.append(lambda: super(Objects, self).put(digest, data))
            raise Crash
        return await super().put(digest, data)

    async def clear(self, key: str) -> None:
        if self.stopped == "clear":
            raise Crash
        await super().clear(key)

    async def erase(
        self, digests: Sequence[bytes], known: Mapping[bytes, Version] | None = None
    ) -> list[str]:
        if self.stopped == "erase":
            raise Crash
        return await super().erase(digests, known or {})


class Bench:
    """A cluster without HTTP, over an object store that shows what it holds."""

    def __init__(
        self,
        database: Database,
        store: objectserver.Store,
        environment: dict[str, str],
        bucket: ObjectStore,
        log: Clustered,
        rules: Sequence[Rule],
    ) -> None:
        self.at_work = log.arriving
        sequencer, tiles = log.sequencers[0], log.tiles
        self.database, self.store, self.bucket = database, store, bucket
        self.environment = environment
        self.sequencer, self.tiles = sequencer, tiles
        self.objects = Objects(bucket)
        self.submit = sequencer.submit_records
        self.size: Callable[[], int] = lambda: tiles.tiles.edge.head.size
        self.now = 0
        self.label = f"s{next(_numbers)}"
        self.next, self.previous = 0, NO_PREVIOUS
        self.frontend = self.first()
        self.stored = ClusterErasable(database, self.objects, self._leads)
        ids = count()
        self.eraser = Eraser(
            origin=ORIGIN,
            addenda=self.stored,
            sequencer=self,
            size=lambda: 0,
            retention=Retention(rules),
            now_ms=lambda: self.now,
            new_id=lambda: f"e-{self.label}-{next(ids)}",
        )
        self.sweeper = Sweeper(
            database=database,
            objects=self.objects,
            leaves=self.leaves,
            size=lambda: self.size(),  # noqa: PLW0108 - tests replace it
            look=self.stored.look,
            left_seconds=-1,
        )

    async def _leads(self, _: DatabaseConnection) -> None:
        """Nobody else does."""

    async def submit_records(self, *records: Any) -> Receipt:
        """Logs the eraser's records; tests replace `submit`."""
        return await self.submit(*records)

    async def stream(self, key: StreamKey) -> StreamState:
        return await self.sequencer.stream(key)

    def leaves(self, start: int) -> AsyncIterator[bytes]:
        return self.tiles.tiles.leaves(start)

    def first(self) -> ClusterAddenda:
        """The frontend of the sequencer, in a new process."""
        self.at_work.clear()
        return ClusterAddenda(self.database, self.objects, 1 << 20, arriving=self.at_work)

    def another(self, waiting_bytes: int = 1 << 20) -> ClusterAddenda:
        """Another frontend."""
        return ClusterAddenda(self.database, self.objects, waiting_bytes)

    def batch(self, *records: bytes) -> Batch:
        signer = Ed25519Signer(GATEWAY, signing.ed25519(GATEWAY))
        batch = build_batch(ORIGIN, signer, self.label, self.next, self.previous, records)
        self.next += len(records)
        self.previous = batch.leaf_hashes[-1]
        return batch

    async def log(
        self, *addenda: Addendum, expected: Sequence[Addendum] = (), batch: Batch | None = None
    ) -> Receipt:
        """Sends a request; the receipt. `expected` does not come along."""
        body = batch or self.batch(named(*addenda, *expected))
        sent = Sent(addenda, {one.digest: 0 for one in expected})
        receipt = await Orders(self.sequencer, self.frontend).batch(body, sent)
        await self.frontend.close()
        return receipt

    async def read(self, one: Addendum) -> bytes | Erased | None:
        return await self.frontend.read(one.digest)

    async def erase(self, *addenda: Addendum, **selection: object) -> object:
        digests = tuple(one.digest for one in addenda)
        found = await self.eraser.select(Selection(digests, **selection))  # type: ignore[arg-type]
        return await self.eraser.erase(found, by="root", reason="asked for")

    async def sweep(self) -> int:
        await self.tiles.settle()
        return await self.sweeper.sweep()

    def places(self, one: Addendum) -> list[str]:
        """Where the bucket holds bytes of an addendum, without the bucket's name."""
        found = [path for path, data in self.store.objects.items() if one.data in data]
        return sorted(path.split("/", 2)[2] for path in found)

    async def arriving(self) -> int:
        async def work(db: DatabaseConnection) -> int:
            return int(await db.fetchval("SELECT count(*) FROM arriving"))

        return await self.database.read(work, "test")

    async def restart(self) -> None:
        """What a new process of everything does."""
        self.objects.stopped = ""
        self.frontend = self.first()
        assert await self.sweep() >= 0
        await self.eraser._complete()


@contextlib.asynccontextmanager
async def bench(url: str, rules: Sequence[Rule] = ()) -> AsyncIterator[Bench]:
    store = objectserver.Store()
    with objectserver.serving(store) as environment:
        bucket = Bucket("s3://bucket", environment)
        objects = ObjectStore.open(bucket.url, environment=environment)
        async with clustered(url, bucket, LIMITS) as log:
            try:
                one = Bench(log.database, store, environment, objects, log, rules)
                yield one
            finally:
                await objects.close()
