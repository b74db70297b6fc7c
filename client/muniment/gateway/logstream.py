"""One stream of one producer at the log, from where the log says it stands until it is closed.

Nothing is decided, withheld or kept here: what is given goes to the log exactly once and in order,
as ``delivery`` says, and comes back as receipts. A gateway has one for what callers wait for, and
its spool another.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Self

from muniment.errors import (
    BadAnswer,
    FormatError,
    GatewayClosed,
    MunimentError,
    Refused,
    Undelivered,
)
from muniment.gateway.delivery import ATTEMPT_TIMEOUT, Delivery
from muniment.gateway.receipts import Receipt
from muniment.gateway.submissions import DeliveryOptions, Passage, Piece, Submission
from muniment.gateway.withholding import NO_ADDENDA, Addenda
from muniment.http.access import Access
from muniment.http.logclient import LogClient
from muniment.records.manifest import MAX_BATCH_RECORDS
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.note import Signer
from muniment.tlog.policy import Policy

DEFAULT_BATCH: Final = 1000
"""Records in a batch: the signature and the transaction cost nothing a record from there on."""

DEFAULT_WINDOW: Final = 4
"""Batches in flight: enough to keep the log busy while answers travel."""

DEFAULT_PUBLISH_WAIT: Final = 10.0
"""Seconds that the log may take to get a batch cosigned before it answers without."""

MAX_QUEUED_BYTES: Final = 64 * 1024 * 1024
"""Bytes of records that wait for a batch; beyond it ``submit_encoded`` waits before it takes more.
"""


_FIRST_LOOK: Final = 0.05
"""Seconds until a new log is asked again for its first checkpoint; doubled up to one second."""


async def published_origin(client: LogClient, seconds: float) -> str:
    """Waits for the first checkpoint of a new log, and returns the origin that it names.

    Raises:
        Refused: If the log has published none within these seconds.
        BadAnswer: If the checkpoint is malformed.
    """
    pause = _FIRST_LOOK
    end = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            return parse_signed_checkpoint(await client.checkpoint()).checkpoint.origin
        except FormatError as error:
            raise BadAnswer(f"checkpoint: {error}") from None
        except Refused as refusal:
            late = asyncio.get_running_loop().time() > end
            if refusal.problem.slug != "not-published-yet" or late:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, 1.0)


class LogStream:
    """A stream at the log; use it as an async context manager, in one event loop.

    See ``Gateway`` for the arguments that are not here. Raises ValueError if one is out of range,
    or the URL is not one.

    Args:
        answered: Called when a batch is cosigned, as it should be.

    Attributes:
        client: The log.
        stream: The stream's label.
        producer: The key name that records are from.
        sequence: Where the stream stood when it was opened: its next record's number.
        window: Most batches in flight.
    """

    def __init__(
        self,
        log_url: str,
        signer: Signer,
        *,
        stream: str,
        origin: str | None = None,
        policy: Policy | None = None,
        batch_records: int = DEFAULT_BATCH,
        window: int = DEFAULT_WINDOW,
        publish_wait: float = DEFAULT_PUBLISH_WAIT,
        access: Access | None = None,
        answered: Callable[[], object] = lambda: None,
    ) -> None:
        if not 1 <= batch_records <= MAX_BATCH_RECORDS:
            raise ValueError(f"batch_records: {batch_records} is not in 1..{MAX_BATCH_RECORDS}")
        if not 1 <= window <= 64:
            raise ValueError(f"window: {window} is not in 1..64")
        self.client = LogClient(
            log_url, timeout=ATTEMPT_TIMEOUT, connections=window + 2, access=access
        )
        self.stream = stream
        self.producer = signer.vkey.name
        self.sequence = 0
        self.window = window
        self._signer = signer
        self._origin = origin
        self._policy = policy
        self._batch_records = batch_records
        self._publish_wait = publish_wait
        self._answered = answered
        self._delivery: Delivery | None = None

    async def __aenter__(self) -> Self:
        """Learns the origin and the stream's place from the log, which knows what it has taken."""
        await self.client.__aenter__()
        try:
            head = await self.client.stream(self.producer, self.stream)
            self.sequence = head.next
            if self._origin is None:
                self._origin = head.origin or await published_origin(
                    self.client, self._publish_wait
                )
            options = DeliveryOptions(
                self._origin,
                self.stream,
                self._policy,
                self._batch_records,
                self.window,
                self._publish_wait,
            )
            place = (head.next, head.previous)
            self._delivery = Delivery(
                self.client, self._signer, options, place, answered=self._answered
            )
        except BaseException:
            await self.client.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, timeout: float = 0.0) -> None:  # noqa: ASYNC109 - a bound for the drain, not for the call
        """Delivers for ``timeout`` seconds what was accepted, and ends; safe to call twice.

        What is undelivered then fails with ``GatewayClosed``.
        """
        delivery, self._delivery = self._delivery, None
        if delivery is None:
            return
        try:
            async with asyncio.timeout(timeout):
                await delivery.settled()
        except TimeoutError:
            pass
        finally:
            tasks = delivery.end(GatewayClosed(f"closed before delivery ({delivery.last_error()})"))
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.client.close()

    @property
    def origin(self) -> str:
        """The log's origin; unless it was given, known once the stream is open."""
        if self._origin is None:
            raise RuntimeError("the origin is known once the gateway is open")
        return self._origin

    @property
    def failure(self) -> MunimentError | None:
        """Why nothing is taken any more; None while all is well."""
        return None if self._delivery is None else self._delivery.failure

    @property
    def last_error(self) -> str:
        """What keeps the oldest batch from landing; empty when the stream is not open."""
        return "" if self._delivery is None else self._delivery.last_error()

    def check_open(self) -> Delivery:
        """Returns what delivers; raises GatewayClosed if the stream is not open."""
        if self._delivery is None:
            raise GatewayClosed("the gateway is not open")
        return self._delivery

    async def settled(self) -> None:
        """Waits until all that was taken is at the log, or nothing can be any more."""
        if self._delivery is not None:
            await self._delivery.settled()

    async def submit_encoded(
        self,
        entries: Sequence[bytes],
        *,
        timeout: float,  # noqa: ASYNC109 - the batch must outlive the caller's deadline
        published: bool = False,
        passage: Passage | None = None,
        addenda: Addenda = NO_ADDENDA,
    ) -> list[Receipt]:
        """Logs records, which are complete and canonical; see ``Gateway.submit_encoded``.

        Raises what that does, but for what the gateway itself may have to say.
        """
        delivery = self.check_open()
        submission = Submission(
            entries,
            published,
            asyncio.get_running_loop().create_future(),
            passage or Passage(),
            addenda,
        )
        try:
            async with asyncio.timeout(timeout):
                return await _submit(delivery, submission)
        except TimeoutError:
            raise Undelivered(
                f"no receipt within {round(timeout, 3):g} s ({delivery.last_error()}); the records "
                "may be logged"
            ) from None


async def _submit(delivery: Delivery, submission: Submission) -> list[Receipt]:
    while delivery.queue.size >= MAX_QUEUED_BYTES and delivery.failure is None:
        delivery.changed.clear()
        await delivery.changed.wait()
    if delivery.failure is not None:
        raise delivery.failure
    if not submission.entries:
        return []
    delivery.queue.append(Piece(submission, 0, len(submission.entries)))
    delivery.pump()
    return await submission.future
