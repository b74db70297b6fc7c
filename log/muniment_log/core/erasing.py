"""Erases addenda: first the record that says so, then the bytes.

An erasure is noted with its record before anything else. From then on it is carried through: a
start after a crash logs the record, unless it is logged already, and removes the bytes. So no
record says erased what is kept for ever, and nothing is gone of which no record says why.

A copy of the addenda that is older than the log would bring erased bytes back. So the addenda know
up to where the log's erasures were carried through, and a start reads those behind that again.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import uuid4

from muniment.local.logs import event
from muniment.records.api import Erasure, encode_record, parse_record
from muniment.records.manifest import MANIFEST
from muniment.records.members import MAX_ERASED
from muniment_log.core.erasable import Mark
from muniment_log.core.repeats import Stated, request_of
from muniment_log.core.retention import Retention, say_duration
from muniment_log.core.tokens import token_key
from muniment_log.errors import (
    EngineRefusedError,
    LogError,
    OverloadedError,
    StorageError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from muniment_log.core.erasable import ErasablePort, Selection, Stored, Totals
    from muniment_log.core.ports import SequencerPort
    from muniment_log.core.retention import Rule

MOST: Final = 50_000
"""Addenda that one command erases."""

CHECK_SECONDS: Final = 600.0
"""How often a running log looks for what is due."""

RETRY_SECONDS: Final = 5.0
"""After that a log tries again to complete an erasure."""

_ERASURE: Final = b'"kind":"erasure"'
_PART: Final = 5_000  # addenda looked at in one statement
_AT_ONCE: Final = 100  # records logged in one request

_LOGGER: Final = logging.getLogger(__name__)


class NotErasableError(LogError):
    """What is to be erased is not there, or must not be erased; nothing was."""


class ErasureResult(NamedTuple):
    """What an erasure has done.

    Attributes:
        addenda: how many it erased.
        bytes: of them.
        records: leaf indices of the records that say so.
        is_clean: False while the bytes may still be where the storage writes before their place.
        held: old versions that the storage keeps by itself, see `ErasablePort.remove`.
    """

    addenda: int
    bytes: int
    records: tuple[int, ...]
    is_clean: bool
    held: tuple[str, ...] = ()


class Eraser:
    """Erases on command and by schedule; `run` is its one task."""

    def __init__(
        self,
        *,
        origin: str,
        addenda: ErasablePort,
        sequencer: SequencerPort,
        size: Callable[[], int],
        retention: Retention,
        now_ms: Callable[[], int],
        new_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        """Puts an eraser together.

        Args:
            origin: the log's: its records are of this producer.
            addenda: the storage.
            sequencer: logs its records.
            size: leaves that are in the log now.
            retention: the rules.
            now_ms: the clock, Unix milliseconds.
            new_id: makes ids of records.
        """
        self._origin = origin
        self._addenda = addenda
        self._sequencer = sequencer
        self._size = size
        self._now_ms = now_ms
        self._new_id = new_id
        self._retention = retention
        self._passed: dict[int, int] = {}  # by period: the last id that was looked at
        self._one_at_a_time = asyncio.Lock()
        self._pending = 1  # what a crash has left is not known yet
        self._failure: StorageError | None = None
        self._is_clean = False  # likewise
        self._wake = asyncio.Event()

    @property
    def pending(self) -> int:
        """Erasures that are noted and not yet complete.

        Also 1 while the storage may have old bytes, and from a start until `run` has looked.
        """
        return self._pending or int(not self._is_clean)

    @property
    def totals(self) -> Totals:
        """How much is kept."""
        return self._addenda.totals

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """How many addenda are kept, their bytes, how many were erased and are to be."""
        addenda, size, erased = self.totals
        return addenda, size, erased, self.pending

    async def _logged(self) -> Mark:
        """Up to where there are erasures in the log: all that it has now."""
        own = await self._sequencer.stream(token_key(self._origin))
        return Mark(own.next, self._size())

    def describe(self) -> dict[str, int]:
        """What a status shows."""
        return {**self.totals._asdict(), "erasing": self.pending}

    def use(self, retention: Retention) -> None:
        """Takes other rules."""
        self._retention = retention
        self._passed.clear()
        self._wake.set()

    async def select(self, selection: Selection) -> list[Stored]:
        """What a command would erase, oldest first.

        Raises NotErasableError if a digest is not kept here, there is nothing or too much, or a
        legal minimum keeps some of it; says which.
        """
        found = await self._addenda.find(selection, MOST + 1)
        if len(found) > MOST:
            raise NotErasableError(
                f"more than {MOST} addenda: erase them in parts, each with an earlier --before"
            )
        missing = set(selection.digests) - {one.digest for one in found}
        if missing and selection.is_whole and selection.before_ms is None:
            raise NotErasableError(
                f"{min(missing).hex()}: this log keeps no addendum of this digest"
                + (f", nor of {len(missing) - 1} others" if len(missing) > 1 else "")
            )
        if not found:
            raise NotErasableError("this log keeps no such addendum")
        self._check_minimum(found)
        return found

    def _check_minimum(self, found: Sequence[Stored]) -> None:
        now = self._now_ms()
        held: list[tuple[int, Rule, Stored]] = []
        for one in found:
            kept = self._retention.kept(one.labels)
            if kept.protector is not None and one.time + kept.minimum > now:
                held.append((one.time + kept.minimum, kept.protector, one))
        if held:
            until, rule, last = max(held, key=lambda one: one[0])
            oldest = min(one.time for _, _, one in held)
            rest = "" if len(held) == len(found) else f"; --before {_say(oldest)} leaves them out"
            raise NotErasableError(
                f"{len(held)} of {len(found)} addenda are not as old as the legal minimum of "
                f"{say_duration(rule.legal_minimum)} ({rule}), which keeps {last.digest.hex()} "
                f"until {_say(until)}: nothing was erased{rest}"
            )

    async def erase(self, found: Sequence[Stored], *, by: str, reason: str | None) -> ErasureResult:
        """Erases what was selected, for good.

        Args:
            found: what.
            by: who wants it.
            reason: why.

        Raises:
            NotErasableError: a legal minimum keeps some of it.
            OverloadedError, UnavailableError, EngineRefusedError: the records could not be logged
                yet, or the bytes not removed; the erasure is noted, and completed later.
            StorageError: it is not known what is stored; the process must end.
        """
        async with self._one_at_a_time:
            self._check_minimum(found)
            records = dict(self._records(found, by, reason))
            self._wake.set()
            try:
                # E0: a crash before this is durable. Nothing was erased.
                await self._addenda.begin(records)
                self._pending += len(records)
                indices, held = await self._complete()
            except EngineRefusedError:
                raise  # tried again by `run`
            except StorageError as error:
                self._failure = error
                raise
        mine = tuple(sorted(indices[id_] for id_ in records))
        event(_LOGGER, logging.INFO, "erased", addenda=len(found), by=by, records=len(mine))
        size = sum(one.size for one in found)
        return ErasureResult(len(found), size, mine, self._is_clean, tuple(held))

    def _records(
        self, found: Sequence[Stored], by: str, reason: str | None
    ) -> Iterator[tuple[str, bytes]]:
        digests = sorted({one.digest.hex() for one in found})
        now = self._now_ms()
        for start in range(0, len(digests), MAX_ERASED):
            some = tuple(digests[start : start + MAX_ERASED])
            record = Erasure(
                v=1,
                id=self._new_id(),
                time=now,
                producer=self._origin,
                digests=some,
                by=by,
                reason=reason,
            )
            yield record.id, encode_record(record)

    async def _complete(self) -> tuple[dict[str, int], list[str]]:
        """Completes all erasures that are noted.

        Returns where the record of each stands, by its id, and what the storage still holds.
        """
        begun = await self._addenda.begun()
        self._pending = len(begun)
        indices: dict[str, int] = {}
        held: list[str] = []
        for start in range(0, len(begun), _AT_ONCE):
            records = begun[start : start + _AT_ONCE]
            parsed = [_erasure(data) for data in records]
            stated = [Stated(id=True, time=True)] * len(records)
            members = [(one.id, one.time) for one in parsed]
            request = request_of(records, stated, members, None)
            # E1: a crash before this is durable. The next start logs the same records; what was
            # logged keeps its place.
            receipt = await self._sequencer.submit_records(self._origin, request)
            places = receipt.indices or range(receipt.first, receipt.first + receipt.count)
            self._is_clean = False
            for record, index in zip(parsed, places, strict=True):
                # E2: a crash before this is durable. The next start finds the record, and removes
                # the bytes.
                digests = [bytes.fromhex(digest) for digest in record.digests]
                held += await self._addenda.remove(record.id, digests, index, self._now_ms())
                self._pending -= 1
                indices[record.id] = index
        if indices:
            await self._addenda.put_mark(await self._logged())
        if not self._is_clean:
            # E3: a crash before this. The storage's own log may have the bytes; each start cuts it.
            self._is_clean = await self._addenda.forget()
        if held:
            event(_LOGGER, logging.WARNING, "old versions hold erased addenda", versions=len(held))
        return indices, held

    async def catch_up(self, leaves: Callable[[int], AsyncIterator[bytes]]) -> int:
        """Erases again what an older copy of the addenda has brought back, before they are read.

        Raises StorageError if the storage or the log cannot be read.

        Args:
            leaves: gives the leaves of the log from an index on.

        Returns:
            How many addenda it has erased.
        """
        known, now = await self._addenda.mark(), await self._logged()
        if known is None or known.next == now.next:
            return 0
        before = self.totals.addenda
        index = known.seen
        async for leaf in leaves(known.seen):
            if _ERASURE in leaf and not leaf.startswith(MANIFEST):
                record = parse_record(leaf)
                if isinstance(record, Erasure) and record.producer == self._origin:
                    digests = [bytes.fromhex(digest) for digest in record.digests]
                    await self._addenda.remove(record.id, digests, index, self._now_ms())
            index += 1
        await self._addenda.put_mark(now)
        self._is_clean = await self._addenda.forget()
        again = before - self.totals.addenda
        if again:
            event(_LOGGER, logging.WARNING, "an older copy of the addenda", erased_again=again)
        return again

    async def run(self) -> None:
        """Completes what a crash has left, and erases what is due, until cancelled.

        Raises StorageError if the storage failed; the process must end.
        """
        while True:
            self._wake.clear()
            try:
                async with self._one_at_a_time:
                    if self._failure is not None:
                        raise self._failure
                    await self._complete()
                await self.erase_due()
                seconds = CHECK_SECONDS if self._is_clean else RETRY_SECONDS
            except (OverloadedError, UnavailableError, EngineRefusedError) as error:
                event(_LOGGER, logging.WARNING, "erasing waits", reason=str(error))
                seconds = RETRY_SECONDS
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def erase_due(self) -> int:
        """Erases what has been kept as long as the rules say; how many addenda."""
        erased = 0
        for period in self._retention.periods:
            while True:
                last = self._passed.get(period, 0)
                now = self._now_ms()
                some, end = await self._addenda.after(last, now - period, _PART)
                if end == last:
                    break
                erased += await self._erase_due(some, now)
                self._passed[period] = end
        return erased

    async def _erase_due(self, some: Sequence[Stored], now: int) -> int:
        by_rule: dict[Rule, list[Stored]] = {}
        for one in some:
            kept = self._retention.kept(one.labels)
            if kept.eraser is not None and kept.due is not None and one.time + kept.due <= now:
                by_rule.setdefault(kept.eraser, []).append(one)
        for rule, due in by_rule.items():
            reason = f"retain = {say_duration(rule.retain or 0)}"
            await self.erase(due, by=f"retention of {rule}"[:256], reason=reason)
        return sum(map(len, by_rule.values()))


def _erasure(data: bytes) -> Erasure:
    record = parse_record(data)
    if not isinstance(record, Erasure):
        raise StorageError("what is noted as an erasure is another record")
    return record


def _say(ms: int) -> str:
    """A time as --before takes it."""
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
