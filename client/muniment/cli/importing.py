"""An import: records of lines to the log, in batches, and a receipt for each batch.

Reading, sending and printing go on at the same time, with as many batches on their way as the log's
window has room for.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeVar

import click

from muniment.cli.linerecords import LineRecords
from muniment.cli.lines import Line, LineSource
from muniment.errors import InputError, MunimentError, PartlyDone, RecordRefused
from muniment.gateway.gateway import Gateway
from muniment.gateway.withholding import Prepared
from muniment.tlog.encoding import format_base64

if TYPE_CHECKING:
    from muniment.gateway.receipts import Receipt

Wait: TypeAlias = Literal["durable", "published", "mirrored"]
"""What the log is waited for."""

T = TypeVar("T")


class _Sent(NamedTuple):
    """Lines on their way, and their receipts, which those behind a bad one do not get."""

    lines: list[Line]
    receipts: "asyncio.Future[list[Receipt]]"


class Importing:
    """One import on a gateway's stream."""

    def __init__(
        self,
        gateway: Gateway,
        records: LineRecords,
        *,
        batch: int,
        wait: Wait,
        resume: bool,
        tell: Callable[[int], None],
    ) -> None:
        """Takes what makes records of lines, how many go into a batch, and what to wait for.

        With `resume` it passes over as many records as the stream holds. `tell` is told the number
        of the last line that is logged.
        """
        self._gateway = gateway
        self._records = records
        self._batch = batch
        self._wait = wait
        self._resume = resume
        self._tell = tell
        self._held = 0  # records of the input that the stream holds already, not passed yet
        self._logged = 0
        self._error: MunimentError | None = None
        # Set when nothing more shall be read: a batch failed, or stdout is gone.
        self._stop = asyncio.Event()
        self._sent: asyncio.Queue[_Sent | None] = asyncio.Queue()

    async def run(self, file: Path) -> None:
        """Logs all lines of the input; ``PartlyDone`` if one failed after others were logged."""
        source = self._records.source(file)
        async with self._gateway:
            self._held = self._gateway.sequence if self._resume else 0
            # As many batches as may be in flight, so that the window stays full.
            slots = asyncio.Semaphore(self._gateway.log.window)
            printing = asyncio.create_task(self._print(slots))
            printing.add_done_callback(lambda _task: self._stop.set())
            try:
                await self._send(source, slots)
            except MunimentError as error:
                self._error = self._error or error
            self._sent.put_nowait(None)
            await printing
        if self._error is not None:
            if self._logged:
                raise PartlyDone(
                    self._error, f"{self._logged} records are logged, see the receipts"
                )
            raise self._error

    async def _send(self, source: LineSource, slots: asyncio.Semaphore) -> None:
        while await self._unless_stopped(slots.acquire()):
            part = await self._unless_stopped(source.part(self._batch))
            if part is None:
                return
            if not part:
                self._check_passed()
                return
            part, prepared, error = self._records.prepare(part)
            if self._held:
                part, prepared = self._pass(part, prepared)
            if prepared.entries:
                sending = asyncio.ensure_future(self._submit(part, prepared))
                self._sent.put_nowait(_Sent(part, sending))
            else:
                slots.release()
            if error is not None:
                raise error

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of some work; None when there is a reason to stop before it is done."""
        working = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() and not stopping.done() else None
        finally:
            working.cancel()
            stopping.cancel()

    def _pass(self, part: list[Line], prepared: Prepared) -> tuple[list[Line], Prepared]:
        """Takes away the records that the stream holds already."""
        passed = min(self._held, len(part))
        self._held -= passed
        if passed and not self._held:
            number = self._gateway.sequence
            click.echo(
                f"The stream holds the first {number} records, to line {part[passed - 1].number}.",
                err=True,
            )
        entries, addenda = prepared
        rest = {at - passed: own for at, own in addenda.items() if at >= passed}
        return part[passed:], Prepared(entries[passed:], rest)

    def _check_passed(self) -> None:
        """Makes sure, at the end of the input, that it has the records that the stream holds."""
        if self._held:
            holds = self._gateway.sequence
            raise InputError(
                f"the stream holds {holds} records, and the input only {holds - self._held}: it is "
                "not the one that was being imported on this stream"
            )

    async def _submit(self, part: list[Line], prepared: Prepared) -> "list[Receipt]":
        entries, addenda = prepared
        try:
            return await self._gateway.submit_encoded(
                entries,
                published=self._wait == "published",
                mirrored=self._wait == "mirrored",
                addenda=addenda,
            )
        except RecordRefused as refusal:
            number = part[refusal.position].number
            raise InputError(f"line {number}: the log refused it: {refusal}") from None

    async def _print(self, slots: asyncio.Semaphore) -> None:
        while (sent := await self._sent.get()) is not None:
            try:
                receipts = await sent.receipts
            except MunimentError as error:
                # Batches behind a failed one may be logged all the same: they get their receipts.
                self._error = self._error or error
                self._stop.set()
                continue
            finally:
                slots.release()
            numbered = zip(sent.lines, receipts, strict=False)
            for _, group in groupby(numbered, lambda pair: pair[1].batch.manifest):
                batch = list(group)
                self._logged += len(batch)
                click.echo(json.dumps(_receipt(batch)))
                self._tell(batch[-1][0].number)


def _receipt(logged: "list[tuple[Line, Receipt]]") -> dict[str, Any]:
    batch = logged[0][1].batch
    first = logged[0][1].index
    result: dict[str, Any] = {
        "first": first,
        "count": len(logged),
        "manifest": batch.manifest,
        "size": batch.size,
        "stream": batch.stream,
        "sequence": batch.sequence + first - batch.first,
        "lines": [logged[0][0].number, logged[-1][0].number],
    }
    if batch.published is not None:
        start = first - batch.first
        result["published"] = {
            "checkpoint": batch.published.checkpoint.encode().decode(),
            "proofs": [
                [format_base64(node) for node in proof]
                for proof in batch.published.proofs[start : start + len(logged)]
            ],
        }
    return result
