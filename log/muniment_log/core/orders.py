"""Takes what was verified to its place in the log, with the addenda that came along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from muniment_log.core.addenda import Keeper

if TYPE_CHECKING:
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
        self._keeper = Keeper(addenda)

    async def batch(self, batch: Batch, sent: Sent | None) -> Receipt:
        """See `OrdersPort`."""
        return await self._keeper.ordered(sent, lambda: self._sequencer.submit(batch))

    async def records(self, producer: str, request: RequestRecords, sent: Sent | None) -> Receipt:
        """See `OrdersPort`."""
        return await self._keeper.ordered(
            sent, lambda: self._sequencer.submit_records(producer, request)
        )
