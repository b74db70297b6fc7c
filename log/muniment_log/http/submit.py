"""``POST /v1/batches`` and ``POST /v1/records``: from bytes to receipts."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct
from multidict import istr

from muniment.records.batchbody import MAX_ADDENDA_BYTES, end_of_batch
from muniment.records.forms import Forms
from muniment.records.manifest import MAX_BATCH_BYTES
from muniment.tlog.encoding import format_base64
from muniment.tlog.treereader import read_inclusions
from muniment_log.core.ingest import BadRecordError, examine, received, receiving
from muniment_log.core.matching import arriving, completed, matching, unwrapped
from muniment_log.core.naming import KEPT
from muniment_log.core.repeats import parse_key
from muniment_log.core.scheduler import StepScheduler
from muniment_log.errors import LogError, NotPublishedError, OverBudgetError
from muniment_log.http import bodies
from muniment_log.http.parameters import seconds_of
from muniment_log.http.problems import ERRORS, problem_of
from muniment_service.http import Problem, Request, Response, json_response
from muniment_service.limits import too_large

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from muniment.records.manifest import Frames
    from muniment_log.core.addenda import Sent
    from muniment_log.core.budgets import Budgets
    from muniment_log.core.matching import AddendaSection
    from muniment_log.core.orders import OrdersPort
    from muniment_log.core.ports import Receipt, TileSource
    from muniment_log.http.access import AccessControl
    from muniment_log.publish.published import AwaitedHead
    from muniment_service.metrics import Metrics

DEFAULT_WAIT_SECONDS: Final = 10.0
"""How long ``?wait=published`` holds a request that does not say."""

_RETRY_SECONDS: Final = 1
# An `istr` is folded once; any other name with capitals each time that it is looked for.
_CONTENT_TYPE: Final = istr("Content-Type")
_KEY: Final = istr("Idempotency-Key")
_TRACEPARENT: Final = istr("Traceparent")
_ERASURE: Final = b'"kind":"erasure"'
_FEW: Final = 8
"""Records whose proofs are made before it is known which head they must lead to."""

_LONG: Final = 128 << 10
"""Bytes of addenda in JSON that are brought into canonical form by a thread: JSON takes up to
thirty times its size in memory, so that only one request's are at a time."""


class WaitParameter(Struct, frozen=True):
    """What ``?wait=published&timeout=seconds`` asks for; None seconds for not waiting."""

    seconds: float | None


_NOT_WAITING: Final = WaitParameter(None)


class Submit:
    """Handlers of the write calls."""

    def __init__(
        self,
        *,
        access: AccessControl,
        budgets: Budgets,
        orders: OrdersPort,
        publisher: AwaitedHead,
        tiles: TileSource,
        metrics: Metrics,
    ) -> None:
        """Judges by `access`, has `orders` give the places, waits at the publisher."""
        self._access = access
        self._budgets = budgets
        self._scheduler = StepScheduler()
        self._forms = Forms(withholding=True)
        self._over_budget = metrics.counter(
            "over_budget",
            "Requests refused because their producer is over its budget.",
            ("producer",),
        )
        self._unauthenticated = metrics.counter(
            "unauthenticated", "Submissions rejected as unauthenticated."
        )
        self._orders = orders
        self._publisher = publisher
        self._tiles = tiles
        self._completing = asyncio.Lock()
        self._new_id = _Ids()

    async def batches(self, request: Request) -> Response:
        """``POST /v1/batches``: a signed batch."""
        waiting = _waiting(request)
        try:
            self._budgets.check_address(request.client)
            admitted: list[Frames] = []
            body = await request.body(
                MAX_BATCH_BYTES,
                more=MAX_ADDENDA_BYTES,
                admit=lambda begun: admitted.append(self._authenticate(request, begun)),
            )
            frames = admitted[0] if admitted else self._authenticate(request, body)
            producer = frames.manifest.producer
            self._check_budget(producer)
            self._budgets.charge(producer, records=len(frames.records), size=len(body))
            came: AddendaSection | list[bytes] = []
            if len(frames.body) < len(body):
                came = await self._scheduler.run(arriving(body[len(frames.body) :]))
            with self._interest(waiting):
                batch, found = await self._scheduler.run(examine(frames, self._forms))
                sent = await self._scheduler.run(matching(batch.records, came, batch.body, found))
                return await self._answer(await self._orders.batch(batch, sent), waiting)
        except LogError as error:
            raise _problem(error) from error

    async def records(self, request: Request) -> Response:
        """``POST /v1/records``: records of a client that cannot sign."""
        waiting = _waiting(request)
        try:
            self._budgets.check_address(request.client)
            try:
                producer = self._access.producer(request)
            except Problem:
                self._count_unauthentic(request)
                raise
            self._check_budget(producer)
            lines = _is_lines(request)
            sent_key = request.headers.get(_KEY)
            key = None if sent_key is None else parse_key(sent_key)
            body = await request.body(MAX_BATCH_BYTES + (0 if lines else MAX_ADDENDA_BYTES))
            self._budgets.charge(producer, size=len(body))
            texts: list[bytes] = []
            if not lines:
                body, texts = unwrapped(body)
            if len(body) > MAX_BATCH_BYTES:
                raise too_large(MAX_BATCH_BYTES)
            traceparent = request.headers.get(_TRACEPARENT)
            found = None
            if not lines and traceparent is None:
                found = received(body, producer, key, self._forms)
            if found is None:
                found = await self._scheduler.run(
                    receiving(
                        body,
                        lines=lines,
                        producer=producer,
                        now_ms=time.time_ns() // 1_000_000,
                        new_id=self._new_id,
                        key=key,
                        traceparent=traceparent,
                        forms=self._forms,
                    )
                )
            records = found.records
            if producer == self._access.admission.origin:
                _check_no_erasure(records)
            self._budgets.charge(producer, records=len(records))
            sent: Sent | None = None
            text = records[0] if len(records) == 1 else b"\n".join(records)
            if texts or KEPT in text:
                addenda = await self._completed(texts)
                sent = await self._scheduler.run(matching(records, addenda, text))
            with self._interest(waiting):
                receipt = await self._orders.records(producer, found, sent)
                return await self._answer(receipt, waiting)
        except LogError as error:
            raise _problem(error) from error

    def _authenticate(self, request: Request, body: bytes) -> Frames:
        """Whose batch it is that a body begins with."""
        end = end_of_batch(body)
        if end > MAX_BATCH_BYTES:  # what comes behind a batch may be larger, not the batch
            raise too_large(MAX_BATCH_BYTES)
        try:
            return self._access.admission.authenticate(body if end == len(body) else body[:end])
        except LogError:
            self._count_unauthentic(request)
            raise

    async def _completed(self, texts: list[bytes]) -> list[bytes]:
        """The addenda of which a client sent the JSON, see `completed`."""
        if sum(map(len, texts)) <= _LONG:
            return completed(texts)
        async with self._completing:
            return await asyncio.to_thread(completed, texts)

    def _count_unauthentic(self, request: Request) -> None:
        """Counts a request that turned out to be unauthenticated."""
        self._unauthenticated.inc()
        self._budgets.failed(request.client)

    def _check_budget(self, producer: str) -> None:
        try:
            self._budgets.check(producer)
        except OverBudgetError:
            self._over_budget.labels(producer).inc()
            raise

    def _interest(self, waiting: WaitParameter) -> AbstractContextManager[None]:
        return self._publisher.interest() if waiting.seconds is not None else nullcontext()

    async def _answer(self, receipt: Receipt, waiting: WaitParameter) -> Response:
        answer = bodies.Receipt(
            first=receipt.first,
            count=receipt.count,
            manifest=receipt.manifest,
            size=receipt.size,
            indices=msgspec.UNSET if receipt.indices is None else receipt.indices,
        )
        if waiting.seconds is None:
            return json_response(answer)
        # Most are published at the size that is integrated now: a few proofs are made while the
        # witnesses are at work.
        size = self._publisher.integrated.size if receipt.count <= _FEW else 0
        proofs = await self._proofs(receipt, size) if size >= receipt.size else None
        try:
            published = await self._publisher.wait(receipt.size, waiting.seconds)
        except NotPublishedError as error:
            # Durable all the same: the receipt must not be lost with the wait.
            raise Problem(
                503,
                "not-published",
                f"logged, but {error}",
                members={"receipt": answer},
                headers={"Retry-After": str(_RETRY_SECONDS)},
            ) from error
        if proofs is None or published.checkpoint.size != size:
            proofs = await self._proofs(receipt, published.checkpoint.size)
        answer.published = bodies.Published(
            checkpoint=published.encode().decode(),
            proofs=[[format_base64(node) for node in proof] for proof in proofs],
        )
        return json_response(answer)

    async def _proofs(self, receipt: Receipt, size: int) -> list[tuple[bytes, ...]]:
        if receipt.indices is None:
            return await read_inclusions(
                self._tiles, receipt.first, receipt.first + receipt.count, size
            )
        proofs: dict[int, tuple[bytes, ...]] = {}
        for index in receipt.indices:
            if index not in proofs:
                (proofs[index],) = await read_inclusions(self._tiles, index, index + 1, size)
        return [proofs[index] for index in receipt.indices]


def _check_no_erasure(records: Sequence[bytes]) -> None:
    """Refuses records that would have the log itself say that it has erased something."""
    for entry, record in enumerate(records):
        if _ERASURE in record:
            raise BadRecordError(
                entry, f"record {entry}: an erasure in the log's own name is the log's to log"
            )


def _is_lines(request: Request) -> bool:
    stated = request.headers.get(_CONTENT_TYPE, "application/json")
    if stated == "application/json":  # as most say it
        return False
    kind = stated.partition(";")[0].strip().lower()
    if kind not in {"application/json", "application/x-ndjson"}:
        raise Problem(415, "content-type", "send application/json or application/x-ndjson")
    return kind == "application/x-ndjson"


def _waiting(request: Request) -> WaitParameter:
    if not request.query:
        return _NOT_WAITING
    parameters = request.parameters("wait", "timeout")
    wait, timeout = parameters.get("wait"), parameters.get("timeout")
    if wait is None:
        if timeout is not None:
            raise Problem(400, "bad-query", "timeout goes with wait=published")
        return WaitParameter(None)
    if wait != "published":
        raise Problem(400, "bad-query", "wait takes one value, published")
    if timeout is None:
        return WaitParameter(DEFAULT_WAIT_SECONDS)
    return WaitParameter(seconds_of(timeout))


def _problem(error: LogError) -> Exception:
    return problem_of(error) if type(error) in ERRORS else error


class _Ids:
    """Fresh record ids: 128 random bits each, drawn from the system many at a time.

    One system call for each would be a tenth of the time of a small request.
    """

    _SIZE = 16  # bytes
    _AT_ONCE = 256

    def __init__(self) -> None:
        self._digits = ""

    def __call__(self) -> str:
        if not self._digits:
            self._digits = secrets.token_hex(self._SIZE * self._AT_ONCE)
        fresh, self._digits = self._digits[: 2 * self._SIZE], self._digits[2 * self._SIZE :]
        return fresh
