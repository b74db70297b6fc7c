"""The gateway for callers without an event loop: one thread, one loop.

    with muniment.blocking.Gateway(url, signer, policy=policy) as gateway:
        permit = gateway.authorize(decision)

Any number of threads may use one gateway; their records share batches, as those of tasks do. No
call waits for ever, whatever becomes of that loop: each has a deadline of its own, in its thread.
A fork of the process has no such thread, so there the gateway is closed.
"""

import asyncio
import copy
import threading
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, Self, TypedDict, TypeVar, Unpack

from muniment.errors import Denied, GatewayClosed, MunimentError, Undelivered
from muniment.gateway.authorization import denial_of
from muniment.gateway.calloptions import Decide
from muniment.gateway.calls import GatewaySource
from muniment.gateway.delivery import ATTEMPT_TIMEOUT
from muniment.gateway.gateway import Gateway as AsyncGateway
from muniment.gateway.logstream import DEFAULT_PUBLISH_WAIT
from muniment.gateway.mirrored import Require
from muniment.gateway.outcomes import KEEPING
from muniment.gateway.reach import GRACE, check_other_loop, wait_in_thread
from muniment.gateway.receipts import Receipt
from muniment.gateway.spool import DRAIN
from muniment.gateway.withholding import Keep
from muniment.http.access import Access
from muniment.local.home import Home
from muniment.permit import Permit, Trust
from muniment.records.preparation import RecordInput
from muniment.tlog.note import Signer
from muniment.tlog.policy import Policy

T = TypeVar("T")


class SharedOptions(TypedDict, total=False):
    """Options of ``muniment.Gateway``, by the same names, which every kind of gateway takes."""

    origin: str | None
    policy: Policy | None
    batch_records: int
    window: int
    deadline: float
    publish_wait: float
    access: Access | None
    decide: Decide | None
    keep: Keep | None


class GatewayOptions(SharedOptions, total=False):
    """The options of ``muniment.Gateway``, by the same names."""

    stream: str
    spool: Path | str | None
    withhold: Iterable[str] | None
    pseudonyms: Mapping[str, Path | str] | None
    require: Require


class Gateway(GatewaySource):
    """One stream of one gateway, for threads; a context manager. See ``muniment.Gateway``."""

    def __init__(self, log_url: str, signer: Signer, **options: Unpack[GatewayOptions]) -> None:
        self._gateway = AsyncGateway(log_url, signer, **options)
        self.decide = options.get("decide")
        self._opening = ATTEMPT_TIMEOUT + options.get("publish_wait", DEFAULT_PUBLISH_WAIT)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._home = Home("the gateway")
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Opens the gateway, once.

        Raises:
            Unreachable, Refused, BadAnswer: If the log cannot say where the stream stands.
            GatewayClosed: If it is open, or was.
        """
        self._home.check_process()
        with self._lock:
            if self._thread is not None:
                raise GatewayClosed("a gateway is opened once")
            self._loop = asyncio.new_event_loop()
            self._home.enter(self._loop)
            self._thread = threading.Thread(
                target=_serve, args=(self._loop,), name="muniment-gateway", daemon=True
            )
            self._thread.start()
        try:
            limit = max(self._opening, self._gateway.deadline)
            self.run(self._gateway.__aenter__(), timeout=limit)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def origin(self) -> str:
        """The log's origin."""
        return self._gateway.origin

    @property
    def producer(self) -> str:
        """The key name that records are from."""
        return self._gateway.producer

    @property
    def asynchronous(self) -> AsyncGateway:
        """The gateway on the loop of its thread; its coroutines are for ``run``."""
        return self._gateway

    def find(self) -> AsyncGateway:
        """The gateway on the loop of its thread."""
        return self._gateway

    def submit(
        self,
        records: Iterable[RecordInput],
        *,
        published: bool = False,
        mirrored: bool = False,
        timeout: float | None = None,
        addenda: Iterable[bytes] = (),
    ) -> list[Receipt]:
        """See ``muniment.Gateway.submit``, and ``run`` for the errors of the thread."""
        entries, own = self._gateway.prepare_withheld(records, addenda)
        work = self._gateway.submit_encoded(
            entries, published=published, mirrored=mirrored, timeout=timeout, addenda=own
        )
        return self.run(work, timeout=timeout)

    def authorize(
        self,
        decision: RecordInput,
        *,
        edges: Iterable[RecordInput] = (),
        timeout: float | None = None,
        addenda: Iterable[bytes] = (),
        require: Require | None = None,
        with_status: bool | Trust = False,
    ) -> Permit:
        """See ``muniment.Gateway.authorize``; raises ``Denied`` whenever there is no permit."""
        try:
            # As they are now: in the other thread they could change meanwhile.
            [entry], own = self._gateway.prepare_withheld([decision], addenda)
            edges = copy.deepcopy(list(edges))
            work = self._gateway.authorize(
                entry,
                edges=edges,
                timeout=timeout,
                addenda=own.get(0, ()),
                require=require,
                with_status=with_status,
            )
            limit = self._gateway.deadline if timeout is None else timeout
            return self.run(work, timeout=limit + KEEPING)
        except Denied:
            raise
        except MunimentError as error:
            raise denial_of(error) from error

    def put(self, records: Iterable[RecordInput], addenda: Iterable[bytes] = ()) -> None:
        """Puts records into the durable spool; see ``Spool.put``, and ``run`` for its errors."""
        self._home.check_process()
        prepared = self._gateway.prepare_withheld(records, addenda)
        self.run(self._gateway.spool.put_prepared(prepared))

    def run(self, work: Coroutine[Any, Any, T], *, timeout: float | None = None) -> T:
        """Runs a coroutine on the gateway's loop, and waits for it.

        It should take at most ``timeout`` seconds, or the gateway's deadline; ``GRACE`` seconds
        after them it is cancelled, and not waited for.

        Raises:
            GatewayClosed: If the gateway is closed, or is while the work runs, or was opened by
                the process that forked here.
            WrongLoop: If the gateway's own loop calls, which would wait for itself.
            Undelivered: If the time is over.
        """
        try:
            loop = self._reachable_loop()
        except BaseException:
            work.close()
            raise
        return wait_in_thread(
            loop, work, timeout=self._gateway.deadline if timeout is None else timeout
        )

    def _reachable_loop(self) -> asyncio.AbstractEventLoop:
        self._home.check_process()
        loop = self._loop
        if loop is None or loop.is_closed():
            raise GatewayClosed("the gateway is not open")
        check_other_loop(loop)
        return loop

    def close(self, timeout: float | None = None) -> None:
        """Delivers what was accepted, then closes; safe to call twice, and in a fork.

        Raises:
            WrongLoop: If the gateway's own loop calls.
            Undelivered: If its thread does not end in time; it ends with the process.
        """
        if self._loop is None or self._home.is_forked:
            return
        self._reachable_loop()
        limit = self._gateway.deadline if timeout is None else timeout
        try:
            self.run(self._gateway.close(timeout), timeout=limit + KEEPING + DRAIN)
        finally:
            self._stop()

    def _stop(self) -> None:
        with self._lock:
            loop, self._loop = self._loop, None
            thread = self._thread
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        thread.join(GRACE)
        if thread.is_alive():
            raise Undelivered(f"the gateway's thread does not end within {GRACE:g} s")


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Runs the loop in its thread until it is stopped."""
    try:
        loop.run_forever()
        loop.run_until_complete(_cancel_others())
    finally:
        loop.close()


async def _cancel_others() -> None:
    """Ends what other threads still wait for, so that no thread waits for ever."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)  # the connections that they had are closed in the next round
