"""What the process that orders and commits does for one worker: the other side of its ports."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from muniment.tlog.tiles import ENTRIES, Tile
from muniment_log.core.ordering import RecalledError
from muniment_log.errors import DamagedTileError
from muniment_log.workers.wire import (
    Answered,
    BatchOrder,
    EdgeParts,
    Forwarded,
    RecordsOrder,
    SentParts,
)
from muniment_service.limits import too_large

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from muniment.tlog.checkpoint import SignedCheckpoint
    from muniment_log.core.orders import OrdersPort
    from muniment_log.core.ports import Receipt
    from muniment_log.core.queueing import Told
    from muniment_log.core.repeats import RequestRecords
    from muniment_log.publish.published import PublishedHead
    from muniment_log.storage.embedded import EmbeddedTiles
    from muniment_log.workers.channel import Notices, Prompt, Questions
    from muniment_service.http import Responder


class Ports(NamedTuple):
    """What a log in one file consists of, for those who take its requests.

    Attributes:
        at_once: orders records without addenda, see `TokenIntake.submit_at_once`.
        reached: waits for a head of at least so many leaves to be announced, and hurries none.
        damaged: is told of what they find damaged in the file.
        pruned: entries below this index are not there any more.
    """

    orders: OrdersPort
    at_once: Callable[[str, RequestRecords, Told], bool]
    publisher: PublishedHead
    tiles: EmbeddedTiles
    reached: Callable[[int], Awaitable[SignedCheckpoint]]
    damaged: Callable[[DamagedTileError], object]
    pruned: int


class Desk:
    """Answers one worker."""

    def __init__(self, ports: Ports, app: Responder) -> None:
        """Takes what it works with; `app` answers what the worker hands on."""
        self._ports = ports
        self._app = app
        self._interest = ExitStack()

    @property
    def questions(self) -> Questions:
        """By name, what a worker asks."""
        return {
            "batch": self._batch,
            "records": self._records,
            "edge": self._edge,
            "bundle": self._bundle,
            "request": self._request,
        }

    @property
    def prompt(self) -> Prompt:
        """By name, what a worker asks that is answered without a task."""
        return {"records at once": self._records_at_once}

    @property
    def notices(self) -> Notices:
        """By name, what a worker tells."""
        return {"interested": self._interested, "damaged": self._damaged}

    def close(self) -> None:
        """The worker has ended, and waits for nothing any more."""
        self._interest.close()

    async def _batch(self, value: Any) -> Any:
        order = msgspec.convert(value, BatchOrder)
        return await self._ports.orders.batch(order.batch, SentParts.whole(order.sent))

    async def _records(self, value: Any) -> Any:
        order = msgspec.convert(value, RecordsOrder)
        sent = SentParts.whole(order.sent)
        return await self._ports.orders.records(order.producer, order.request, sent)

    def _records_at_once(self, value: Any, answer: Callable[[object], None]) -> None:
        """None is the answer if they are to be sent as `records`."""
        order = msgspec.convert(value, RecordsOrder)
        if not self._ports.at_once(order.producer, order.request, partial(_told, answer)):
            answer(None)

    async def _edge(self, _: Any) -> Any:
        edge = self._ports.tiles.edge
        return EdgeParts(edge.head.size, edge.head.root, list(edge.tiles.partials))

    async def _bundle(self, value: Any) -> Any:
        index, width = value
        tile = Tile(ENTRIES, index, width)
        return (await self._ports.tiles.read([tile]))[tile]

    async def _request(self, value: Any) -> Any:
        sent = msgspec.convert(value, Forwarded)
        response = await self._app.respond(sent.request(_Body(sent.body)))
        return Answered(
            response.status, response.body, response.content_type, dict(response.headers)
        )

    def _interested(self, value: Any) -> None:
        self._interest.close()
        if value:
            self._interest.enter_context(self._ports.publisher.interest())

    def _damaged(self, value: Any) -> None:
        self._ports.damaged(DamagedTileError(value, "is damaged"))


def _told(answer: Callable[[object], None], outcome: Receipt | Exception) -> None:
    answer(None if isinstance(outcome, RecalledError) else outcome)


class _Body:
    """A body that has come; a `BodySource`."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(
        self,
        most: int,
        more: int,
        admit: Callable[[bytes], object] | None,
        *,
        coded: bool = False,
    ) -> bytes:
        """See `BodySource`; the worker has looked at its coding."""
        del more, admit, coded
        if len(self._body) > most:
            raise too_large(most)
        return self._body

    async def pieces(self) -> AsyncIterator[bytes]:
        """See `BodySource`."""
        yield self._body
