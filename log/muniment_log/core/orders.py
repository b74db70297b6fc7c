"""Takes what was verified to its place in the log, with the addenda that came along."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Protocol

from muniment_log.errors import NotOrderedError, StorageError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from muniment.records.manifest import Batch
    from muniment_log.core.addenda import AddendaPort, Sent
    from muniment_log.core.ports import Receipt, SequencerPort
    from muniment_log.core.repeats import RequestRecords


class OrdersPort(Protocol):
    """Gives verified records their places, and keeps their addenda; see `SequencerPort`."""

    async def batch(self, batch: Batch, sent: Sent | None) -> Receipt:
        """Orders a signed batch.

        Raises what `SequencerPort.submit` and `AddendaPort.keep` do.
        """
        ...

    async def records(self, producer: str, request: RequestRecords, sent: Sent | None) -> Receipt:
        """Orders records of a producer that cannot sign.

        Raises what `SequencerPort.submit_records` and `AddendaPort.keep` do.
        """
        ...


class Orders:
    """Over a sequencer and the store of the addenda in this process."""

    def __init__(self, sequencer: SequencerPort, addenda: AddendaPort) -> None:
        self._sequencer = sequencer
        self._addenda = addenda
        self._working: set[asyncio.Task[Receipt]] = set()

    async def batch(self, batch: Batch, sent: Sent | None) -> Receipt:
        """See `OrdersPort`."""
        if sent is None:
            return await self._sequencer.submit(batch)
        return await self._with_addenda(sent, lambda: self._sequencer.submit(batch))

    async def records(self, producer: str, request: RequestRecords, sent: Sent | None) -> Receipt:
        """See `OrdersPort`."""
        submit = partial(self._sequencer.submit_records, producer, request)
        return await (submit() if sent is None else self._with_addenda(sent, submit))

    async def _with_addenda(self, sent: Sent, order: Callable[[], Awaitable[Receipt]]) -> Receipt:
        """Has addenda stored, then their records ordered.

        It goes on to the end when the caller is cancelled, so that the outcome is known.
        """
        task = asyncio.get_running_loop().create_task(self._keep_and_order(sent, order))
        self._working.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[Receipt]) -> None:
        self._working.discard(task)
        if not task.cancelled():
            task.exception()  # read: whoever waited may be gone

    async def _keep_and_order(self, sent: Sent, order: Callable[[], Awaitable[Receipt]]) -> Receipt:
        # A1: a crash before this is durable. Nothing is there, and nobody has a receipt.
        await self._addenda.keep(sent)
        # A2: a crash before the order. The addenda are noted as arriving, no record names them, and
        # the next start removes them.
        try:
            receipt = await order()
        except NotOrderedError:
            self._addenda.refused(sent)
            raise
        except (UnavailableError, StorageError, asyncio.CancelledError):
            self._addenda.abandoned(sent)
            raise
        except BaseException:
            self._addenda.refused(sent)
            raise
        # A3: a crash after it, before the receipt. They are still noted as arriving, and the next
        # start finds the records that name them.
        first = receipt.first if receipt.indices is None else min(receipt.indices)
        await self._addenda.named(sent, first)
        return receipt
