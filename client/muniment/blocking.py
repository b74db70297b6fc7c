"""The gateway for callers without an event loop (design section 6): one thread, one loop.

    with muniment.blocking.Gateway(url, signer, policy=policy) as gateway:
        permit = gateway.authorize(decision)

Any number of threads may use one gateway; their records share batches, as those of tasks do.
"""

import asyncio
import threading
from collections.abc import Coroutine, Iterable
from concurrent.futures import CancelledError
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict, TypeVar, Unpack

from muniment import gateway as asynchronous
from muniment.access import Access
from muniment.errors import GatewayClosed
from muniment.formats.note import Signer
from muniment.formats.policy import Policy
from muniment.formats.preparation import RecordInput
from muniment.permit import Permit
from muniment.receipts import Receipt

T = TypeVar("T")


class Options(TypedDict, total=False):
    """The options of ``muniment.Gateway``, by the same names."""

    stream: str
    origin: str | None
    policy: Policy | None
    batch_records: int
    window: int
    deadline: float
    publish_wait: float
    spool: Path | str | None
    access: Access | None


class Gateway:
    """One stream of one gateway, for threads; a context manager. See ``muniment.Gateway``.

    Raises:
        ValueError: If an argument is out of range or the URL is not one.
    """

    def __init__(self, log_url: str, signer: Signer, **options: Unpack[Options]) -> None:
        self._gateway = asynchronous.Gateway(log_url, signer, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Opens the gateway.

        Raises:
            Unreachable, Refused, BadAnswer: If the log cannot say where the stream stands.
            GatewayClosed: If it is open, or was.
        """
        with self._lock:
            if self._thread is not None:
                raise GatewayClosed("a gateway is opened once")
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="muniment-gateway", daemon=True
            )
            self._thread.start()
        try:
            self.run(self._gateway.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def origin(self) -> str:
        """The log's origin."""
        return self._gateway.origin

    @property
    def producer(self) -> str:
        """The key name that records are from."""
        return self._gateway.producer

    def submit(
        self,
        records: Iterable[RecordInput],
        *,
        published: bool = False,
        timeout: float | None = None,
    ) -> list[Receipt]:
        """See ``muniment.Gateway.submit``."""
        return self.run(self._gateway.submit(records, published=published, timeout=timeout))

    def authorize(
        self,
        decision: RecordInput,
        *,
        edges: Iterable[RecordInput] = (),
        timeout: float | None = None,
    ) -> Permit:
        """See ``muniment.Gateway.authorize``.

        Raises:
            Denied: Whenever there is no permit.
            ValueError: If the gateway has no policy.
        """
        return self.run(self._gateway.authorize(decision, edges=edges, timeout=timeout))

    def put(self, records: Iterable[RecordInput]) -> None:
        """Puts records into the durable spool, see ``muniment.spool.Spool.put``.

        Raises:
            RuntimeError: If the gateway has no spool.
        """
        self.run(self._gateway.spool.put(records))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the gateway's loop, and waits for it.

        Raises:
            GatewayClosed: If the gateway is closed, or is while the work runs.
        """
        loop = self._loop
        if loop is None:
            work.close()
            raise GatewayClosed("the gateway is not open")
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result()
        except CancelledError:
            raise GatewayClosed("the gateway was closed meanwhile") from None
        except BaseException:
            # Ctrl-C ends the waiting of this thread; the work must not go on unseen.
            future.cancel()
            raise

    def close(self, timeout: float | None = None) -> None:
        """Delivers what was accepted, then closes; safe to call twice. See ``muniment.Gateway``."""
        if self._loop is None:
            return
        try:
            self.run(self._gateway.close(timeout))
        finally:
            self._stop()

    def _stop(self) -> None:
        with self._lock:
            loop, self._loop = self._loop, None
            thread = self._thread
        if loop is None or thread is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(_cancel_others(), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


async def _cancel_others() -> None:
    """Ends what other threads still wait for, so that no thread waits for ever."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
