"""Batches on their way to the log: a window, retries, and what each answer means.

``gateway`` says why nothing is logged twice; this is where it is done. Everything runs on one
event loop; the state changes only between two awaits.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from muniment.errors import (
    BadAnswer,
    FormatError,
    MunimentError,
    Problem,
    RecordRefused,
    Refused,
    StreamConflict,
    StreamError,
    StreamGap,
    Unreachable,
    VerificationError,
)
from muniment.gateway.receipts import (
    BatchReceipt,
    Published,
    check_published,
    check_receipt,
    make_receipts,
)
from muniment.gateway.submissions import (
    ROOM,
    Builder,
    DeliveryOptions,
    Flight,
    Piece,
    Queue,
    culprit_of,
)
from muniment.http.loganswers import LogReceipt, receipt_of
from muniment.http.logclient import LogClient
from muniment.local.backoff import Backoff
from muniment.records.manifest import Batch
from muniment.tlog.keys.remote import SigningError
from muniment.tlog.note import Signer

ATTEMPT_TIMEOUT: Final = 15.0
"""Seconds for one attempt to deliver a batch (besides the wait for publication)."""

ADDENDA_PACE: Final = 1024 * 1024
"""Bytes of addenda for each of which an attempt may take one second longer."""

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 5.0
"""Seconds between two attempts: doubled from the first to the longest, half of it jitter."""


class Delivery:
    """The batches of one stream; it stands at ``place``: next number, last manifest's leaf hash.

    Attributes:
        queue: What waits for a batch; call ``pump`` after adding to it.
        flights: The batches in flight, in order.
        failure: Why nothing is taken any more; None while all is well.
        changed: Set whenever something landed or failed.
    """

    def __init__(
        self,
        client: LogClient,
        signer: Signer,
        options: DeliveryOptions,
        place: tuple[int, bytes],
        *,
        answered: Callable[[], object],
    ) -> None:
        """`answered` is called when a batch is cosigned, as it should be."""
        self.queue = Queue()
        self.flights: list[Flight] = []
        self.failure: MunimentError | None = None
        self.changed = asyncio.Event()
        self._client = client
        self._answered = answered
        self._options = options
        self._builder = Builder(signer, options, place)
        self._is_pumping = False
        # One signature after the other: each manifest names the one before it.
        self._signing: asyncio.Task[None] | None = None
        self._unsigned = ""  # why there is no signature, from who keeps the key

    async def settled(self) -> None:
        """Waits until nothing is queued or in flight, or nothing can be any more."""
        while (self.queue or self.flights or self._signing) and self.failure is None:
            self.changed.clear()
            await self.changed.wait()

    def last_error(self) -> str:
        """What keeps the oldest batch from landing."""
        if self.flights:
            return self.flights[0].last_error
        return self._unsigned or "still queued"

    def end(self, error: MunimentError) -> list[asyncio.Task[None]]:
        """Fails everything that waits; returns the cancelled deliveries."""
        if self.failure is None:
            self.failure = error
        current = asyncio.current_task()
        tasks: list[asyncio.Task[None]] = []
        for flight in self.flights:
            for piece in flight.pieces:
                piece.submission.fail(error)
            if flight.task is not None and flight.task is not current:
                flight.task.cancel()
                tasks.append(flight.task)
        for piece in self.queue.clear():
            piece.submission.fail(error)
        if self._signing is not None and self._signing is not current:
            self._signing.cancel()
            tasks.append(self._signing)
        self.flights.clear()
        self.changed.set()
        return tasks

    def pump(self) -> None:
        """Sends what may be sent, once everything that is ready to run has run.

        Callers that one batch woke up come back together; without this the first of them would
        leave alone, and the others would wait for it.
        """
        if not self._is_pumping:
            self._is_pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Sends batches while the rules allow."""
        self._is_pumping = False
        while (
            self.failure is None
            and self._signing is None
            and self.queue
            and len(self.flights) < self._options.window
            and (
                not self.flights
                or self.queue.records >= self._options.batch_records
                or self.queue.size >= ROOM
            )
        ):
            if pieces := self.queue.take(self._options.batch_records, ROOM):
                if self._builder.is_afar:
                    self._signing = asyncio.get_running_loop().create_task(self._sign_afar(pieces))
                else:
                    self._send_at_once(pieces)

    async def _sign_afar(self, pieces: list[Piece]) -> None:
        """Builds a batch in a thread, where the signature may take its time, and sends it.

        Who keeps the key may be away for a while, as the log may: callers have their deadlines, and
        what nobody waits for any more is not signed.
        """
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        try:
            while pieces := [one for one in pieces if not one.submission.future.done()]:
                place = self._builder.place
                try:
                    batch = await asyncio.to_thread(self._builder.build, pieces)
                except SigningError as error:
                    self._unsigned = str(error)
                    await asyncio.sleep(backoff.next())
                except (FormatError, ValueError) as error:
                    _refuse(pieces, error)
                    break
                else:
                    self._unsigned = ""
                    # Unless the log has refused a batch meanwhile, and the stream goes on before.
                    if place == self._builder.place:
                        self._send(pieces, batch)
                        break
        finally:
            self._signing = None
            if self.failure is not None:
                for piece in pieces:
                    piece.submission.fail(self.failure)
            self.changed.set()
            self.pump()

    def _send_at_once(self, pieces: list[Piece]) -> None:
        try:
            batch = self._builder.build(pieces)
        except (FormatError, ValueError) as error:
            _refuse(pieces, error)
        else:
            self._send(pieces, batch)

    def _send(self, pieces: list[Piece], batch: Batch) -> None:
        try:
            flight = self._builder.set_out(pieces, batch)
        except (FormatError, ValueError) as error:
            _refuse(pieces, error)
            return
        self.flights.append(flight)
        flight.task = asyncio.get_running_loop().create_task(self._deliver(flight))

    async def _deliver(self, flight: Flight) -> None:
        try:
            answer = await self._answer(flight)
            if answer is not None:
                self._land(flight, answer)
        except asyncio.CancelledError:
            raise
        except StreamError as error:
            self.end(error)
        except Exception as error:
            # A bug here would leave callers waiting for ever; they must fail closed instead.
            self.end(StreamError(f"internal error: {error!r}"))
            raise
        finally:
            flight.landed.set()
            self.changed.set()
            self.pump()

    async def _answer(self, flight: Flight) -> tuple[LogReceipt, str] | None:
        """Tries until the log has answered for good; None when it refused and that is settled."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        wait = self._options.publish_wait if flight.published else None
        limit = ATTEMPT_TIMEOUT + (wait or 0.0)
        limit += (len(flight.body) - len(flight.batch.body)) / ADDENDA_PACE
        while True:
            asked = 0.0
            try:
                answer = await self._client.submit_batch(flight.body, published=wait, timeout=limit)
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
            await asyncio.sleep(backoff.next(asked))

    def _before(self, flight: Flight) -> Flight | None:
        """The batch in flight before this one; None for the first, or when it has left."""
        if flight not in self.flights:
            return None
        at = self.flights.index(flight)
        return self.flights[at - 1] if at else None

    async def _was_early(self, flight: Flight, problem: Problem) -> bool:
        """Waits for the batch before; True when it landed, so that this one may go again.

        Raises StreamGap if none is before it: the log has lost what it acknowledged.
        """
        before = self._before(flight)
        if before is not None:
            await before.landed.wait()
            return True
        expected = problem.integer("expected")
        if expected is not None and expected > flight.sequence:
            raise self._conflict(flight, problem)
        raise StreamGap(
            f"stream {self._options.stream}: the log expects record {expected} although it "
            f"acknowledged all before {flight.sequence}",
            expected=expected or 0,
            sequence=flight.sequence,
        )

    def _conflict(self, flight: Flight, problem: Problem) -> StreamConflict:
        return StreamConflict(
            f"stream {self._options.stream}: the log holds something else at record "
            f"{flight.sequence}; does another process write to this stream? ({problem})",
            problem=problem,
            batch=flight.batch.body,
        )

    async def _settle(self, flight: Flight, refusal: Refused) -> None:
        """Drops a batch that the log will never take, and rebuilds those behind it."""
        while (before := self._before(flight)) is not None:
            await before.landed.wait()
        if flight not in self.flights:
            return
        later = self.flights[self.flights.index(flight) + 1 :]
        for other in later:
            if other.task is not None:
                other.task.cancel()
        culprit = culprit_of(flight, refusal.problem)
        innocent: list[Piece] = []
        begin = 0
        for piece in flight.pieces:
            end = begin + len(piece)
            if culprit is None:
                piece.submission.refuse(piece, refusal)
            elif begin <= culprit < end:
                position = piece.start + culprit - begin
                piece.submission.refuse(piece, RecordRefused(refusal.problem, position))
            else:
                innocent.append(piece)
            begin = end
        if len(innocent) == len(flight.pieces):
            # An entry number outside of the records would make this loop for ever.
            for piece in innocent:
                piece.submission.refuse(piece, refusal)
            innocent = []
        self.flights = [f for f in self.flights if f is not flight and f not in later]
        again = innocent + [piece for other in later for piece in other.pieces]
        self.queue.put_back(again)
        self._builder.place = flight.sequence, flight.previous

    def _land(self, flight: Flight, answer: tuple[LogReceipt, str]) -> None:
        """Hands out the receipts of a batch that is in the log."""
        if flight not in self.flights:
            return
        self.flights.remove(flight)
        receipt, unpublished = answer
        published: Published | None = None
        failure: MunimentError | None = None
        if receipt.published is not None:
            try:
                policy = self._options.policy
                published = check_published(
                    receipt.published,
                    first=receipt.first,
                    leaf_hashes=flight.batch.leaf_hashes[: receipt.count],
                    origin=self._options.origin,
                    policy=None if policy is None else policy.at(int(time.time())),
                )
            except (BadAnswer, VerificationError, FormatError) as error:
                failure = error
            else:
                self._answered()
        elif flight.published and not unpublished:
            unpublished = "the log did not send the checkpoint that it was asked for"
        batch = BatchReceipt(
            self._options.stream,
            flight.sequence,
            receipt.first,
            receipt.count,
            receipt.manifest,
            receipt.size,
            published,
        )
        begin = 0
        for piece in flight.pieces:
            submission = piece.submission
            end = begin + len(piece)
            if submission.published:
                if failure is not None:
                    submission.fail(failure)
                submission.unpublished = submission.unpublished or unpublished
            hashes = flight.batch.leaf_hashes[begin:end]
            submission.give(make_receipts(receipt.first + begin, piece.entries, hashes, batch))
            begin = end


def _refuse(pieces: Iterable[Piece], error: Exception) -> None:
    """Tells the callers that no batch can be made of their records."""
    failure = FormatError(str(error))
    for piece in pieces:
        piece.submission.refuse(piece, failure)


def _durable(flight: Flight, problem: Problem) -> LogReceipt | None:
    """The receipt of a batch that is in the log though not published; None if there is none."""
    receipt = receipt_of(problem)
    if receipt is None:
        return None
    try:
        check_receipt(receipt, count=len(flight.batch.records))
    except BadAnswer:
        return None
    return receipt
