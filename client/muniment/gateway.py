"""A gateway's stream to the log: batches, exactly once, in order (design sections 3.2 and 6).

Why nothing is logged twice or lost silently:

- A batch, once built, keeps its bytes and its sequence number until the log has answered for good.
  A lost answer is followed by the same bytes, to which the log gives the first receipt again.
- A batch whose outcome is unknown is never given up in favour of another one at the same place:
  callers may stop waiting (deadline, cancellation), the batch goes on being tried.
- The only batches ever rebuilt are those behind one that the log will never take: they carry the
  hash of a manifest that is in no log, so no late copy of them can be accepted.
- When the log's stream is not where it was left, the gateway stops for good and says why.

Everything runs on one event loop; the state below changes only between two awaits.
"""

import asyncio
import random
import secrets
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from muniment.errors import (
    BadAnswer,
    FormatError,
    GatewayClosed,
    MunimentError,
    NotPublished,
    Problem,
    RecordRefused,
    Refused,
    StreamConflict,
    StreamError,
    StreamGap,
    Undelivered,
    Unreachable,
    VerificationError,
)
from muniment.formats.checkpoint import parse_signed_checkpoint
from muniment.formats.manifest import MAX_BATCH_BYTES, MAX_BATCH_RECORDS, Batch, build_batch
from muniment.formats.note import Signer
from muniment.formats.policy import Policy
from muniment.logclient import LogClient, LogReceipt, PublishedPart, receipt_of
from muniment.preparation import Preparer, RecordInput
from muniment.receipts import BatchReceipt, Published, Receipt, check_published, check_receipt

DEFAULT_BATCH: Final = 1000
"""Records in a batch: the signature and the transaction cost nothing a record from there on."""

DEFAULT_WINDOW: Final = 4
"""Batches in flight: enough to keep the log busy while answers travel."""

DEFAULT_DEADLINE: Final = 30.0
"""Seconds that a caller waits for its receipts."""

DEFAULT_PUBLISH_WAIT: Final = 10.0
"""Seconds that the log may take to get a batch cosigned before it answers without."""

MAX_QUEUED_BYTES: Final = 64 * 1024 * 1024
"""Bytes of records that wait for a batch; beyond it ``submit`` waits before it takes more."""

ATTEMPT_TIMEOUT: Final = 15.0
"""Seconds for one attempt to deliver a batch (besides the wait for publication)."""

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 5.0
"""Seconds between two attempts: doubled from the first to the longest, half of it jitter."""

# Room for framing and the manifest note in a batch, bytes; a manifest is about 500.
_MANIFEST_ROOM: Final = 4096


@dataclass(slots=True, eq=False)
class _Submission:
    """One call of ``submit``: complete when each of its records has a receipt."""

    entries: Sequence[bytes]
    published: bool
    future: asyncio.Future[list[Receipt]]
    receipts: list[Receipt] = field(default_factory=list[Receipt])
    unpublished: str = ""
    missing: int = 0

    def give(self, receipts: list[Receipt]) -> None:
        """Takes the receipts of a piece; pieces of one submission are answered in any order."""
        self.receipts += receipts
        self.missing -= len(receipts)
        if self.missing or self.future.done():
            return
        self.receipts.sort(key=lambda receipt: receipt.index)
        if self.unpublished:
            self.fail(NotPublished(self.unpublished))
        else:
            self.future.set_result(self.receipts)

    def fail(self, error: MunimentError) -> None:
        """Ends the submission, unless it has ended."""
        if not self.future.done():
            self.future.set_exception(error)
            # The caller may have been cancelled: nobody must be warned of an unread exception.
            self.future.exception()


@dataclass(frozen=True, slots=True)
class _Piece:
    """The records [start, stop) of a submission; what the queue and batches are made of."""

    submission: _Submission
    start: int
    stop: int


@dataclass(slots=True, eq=False)
class _Flight:
    """A batch on its way, from being built until the log has answered for good."""

    batch: Batch
    sequence: int
    previous: bytes
    pieces: list[_Piece]
    published: bool
    landed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    last_error: str = "no attempt yet"


class Gateway:
    """One stream of one gateway; use it as an async context manager.

    Concurrent callers share batches: a batch leaves at once when none is in flight, and what
    arrives meanwhile is gathered into the next; full batches leave up to ``window`` at a time.

    Args:
        log_url: The log's base URL.
        signer: Signs the manifests; its key name is the records' producer.
        stream: The stream's label. Exactly one process may write to a stream at a time.
        origin: The log's origin; read from its checkpoint when None (trust on first use).
        policy: Verifies the checkpoints of published receipts; without it proofs are checked
            against the checkpoint, but the checkpoint's signatures are not.
        batch_records: Most records in a batch.
        window: Most batches in flight.
        deadline: Seconds that ``submit`` waits when it is not told otherwise.
        publish_wait: Seconds that the log may take to publish, see ``submit``.

    Raises:
        ValueError: If an argument is out of range or the URL is not one.
    """

    def __init__(
        self,
        log_url: str,
        signer: Signer,
        *,
        stream: str = "default",
        origin: str | None = None,
        policy: Policy | None = None,
        batch_records: int = DEFAULT_BATCH,
        window: int = DEFAULT_WINDOW,
        deadline: float = DEFAULT_DEADLINE,
        publish_wait: float = DEFAULT_PUBLISH_WAIT,
    ) -> None:
        if not 1 <= batch_records <= MAX_BATCH_RECORDS:
            raise ValueError(f"batch_records: {batch_records} is not in 1..{MAX_BATCH_RECORDS}")
        if not 1 <= window <= 64:
            raise ValueError(f"window: {window} is not in 1..64")
        self.stream = stream
        self.producer = signer.vkey.name
        self.policy = policy
        self._origin = origin
        self._signer = signer
        self._batch_records = batch_records
        self.window = window
        self._deadline = deadline
        self._publish_wait = publish_wait
        self._client = LogClient(log_url, timeout=ATTEMPT_TIMEOUT, connections=window + 2)
        self._preparer = Preparer(
            self.producer,
            now_ms=lambda: time.time_ns() // 1_000_000,
            id_prefix=secrets.token_hex(8),
        )
        self._next = 0
        self._previous = b""
        self._queue: deque[_Piece] = deque()
        self._queued_records = 0
        self._queued_bytes = 0
        self._flights: list[_Flight] = []
        self._changed = asyncio.Event()
        self._failure: MunimentError | None = None
        self._is_open = False

    # Life

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        try:
            await self._resume()
        except BaseException:
            await self._client.close()
            raise
        self._is_open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _resume(self) -> None:
        """Learns the origin and the stream's place from the log, which knows what it has taken."""
        if self._origin is None:
            try:
                checkpoint = parse_signed_checkpoint(await self._client.checkpoint())
            except FormatError as error:
                raise BadAnswer(f"checkpoint: {error}") from None
            self._origin = checkpoint.checkpoint.origin
        head = await self._client.stream(self.producer, self.stream)
        self._next, self._previous = head.next, head.previous

    @property
    def origin(self) -> str:
        """The log's origin.

        Raises:
            RuntimeError: Before the gateway is open, when it was not given.
        """
        if self._origin is None:
            raise RuntimeError("the origin is known once the gateway is open")
        return self._origin

    async def close(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - a bound for the drain, not for the call
        """Delivers what was accepted from callers, then closes; safe to call twice.

        Args:
            timeout: Most seconds for the delivery; the gateway's deadline when None. What is
                undelivered then fails with ``GatewayClosed``.
        """
        self._is_open = False
        try:
            async with asyncio.timeout(self._deadline if timeout is None else timeout):
                while (self._queue or self._flights) and self._failure is None:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
        finally:
            waiting = [flight.last_error for flight in self._flights][:1]
            tasks = self._end(
                GatewayClosed(f"closed before delivery ({waiting[0] if waiting else 'queued'})")
            )
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._client.close()

    def _end(self, error: MunimentError) -> list[asyncio.Task[None]]:
        """Fails everything that waits; returns the cancelled deliveries."""
        if self._failure is None:
            self._failure = error
        current = asyncio.current_task()
        tasks: list[asyncio.Task[None]] = []
        for flight in self._flights:
            for piece in flight.pieces:
                piece.submission.fail(error)
            if flight.task is not None and flight.task is not current:
                flight.task.cancel()
                tasks.append(flight.task)
        for piece in self._queue:
            piece.submission.fail(error)
        self._flights.clear()
        self._queue.clear()
        self._queued_records = self._queued_bytes = 0
        self._changed.set()
        return tasks

    # Submitting

    def prepare(self, records: Iterable[RecordInput]) -> list[bytes]:
        """Completes and checks records, as ``submit`` does before it sends them.

        Raises:
            RecordError: For the first one that is no record, with its number from 0.
        """
        return self._preparer.prepare(records)

    async def submit(
        self,
        records: Iterable[RecordInput],
        *,
        published: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 - the batch must outlive the caller's deadline
    ) -> list[Receipt]:
        """Logs records, in order; returns one receipt a record once all of them are durable.

        Members ``v``, ``id``, ``time`` and ``producer`` are filled in where missing. The records
        of one call are logged in one batch when they fit.

        Cancelling the call, like its deadline, ends the waiting: records that are in a batch
        already will be logged, the others will not.

        Args:
            records: Typed records, JSON objects as bytes or text, or mappings.
            published: Wait for the quorum's cosignatures too; the receipts then carry a verified
                checkpoint and can make proofs.
            timeout: Seconds to wait; the gateway's deadline when None.

        Raises:
            RecordError: If a record is not one; with its number from 0, and names the member.
                Nothing of the call was sent.
            RecordRefused, Refused: If the log will not take them.
            NotPublished: If they are durable, but were not cosigned in time.
            Undelivered: If the deadline passed first.
            StreamError: If the stream is not where this gateway left it.
            VerificationError: If what the log published does not verify.
            GatewayClosed: If the gateway is closed.
        """
        return await self.submit_encoded(
            self._preparer.prepare(records), published=published, timeout=timeout
        )

    async def submit_encoded(
        self,
        entries: Sequence[bytes],
        *,
        published: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 - see submit
    ) -> list[Receipt]:
        """Like ``submit``, of records that are complete and canonical already.

        They are not checked here; the log refuses what they get wrong.
        """
        limit = self._deadline if timeout is None else timeout
        try:
            async with asyncio.timeout(limit):
                return await self._submit(entries, published=published)
        except TimeoutError:
            reason = self._flights[0].last_error if self._flights else "still queued"
            raise Undelivered(
                f"no receipt within {limit:g} s ({reason}); the records may be logged"
            ) from None

    async def _submit(self, entries: Sequence[bytes], *, published: bool) -> list[Receipt]:
        while self._queued_bytes >= MAX_QUEUED_BYTES and self._failure is None:
            self._changed.clear()
            await self._changed.wait()
        if self._failure is not None:
            raise self._failure
        if not self._is_open:
            raise GatewayClosed("the gateway is not open")
        if not entries:
            return []
        submission = _Submission(entries, published, asyncio.get_running_loop().create_future())
        submission.missing = len(entries)
        self._enqueue(_Piece(submission, 0, len(entries)))
        self._pump()
        return await submission.future

    def _enqueue(self, piece: _Piece, *, front: bool = False) -> None:
        (self._queue.appendleft if front else self._queue.append)(piece)
        self._count(piece, +1)

    def _count(self, piece: _Piece, sign: int) -> None:
        self._queued_records += sign * (piece.stop - piece.start)
        entries = piece.submission.entries[piece.start : piece.stop]
        self._queued_bytes += sign * sum(map(len, entries))

    def _pump(self) -> None:
        """Sends batches while the rules allow; called whenever something changed."""
        while (
            self._failure is None
            and self._queue
            and len(self._flights) < self.window
            and (
                not self._flights
                or self._queued_records >= self._batch_records
                or self._queued_bytes >= MAX_BATCH_BYTES - _MANIFEST_ROOM
            )
        ):
            if pieces := self._take():
                self._send(pieces)

    def _take(self) -> list[_Piece]:
        """Takes the next batch's pieces off the queue; none when all callers have gone."""
        pieces: list[_Piece] = []
        records, room = self._batch_records, MAX_BATCH_BYTES - _MANIFEST_ROOM
        while self._queue and records:
            piece = self._queue.popleft()
            self._count(piece, -1)
            if piece.submission.future.done():
                continue
            entries = piece.submission.entries
            if pieces and records < piece.stop - piece.start <= self._batch_records:
                # It fits into one batch, but not into this one: callers' records stay together.
                self._enqueue(piece, front=True)
                break
            stop = min(piece.stop, piece.start + records)
            for at in range(piece.start, stop):
                room -= len(entries[at]) + 2
                if room < 0 and (pieces or at > piece.start):
                    stop = at
                    break
            if stop > piece.start:
                pieces.append(_Piece(piece.submission, piece.start, stop))
            if stop < piece.stop:
                self._enqueue(_Piece(piece.submission, stop, piece.stop), front=True)
                break
            records -= stop - piece.start
        return pieces

    def _send(self, pieces: list[_Piece]) -> None:
        records = [
            entry
            for piece in pieces
            for entry in piece.submission.entries[piece.start : piece.stop]
        ]
        try:
            batch = build_batch(
                self.origin, self._signer, self.stream, self._next, self._previous, records
            )
        except (FormatError, ValueError) as error:
            failure = FormatError(str(error))
            for piece in pieces:
                piece.submission.fail(failure)
            return
        flight = _Flight(
            batch,
            self._next,
            self._previous,
            pieces,
            published=any(piece.submission.published for piece in pieces),
        )
        self._next += len(records)
        self._previous = batch.leaf_hashes[-1]
        self._flights.append(flight)
        flight.task = asyncio.get_running_loop().create_task(self._deliver(flight))

    # Delivering

    async def _deliver(self, flight: _Flight) -> None:
        try:
            answer = await self._answer(flight)
            if answer is not None:
                self._land(flight, answer)
        except asyncio.CancelledError:
            raise
        except StreamError as error:
            self._end(error)
        except Exception as error:
            # A bug here would leave callers waiting for ever; they must fail closed instead.
            self._end(StreamError(f"internal error: {error!r}"))
            raise
        finally:
            flight.landed.set()
            self._changed.set()
            self._pump()

    async def _answer(self, flight: _Flight) -> tuple[LogReceipt, str] | None:
        """Tries until the log has answered for good; None when it refused and that is settled."""
        pause = FIRST_PAUSE
        wait = self._publish_wait if flight.published else None
        while True:
            asked = 0.0
            try:
                answer = await self._client.submit_batch(
                    flight.batch.body, published=wait, timeout=ATTEMPT_TIMEOUT + (wait or 0.0)
                )
                check_receipt(answer, count=len(flight.batch.records))
            except (Unreachable, BadAnswer) as error:
                # A strange answer (a proxy's page, say) says nothing about the batch either.
                flight.last_error = str(error)
            except Refused as refusal:
                flight.last_error = str(refusal)
                slug = refusal.problem.slug
                if slug == "not-published" and (receipt := _durable(flight, refusal.problem)):
                    return receipt, str(refusal)
                if slug == "stream-gap":
                    if await self._was_early(flight, refusal.problem):
                        continue
                elif slug == "stream-conflict":
                    raise self._conflict(flight, refusal.problem) from None
                elif not refusal.is_retriable:
                    await self._settle(flight, refusal)
                    return None
                asked = refusal.retry_after or 0.0
            else:
                return answer, ""
            await asyncio.sleep(max(asked, pause * random.uniform(0.5, 1.0)))  # noqa: S311 - jitter
            pause = min(2 * pause, LONGEST_PAUSE)

    def _before(self, flight: _Flight) -> _Flight | None:
        """The batch in flight before this one; None for the first, or when it has left."""
        if flight not in self._flights:
            return None
        at = self._flights.index(flight)
        return self._flights[at - 1] if at else None

    async def _was_early(self, flight: _Flight, problem: Problem) -> bool:
        """Waits for the batch before; True when it landed, so that this one may go again.

        Raises:
            StreamGap: If none is before it: the log has lost what it acknowledged.
        """
        before = self._before(flight)
        if before is not None:
            await before.landed.wait()
            return True
        expected = problem.integer("expected")
        if expected is not None and expected > flight.sequence:
            raise self._conflict(flight, problem)
        raise StreamGap(
            f"stream {self.stream}: the log expects record {expected} although it acknowledged "
            f"all before {flight.sequence}",
            expected=expected or 0,
            sequence=flight.sequence,
        )

    def _conflict(self, flight: _Flight, problem: Problem) -> StreamConflict:
        return StreamConflict(
            f"stream {self.stream}: the log holds something else at record {flight.sequence}; "
            f"does another process write to this stream? ({problem})",
            problem=problem,
            batch=flight.batch.body,
        )

    async def _settle(self, flight: _Flight, refusal: Refused) -> None:
        """Drops a batch that the log will never take, and rebuilds those behind it."""
        while (before := self._before(flight)) is not None:
            await before.landed.wait()
        if flight not in self._flights:
            return
        later = self._flights[self._flights.index(flight) + 1 :]
        for other in later:
            if other.task is not None:
                other.task.cancel()
        culprit = refusal.problem.integer("entry")
        innocent: list[_Piece] = []
        begin = 0
        for piece in flight.pieces:
            end = begin + piece.stop - piece.start
            if culprit is None:
                piece.submission.fail(refusal)
            elif begin <= culprit < end:
                position = piece.start + culprit - begin
                piece.submission.fail(RecordRefused(refusal.problem, position))
            else:
                innocent.append(piece)
            begin = end
        if len(innocent) == len(flight.pieces):
            # An entry number outside of the records would make this loop for ever.
            for piece in innocent:
                piece.submission.fail(refusal)
            innocent = []
        self._flights = [f for f in self._flights if f is not flight and f not in later]
        again = innocent + [piece for other in later for piece in other.pieces]
        for piece in reversed(again):
            self._enqueue(piece, front=True)
        self._next, self._previous = flight.sequence, flight.previous

    def _land(self, flight: _Flight, answer: tuple[LogReceipt, str]) -> None:
        """Hands out the receipts of a batch that is in the log."""
        if flight not in self._flights:
            return
        self._flights.remove(flight)
        receipt, unpublished = answer
        published: Published | None = None
        failure: MunimentError | None = None
        if receipt.published is not None:
            try:
                published = self._verify(flight, receipt, receipt.published)
            except (BadAnswer, VerificationError, FormatError) as error:
                failure = error
        elif flight.published and not unpublished:
            unpublished = "the log did not send the checkpoint that it was asked for"
        batch = BatchReceipt(
            self.stream,
            flight.sequence,
            receipt.first,
            receipt.count,
            receipt.manifest,
            receipt.size,
            published,
        )
        index, at = receipt.first, 0
        hashes = flight.batch.leaf_hashes
        for piece in flight.pieces:
            submission = piece.submission
            size = piece.stop - piece.start
            if submission.published:
                if failure is not None:
                    submission.fail(failure)
                submission.unpublished = submission.unpublished or unpublished
            entries = submission.entries[piece.start : piece.stop]
            submission.give(
                [
                    Receipt(number, entry, leaf, batch)
                    for number, entry, leaf in zip(
                        range(index + at, index + at + size),
                        entries,
                        hashes[at : at + size],
                        strict=True,
                    )
                ]
            )
            at += size

    def _verify(self, flight: _Flight, receipt: LogReceipt, part: PublishedPart) -> Published:
        return check_published(
            part,
            first=receipt.first,
            leaf_hashes=flight.batch.leaf_hashes[: receipt.count],
            origin=self.origin,
            policy=self.policy,
        )


def _durable(flight: _Flight, problem: Problem) -> LogReceipt | None:
    """The receipt of a batch that is in the log though not published; None if there is none."""
    receipt = receipt_of(problem)
    if receipt is None:
        return None
    try:
        check_receipt(receipt, count=len(flight.batch.records))
    except BadAnswer:
        return None
    return receipt
