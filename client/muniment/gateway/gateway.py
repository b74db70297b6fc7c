"""A gateway's stream to the log: batches, exactly once, in order.

Why nothing is logged twice or lost silently:

- A batch, once built, keeps its bytes and its sequence number until the log has answered for good.
  A lost answer is followed by the same bytes, to which the log gives the first receipt again.
- A batch whose outcome is unknown is never given up in favour of another one at the same place:
  callers may stop waiting (deadline, cancellation), the batch goes on being tried.
- The only batches ever rebuilt are those behind one that the log will never take: they carry the
  hash of a manifest that is in no log, so no late copy of them can be accepted.
- When the log's stream is not where it was left, the gateway stops for good and says why.

``logstream`` is the way to the log, and ``delivery`` the work on it. ``authorization`` says what a
denial means, ``spool`` keeps records that must not wait for the log.
"""

import asyncio
import math
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final, Self

from muniment.errors import MunimentError, StreamError
from muniment.gateway.authorization import authorize
from muniment.gateway.breaker import Breaker
from muniment.gateway.calloptions import Decide
from muniment.gateway.calls import GatewaySource
from muniment.gateway.logstream import (
    DEFAULT_BATCH,
    DEFAULT_PUBLISH_WAIT,
    DEFAULT_WINDOW,
    LogStream,
)
from muniment.gateway.mirrored import Require, check_require
from muniment.gateway.once import ONCE_SUFFIX, OnceStore
from muniment.gateway.outcomes import PendingOutcome, Unfinished
from muniment.gateway.reach import Reach, reach_of
from muniment.gateway.receipts import Receipt
from muniment.gateway.salts import Salts
from muniment.gateway.sending import send
from muniment.gateway.spool import SPOOL_SUFFIX, Spool
from muniment.gateway.submissions import Passage
from muniment.gateway.withholding import (
    NO_ADDENDA,
    Addenda,
    GatewayWithholding,
    Keep,
    Prepared,
    prepare,
)
from muniment.http.access import Access
from muniment.local.home import Home
from muniment.permit import Permit, Trust
from muniment.records.preparation import Preparer, RecordInput
from muniment.tlog.note import Signer
from muniment.tlog.policy import Policy

DEFAULT_DEADLINE: Final = 30.0
"""Seconds that a caller waits for its receipts."""


def _ids() -> Callable[[], str]:
    """Makes the ids of one gateway's records: unique by a random prefix, then counted."""
    prefix, numbers = secrets.token_hex(8), count(1)
    return lambda: f"{prefix}-{next(numbers)}"


class Gateway(GatewaySource):
    """One stream of one gateway; use it as an async context manager.

    Concurrent callers share batches: a batch leaves at once when none is in flight, and what
    arrives meanwhile is gathered into the next; full batches leave up to ``window`` at a time.
    Raises ValueError if an argument is out of range, the URL is not one, or a pattern of
    ``withhold`` is not valid.

    Args:
        log_url: The log's base URL.
        signer: Signs the manifests; its key name is the records' producer.
        stream: The stream's label. Exactly one process may write to a stream at a time.
        origin: The log's origin; read from its checkpoint when None (trust on first use).
        policy: Verifies the checkpoints of published receipts; without it proofs are checked
            against the checkpoint, but the checkpoint's signatures are not, and ``authorize``
            refuses to work.
        batch_records: Most records in a batch.
        window: Most batches in flight.
        deadline: Seconds that ``submit`` waits when it is not told otherwise.
        publish_wait: Seconds that the log may take to publish, see ``submit``.
        spool: A file for records that must not wait for the log, delivered on the stream of
            this label with ``.spool`` appended.
        access: CA, client certificate and read token; by default the environment's.
        decide: The policy engine of ``call``.
        withhold: JSON pointers of what is withheld from the log: see ``withhold``, and the page on
            the SDK for what governed calls withhold. If None, and ``keep`` is given, what is
            private as a rule; if both are None, nothing.
        keep: Who keeps the addenda: ``log``, to which they are sent with the records, or
            ``gateway``: they stay in the spool's file, which it takes; if None, the log.
        pseudonyms: Ids that are logged as keyed pseudonyms: the pointers ``/request/subject/id``
            (of all agents, too) and ``/request/resource/id``, each with a key file; see
            ``Pseudonyms``.
        require: What decisions must be before there is a permit, calls too: ``cosigned`` by the
            policy's quorum, or ``mirrored``: also held by the mirrors that the policy asks for.

    Attributes:
        log: Its stream at the log.
        producer: The key name that records are from.
        salts: The salt of its commitments: that beside the spool; without one, nobody keeps it.
        unfinished: Outcomes that are being written.
        breaker: Whether the log is known to be away.
        once: The permits of calls that have a key; None without a spool.
        waiting: The outcomes that are still to come, of calls that will go on, by their keys.
        withholding: What it withholds; None for nothing.
        require: What decisions must be, unless ``authorize`` is told otherwise.
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
        spool: Path | str | None = None,
        access: Access | None = None,
        decide: Decide | None = None,
        withhold: Iterable[str] | None = None,
        keep: Keep | None = None,
        pseudonyms: Mapping[str, Path | str] | None = None,
        require: Require = "cosigned",
    ) -> None:
        seconds: object = deadline
        if not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
            raise ValueError(f"deadline: expected a number of seconds above 0, got {seconds!a}")
        check_require(require, policy)
        self.require: Require = require
        self.withholding = GatewayWithholding.of(withhold, keep, pseudonyms)
        if keep == "gateway" and spool is None:
            raise ValueError("keep: 'gateway' needs a spool, in whose file addenda are kept")
        self.producer = signer.vkey.name
        self.policy = policy
        self.deadline = deadline
        self.unfinished = Unfinished()
        self.breaker = Breaker()
        self.once = None if spool is None else OnceStore(Path(f"{spool}{ONCE_SUFFIX}"))
        self.waiting: dict[str, PendingOutcome] = {}
        self.decide = decide
        make_stream = partial(
            LogStream, log_url, signer, batch_records=batch_records, window=window, access=access
        )
        self.log = make_stream(
            stream=stream,
            origin=origin,
            policy=policy,
            publish_wait=publish_wait,
            answered=lambda: self.breaker.answered(),  # noqa: PLW0108 - that of then
        )
        self._keeps_addenda = keep == "gateway"
        self._spool_stream = partial(make_stream, stream=stream + SPOOL_SUFFIX)
        self._home = Home("the gateway")
        self._preparer = Preparer(
            self.producer,
            now_ms=lambda: time.time_ns() // 1_000_000,
            new_id=_ids(),
        )
        self._spool_path = None if spool is None else Path(spool)
        self._spool: Spool | None = None
        self.salts = Salts.passing()

    # Life

    async def __aenter__(self) -> Self:
        self._home.check_process()
        self._home.enter(asyncio.get_running_loop())
        await self.log.__aenter__()
        try:
            await self._open_spool()
        except BaseException:
            if self._spool is not None:
                await self._spool.close(drain=0)
            await self.log.close()
            raise
        return self

    async def _open_spool(self) -> None:
        """Opens the spool, if there is one, once the log has told where the stream is."""
        if (path := self._spool_path) is not None:
            make = partial(self._spool_stream, origin=self.origin)
            self._spool = await Spool.open(path, make, self._preparer, withholding=self.withholding)
            self.salts = await asyncio.to_thread(Salts.make, path)

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def origin(self) -> str:
        """The log's origin; unless it was given, known once the gateway is open."""
        return self.log.origin

    @property
    def sequence(self) -> int:
        """Where the stream stood when the gateway was opened: its next record's number."""
        return self.log.sequence

    @property
    def has_spool(self) -> bool:
        """Whether a spool is open."""
        return self._spool is not None

    @property
    def spool(self) -> Spool:
        """The durable spool; its ``put`` never waits for the log.

        Raises RuntimeError if the gateway has none, or is not open.
        """
        if self._spool is None:
            raise RuntimeError("the gateway has no open spool: Gateway(..., spool=PATH)")
        return self._spool

    async def close(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - a bound for the drain, not for the call
        """Delivers what was accepted from callers, then closes; safe to call twice.

        What is undelivered after ``timeout`` seconds, or the gateway's deadline, fails with
        ``GatewayClosed``; the spool keeps its own. Raises WrongLoop if another event loop has it.
        """
        if self._home.is_forked:
            return  # all there is to close is its parent's
        self._home.check()
        try:
            await self.log.close(self.deadline if timeout is None else timeout)
            # Calls that got no permit now have outcomes, for which the spool is still open.
            await asyncio.sleep(0)
            await self.unfinished.settled()
        finally:
            spool, self._spool = self._spool, None
            if spool is not None:
                await spool.close()

    # Submitting

    def prepare(self, records: Iterable[RecordInput]) -> list[bytes]:
        """Completes and checks records, as ``submit`` does before it sends them.

        What the gateway withholds is not in them, see ``prepare_withheld``. Raises RecordError for
        the first one that is no record, with its number from 0.
        """
        return self.prepare_withheld(records).entries

    def prepare_withheld(
        self, records: Iterable[RecordInput], addenda: Iterable[bytes] = ()
    ) -> Prepared:
        """As ``prepare``, together with the addenda of what is withheld, and those that are given.

        Raises:
            RecordError: As ``prepare``.
            FormatError: If a given addendum is none, or no record names it; with its number.
        """
        return prepare(self._preparer, self.withholding, records, addenda)

    async def submit(
        self,
        records: Iterable[RecordInput],
        *,
        published: bool = False,
        mirrored: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 - the batch must outlive the caller's deadline
        addenda: Iterable[bytes] = (),
    ) -> list[Receipt]:
        """Logs records, in order; returns one receipt a record once all of them are durable.

        Members ``v``, ``id``, ``time`` and ``producer`` are filled in where missing. The records of
        one call are logged in one batch when they fit.

        What the gateway withholds is taken out of them first. ``addenda`` are those of records that
        withhold members already; they travel, or are kept, as the gateway's own.

        With ``published`` it waits for the quorum's cosignatures too, and the receipts can make
        proofs; with ``mirrored`` also until the mirrors that the policy asks for hold the records,
        which the proofs then say. Cancelling the call, like its deadline (``timeout`` seconds),
        ends the waiting: records that are in a batch already will be logged, the others will not.

        Raises:
            RecordError: If a record is not one; with its number from 0, and names the member.
                Nothing of the call was sent.
            RecordRefused, Refused: If the log will not take them.
            NotPublished: If they are durable, but were not cosigned in time; ``NotMirrored`` if
                they were, and mirrors do not hold them.
            Undelivered: If the deadline passed first.
            StreamError: If the stream is not where this gateway left it.
            VerificationError: If what the log published does not verify.
            GatewayClosed: If the gateway is closed, or was opened by the process that forked here.
            WrongLoop: If it was opened in another event loop.
        """
        prepared = self.prepare_withheld(records, addenda)
        return await self.submit_encoded(
            prepared.entries,
            published=published,
            mirrored=mirrored,
            timeout=timeout,
            addenda=prepared.addenda,
        )

    async def authorize(
        self,
        decision: RecordInput,
        *,
        edges: Iterable[RecordInput] = (),
        timeout: float | None = None,  # noqa: ASYNC109 - see submit
        addenda: Iterable[bytes] = (),
        require: Require | None = None,
        with_status: bool | Trust = False,
    ) -> Permit:
        """Logs a decision; returns its permit once a quorum's cosigned proof was verified here.

        Fails closed: there is a permit, or there is an exception, and nothing may run. A decision
        of false is logged too, and then denied with its codes. ``edges`` are logged right behind
        the decision, in the same batch, and not with a denial: see ``lineage_edges``. What the
        gateway withholds is taken out first; the permit can disclose it, and ``addenda``, those of
        a decision that withholds members already. ``require`` is the gateway's own if None; with
        ``mirrored`` the permit's proof is one that mirrors have cosigned, too.

        ``with_status`` gives the permit its status, too: what the log has on its lineage, proven to
        be all, so that a runtime needs no replica. A runtime that trusts otherwise than by this
        gateway's policy alone, gateways that it names for example, needs the one for its ``Trust``.
        A log that keeps no index log, or whose index is behind or lost, has none: denied.

        Raises:
            Denied: Whatever the reason; see ``authorization`` for the codes. When the deadline
                passes, the decision may be logged all the same; an outcome ``aborted`` with the
                codes is put into the spool then, if there is one, and so it is on cancellation.
            ValueError: If the gateway has no policy: then it cannot verify anything; or mirrors are
                required, and its policy names none.
        """
        status = None if with_status is False else with_status
        if status is True:
            status = None if self.policy is None else Trust(policy=self.policy)
        return await authorize(
            self, decision, edges, timeout, addenda, require=require, status=status
        )

    def find(self) -> "Gateway":
        """The gateway itself, which its owner opens."""
        return self

    def reach(self, *, is_async: bool) -> Reach:
        """The way to the gateway's loop, for a caller who awaits or one who blocks.

        Raises GatewayClosed if the gateway is not open in this process.
        """
        return reach_of(self._home.loop, is_async=is_async)

    @property
    def failure(self) -> MunimentError | None:
        """Why nothing is taken any more, here or by the spool; None while all is well."""
        if self.log.failure is not None:
            return self.log.failure
        failure = None if self._spool is None else self._spool.failure
        return failure if isinstance(failure, StreamError) else None

    def call_soon(self, work: Callable[[], object]) -> None:
        """Has the gateway's loop do something, if it is still there; any thread may ask."""
        with suppress(RuntimeError):
            self._home.loop.call_soon_threadsafe(work)

    async def submit_encoded(
        self,
        entries: Sequence[bytes],
        *,
        published: bool = False,
        mirrored: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 - see submit
        passage: Passage | None = None,
        addenda: Addenda = NO_ADDENDA,
    ) -> list[Receipt]:
        """Like ``submit``, of records that are complete and canonical; the log refuses what is not.

        When the call has failed, ``passage`` says whether the log may have them all the same.
        ``addenda`` are theirs; no record is sent before its addenda are on disk here, if this
        gateway keeps them.
        """
        self._home.check()
        self.log.check_open()
        return await send(
            self,
            entries,
            published=published,
            mirrored=mirrored,
            seconds=self.deadline if timeout is None else timeout,
            passage=passage,
            addenda=addenda,
            keeper=self.spool if addenda and self._keeps_addenda else None,
        )
