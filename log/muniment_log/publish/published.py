"""The published head: where it is stored, how those who serve it see it, and who waits for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from muniment_log.core.ports import TileSource
from muniment_log.errors import NotPublishedError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from muniment.tlog.checkpoint import SignedCheckpoint
    from muniment.tlog.heads import Head


class CheckpointStore(Protocol):
    """Where signed and published checkpoints are stored before they are shown."""

    async def put_signed(self, sign: Callable[[], bytes]) -> bytes:
        """Makes and stores a signed checkpoint; see `SQLiteStore`."""
        ...


class PublishedTiles(TileSource, Protocol):
    """The tile source, which also keeps the published checkpoint."""

    async def publish(self, note: bytes) -> None:
        """Stores a published checkpoint, then gives it out."""
        ...


class AwaitedHead(Protocol):
    """What those need who wait for the head of what they submit."""

    @property
    def integrated(self) -> Head:
        """The newest integrated head."""
        ...

    def interest(self) -> AbstractContextManager[None]:
        """Somebody will wait for the head of what is submitted inside."""
        ...

    async def wait(self, size: int, seconds: float) -> SignedCheckpoint:
        """Waits until a tree of at least `size` is published, and returns its checkpoint.

        Raises:
            NotPublishedError: not in time.
            UnavailableError: the log stops.
        """
        ...


class PublishedHead(AwaitedHead, Protocol):
    """What HTTP handlers need of whoever publishes: `Publisher`, or a frontend's view."""

    @property
    def published(self) -> SignedCheckpoint | None:
        """The published checkpoint; None before the first."""
        ...

    @property
    def is_stalled(self) -> bool:
        """Whether a head waits for a quorum that does not come."""
        ...

    @property
    def doubt(self) -> str:
        """Why no records are taken, when witnesses know more than the log; empty when they are."""
        ...

    @property
    def witnesses(self) -> Sequence[dict[str, Any]]:
        """Each witness, the size it last cosigned, and why it fails."""
        ...

    async def settled(self) -> None:
        """Waits until every checkpoint returned by `wait` is stored, or the log has stopped.

        Whoever reads what is published does so after this, and sees what anybody was told.
        """
        ...


def published_size(published: SignedCheckpoint | None) -> int:
    """Leaves in the published tree; 0 before the first checkpoint."""
    return 0 if published is None else published.checkpoint.size


class HeadWaiters:
    """Those who wait for a published tree of some size. Belongs to one event loop.

    Attributes:
        newest: the newest checkpoint that they are told of; None before the first.
    """

    def __init__(self, newest: SignedCheckpoint | None = None) -> None:
        self.newest = newest
        self._futures: list[tuple[int, asyncio.Future[SignedCheckpoint]]] = []
        self._stopped = False

    async def wait(self, size: int, seconds: float | None) -> SignedCheckpoint:
        """Waits until a tree of at least `size` is published; see `PublishedHead.wait`.

        None waits for ever.
        """
        if self.newest is not None and self.newest.checkpoint.size >= size:
            return self.newest
        if self._stopped:
            raise UnavailableError("the log has stopped")
        future: asyncio.Future[SignedCheckpoint] = asyncio.get_running_loop().create_future()
        entry = (size, future)
        self._futures.append(entry)
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            raise NotPublishedError(size, published_size(self.newest)) from None
        finally:
            if entry in self._futures:
                self._futures.remove(entry)

    def tell(self, published: SignedCheckpoint) -> None:
        """Answers those whose size is reached."""
        self.newest = published
        still = []
        for size, future in self._futures:
            if size > published.checkpoint.size:
                still.append((size, future))
            elif not future.done():
                future.set_result(published)
        self._futures = still

    def stop(self) -> None:
        """Answers everybody with an error, now and later."""
        self._stopped = True
        for _, future in self._futures:
            if not future.done():
                future.set_exception(UnavailableError("the log has stopped"))


class Publication:
    """The published checkpoint of the process that publishes: the only state of what is published.

    A checkpoint is *announced* when its quorum is met: those who wait for their own records get it.
    It is *stored* when it is durable with its cosignatures; only then others read it. Between the
    two, `settled` waits.

    Attributes:
        stored: the published checkpoint as it is served; None before the first.
    """

    def __init__(self, stored: SignedCheckpoint | None) -> None:
        self.stored = stored
        self._waiting = HeadWaiters(stored)
        self._settled = asyncio.Event()
        self._settled.set()

    def announce(self, signed: SignedCheckpoint) -> None:
        """Gives a cosigned checkpoint to those who wait for it; readers wait until it is stored."""
        if signed.checkpoint.size < published_size(self.stored):
            raise AssertionError("the published head never goes back")
        self._settled.clear()
        self._waiting.tell(signed)

    def serve(self, signed: SignedCheckpoint) -> None:
        """Serves a checkpoint that is stored."""
        self.stored = signed
        self._waiting.tell(signed)
        self._settled.set()

    async def wait(self, size: int, seconds: float | None) -> SignedCheckpoint:
        """Waits until a tree of at least `size` is announced; see `HeadWaiters.wait`."""
        return await self._waiting.wait(size, seconds)

    async def settled(self) -> None:
        """Waits until nothing announced is still being stored; see `PublishedHead.settled`."""
        if not self._settled.is_set():
            await self._settled.wait()

    def stop(self) -> None:
        """Refuses all who wait, now and later, what was announced and is not stored too."""
        self._waiting.newest = self.stored
        self._waiting.stop()
        self._settled.set()
