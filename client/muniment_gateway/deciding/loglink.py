"""The gateway's way to its log, which may be away when the service starts, or later.

While it is known to be away, nothing waits for it: what is asked is denied at once, and the denial
is in the spool. Somebody looks every second whether it is back.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from secrets import token_hex
from typing import Any, Final

import msgspec

from muniment.errors import Denied, MunimentError, NotPublished, Unreachable
from muniment.gateway.gateway import Gateway
from muniment.gateway.logstream import LogStream
from muniment.gateway.outcomes import PendingOutcome
from muniment.gateway.spool import SPOOL_SUFFIX, Spool
from muniment.http.answer import HttpError, TooLongError
from muniment.http.client import HttpSession
from muniment.local.logs import event
from muniment.local.outside import Contained
from muniment.local.sqlitefile import DatabaseError
from muniment.permit import Permit
from muniment.records.api import RecordError
from muniment.records.members import DenialCode
from muniment.records.preparation import Preparer, RecordInput
from muniment.records.reduction import record_id, reduce_decision, stated_codes
from muniment_gateway.config import GatewayConfig
from muniment_gateway.deciding.readiness import why_not_ready

LOOK_SECONDS: Final = 1.0
"""Time between two looks at a log that is away."""

WATCH_SECONDS: Final = 5.0
"""Time between two looks at a log that answers."""

LOOK_TIMEOUT: Final = 2.0
"""Deadline of one look."""

_READY: Final = 64 << 10
_encode: Final = msgspec.json.Encoder(order="sorted").encode
_LOGGER: Final = logging.getLogger(__name__)
_AWAY: Final[tuple[DenialCode, ...]] = ("governance_mesh_discontinuity",)


class _LateGateway(Gateway):
    """A gateway whose spool has been in use while there was no log."""

    take_spool: Callable[[], Awaitable[object]]
    """Gives the spool's file over; nothing waits for the log any more then."""

    async def _open_spool(self) -> None:
        await self.take_spool()
        await super()._open_spool()


class LogLink:
    """One gateway of the SDK, or until it can be opened its spool alone.

    Attributes:
        away: Why nothing can be logged at present; empty when all is well.
        lost: Called for each decision that cannot be kept either.
    """

    def __init__(self, config: GatewayConfig, http: HttpSession) -> None:
        """Nothing is opened before `run`."""
        self.away = "the log was not reached yet"
        self.lost: Callable[[], object] = lambda: None
        self.opened = asyncio.Event()
        self._config = config
        self._http = http
        self._gateway: Gateway | None = None
        self._early: Spool | None = None
        self._preparer = Preparer(
            config.file.name,
            now_ms=lambda: time.time_ns() // 1_000_000,
            new_id=lambda: f"g-{token_hex(12)}",
        )
        self._wake = asyncio.Event()
        self._handing_over = asyncio.Lock()  # while no spool is open, which takes no answer

    # Life

    async def start(self) -> None:
        """Opens the gateway if the log answers now, and else its spool.

        Raises DatabaseError if the spool cannot be used.
        """
        await self._open()

    async def run(self) -> None:
        """Looks after the log until it is cancelled."""
        while True:
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS if self.away else WATCH_SECONDS):
                    await self._wake.wait()
                    await asyncio.sleep(LOOK_SECONDS)
            with Contained("the log", fatal=(DatabaseError,)):
                await self._look()

    async def close(self) -> None:
        """Delivers what it can, and closes."""
        gateway, self._gateway = self._gateway, None
        early, self._early = self._early, None
        if gateway is not None:
            await gateway.close()
        if early is not None:
            await early.close(drain=0)

    async def _look(self) -> None:
        if self._gateway is None:
            if await self._is_ready():
                await self._open()
            return
        if trouble := self._trouble():
            if self.away and self.away != trouble:
                event(_LOGGER, logging.ERROR, "the log stays away", reason=trouble)
            self.mark_away(trouble)
        elif await self._is_ready():
            self._is_back()

    def _trouble(self) -> str:
        """What ended the stream for good, or keeps the spool from being written; empty for none."""
        assert self._gateway is not None  # noqa: S101
        lost = self._gateway.log.failure
        if lost is not None:
            return f"{lost}; it stays so until the gateway is restarted"
        failure = self._gateway.spool.failure  # it tries again by itself
        return "" if failure is None else f"the spool: {failure}"

    async def _is_ready(self) -> bool:
        url = f"{self._config.file.log.rstrip('/')}/readyz"
        try:
            answer = await self._http.request("GET", url, limit=_READY, seconds=LOOK_TIMEOUT)
        except TimeoutError:
            self.mark_away(f"{url}: no answer within {LOOK_TIMEOUT:g} s")
        except (HttpError, TooLongError) as error:
            self.mark_away(f"{url}: {error}")
        else:
            if answer.status == 200:
                return True
            self.mark_away(f"{url}: {why_not_ready(answer)}")
        return False

    async def _open(self) -> None:
        """Opens the gateway, which takes the spool once it has heard from the log; else that alone.

        What is to be kept meanwhile waits for the one or the other to have the file.
        """
        try:
            if not await self._try_to_open() and self._early is None:
                await self._open_early()
        finally:
            if self._handing_over.locked():
                self._handing_over.release()

    async def _give_spool_over(self, within: asyncio.Timeout) -> None:
        within.reschedule(None)  # what is left to do is on this machine, and is not left half done
        await self._handing_over.acquire()
        early, self._early = self._early, None
        if early is not None:
            await early.close(drain=0)

    async def _try_to_open(self) -> bool:
        file = self._config.file
        gateway = _LateGateway(
            file.log,
            self._config.signer,
            stream=file.stream,
            origin=self._config.origin,
            policy=self._config.policy,
            deadline=file.deadline_seconds,
            publish_wait=file.deadline_seconds,
            spool=file.spool,
            require=file.require,
            access=self._config.access,
        )
        try:
            async with asyncio.timeout(LOOK_TIMEOUT) as within:
                gateway.take_spool = partial(self._give_spool_over, within)
                await gateway.__aenter__()
        except DatabaseError:
            raise
        except (MunimentError, TimeoutError) as error:
            self.mark_away(str(error) or "the log does not answer")
            return False
        self._gateway = gateway
        self._is_back()
        self.opened.set()
        return True

    async def _open_early(self) -> None:
        file = self._config.file

        def connect() -> LogStream:
            return LogStream(
                file.log,
                self._config.signer,
                stream=file.stream + SPOOL_SUFFIX,
                origin=self._config.origin,
                access=self._config.access,
            )

        self._early = await Spool.open(file.spool, connect, self._preparer)

    def mark_away(self, reason: str) -> None:
        """Notes that nothing can be logged, until a look says otherwise."""
        if not self.away:
            event(_LOGGER, logging.ERROR, "the log is away: everything is denied", reason=reason)
        self.away = reason
        self._wake.set()

    def _is_back(self) -> None:
        if self.away:
            event(_LOGGER, logging.INFO, "the log answers")
        self.away = ""

    # Records

    @property
    def producer(self) -> str:
        """Who writes the records."""
        return self._config.file.name

    @property
    def pending(self) -> int:
        """Records in the spool."""
        spool = self._spool()
        return 0 if spool is None else spool.pending

    def _spool(self) -> Spool | None:
        return self._early if self._gateway is None else self._gateway.spool

    async def _open_one(self) -> Spool:
        """The spool, when none is being handed over; Unreachable if the link is closed."""
        async with self._handing_over:
            spool = self._spool()
        if spool is None:
            raise Unreachable("the gateway is closed")
        return spool

    async def submit(self, records: Sequence[RecordInput], seconds: float) -> int:
        """Logs records; the index of the first one.

        Raises MunimentError if they are not in the log for certain.
        """
        if self._gateway is None or self.away:
            raise Unreachable(self.away)
        receipts = await self._gateway.submit(records, timeout=seconds)
        return receipts[0].index

    def prepare(self, members: Mapping[str, Any]) -> bytes:
        """The bytes of a record; ``RecordError`` if it cannot be one as it is."""
        (entry,) = self._preparer.prepare([self._encoded(members)])
        return entry

    def _encoded(self, members: Mapping[str, Any]) -> bytes | Mapping[str, Any]:
        """A record as text at once, which is quicker to prepare; as it is when that cannot be."""
        common = {
            "v": 1,
            "time": time.time_ns() // 1_000_000,
            "producer": self._config.file.name,
        }
        try:
            return _encode(common | dict(members))
        except (ValueError, TypeError, RecursionError, msgspec.MsgspecError):
            return members

    async def begin_outcome(self, execution: str) -> PendingOutcome | None:
        """Sets room aside for the outcome of a run; None while there is no log to have decided it.

        Raises MunimentError if no outcome can be kept now.
        """
        if self._gateway is None or self.away:
            return None
        try:
            return await PendingOutcome.begin(self._gateway, {"execution": execution})
        except TimeoutError:
            raise Unreachable("the spool's disk gives no answer") from None

    async def authorize(
        self,
        decision: Mapping[str, Any],
        seconds: float,
        addenda: Sequence[bytes] = (),
        *,
        patient: bool = True,
    ) -> Permit:
        """Logs a decision and has it cosigned; see ``Gateway.authorize``.

        Who is not `patient` has waited too shortly for the log to be taken for away: then somebody
        looks.

        Raises Denied in every case but one; at once while the log is away.
        """
        if self._gateway is None or self.away:
            raise await self._deny_at_once(decision, addenda)
        try:
            return await self._gateway.authorize(
                self._encoded(decision),
                timeout=seconds,
                addenda=addenda,
                with_status=self._config.file.permit.status,
            )
        except Denied as denied:
            cause = denied.__cause__
            # A log that only gives no status of the permit is not away.
            if isinstance(cause, Unreachable | NotPublished) and set(denied.codes) == set(_AWAY):
                if patient:
                    self.mark_away(str(cause))
                else:
                    self._wake.set()
            raise

    async def _deny_at_once(
        self, decision: Mapping[str, Any], addenda: Sequence[bytes] = ()
    ) -> Denied:
        reasons = [self.away or "the gateway is closed"]
        codes = _AWAY
        if decision["response"]["decision"] is False:
            codes = stated_codes(decision) or ("denied_by_policy",)
        else:
            context = decision["response"].get("context")
            response = {"decision": False}
            if context is not None:
                response["context"] = context
            decision = {**decision, "response": response, "denial": {"codes": list(codes)}}
            decision.pop("signatures", None)
            decision.pop("artifact", None)
        try:
            await self.keep(decision, addenda)
        except MunimentError as error:
            reasons.append(f"the denial is not recorded: {error}")
        return Denied(codes, reasons)

    async def take(self, entries: Mapping[bytes, bytes]) -> int:
        """Puts records into the spool that others send, and may send again; how many were new.

        Raises MunimentError if the spool is full, broken or closed.
        """
        return await (await self._open_one()).put_once(entries)

    async def keep(self, decision: Mapping[str, Any], addenda: Sequence[bytes] = ()) -> None:
        """Puts a decision into the spool, reduced if it cannot be recorded as it is.

        Raises MunimentError if the spool is full, broken or closed.
        """
        spool = await self._open_one()
        try:
            try:
                await spool.put([self._encoded(decision)], addenda)
            except RecordError:
                codes = stated_codes(decision) or ("authorization_discontinuity",)
                id_ = record_id(decision.get("id")) or f"d-{token_hex(12)}"
                await spool.put([reduce_decision(decision, id_, codes, None)])
        except MunimentError:
            self.lost()
            raise
