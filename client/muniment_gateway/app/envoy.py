"""The gRPC servers of a gateway: one for each proxy of kind `envoy`."""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from muniment.local.logs import event
from muniment_gateway.config import GatewayFile
from muniment_gateway.deciding.proxied import ProxyDecider
from muniment_gateway.envoy.messages import Messages
from muniment_gateway.envoy.service import EnvoyDesk, serving_envoy
from muniment_gateway.http.access import Clients
from muniment_service.config import Address

_LOGGER: Final = logging.getLogger(__name__)


class Envoys:
    """Who answers them, by the configuration in force."""

    def __init__(self) -> None:
        """Nobody does yet."""
        self._desks: dict[str, EnvoyDesk] = {}
        self._messages: Messages | None = None

    def take(self, desks: Sequence[ProxyDecider], clients: Clients) -> None:
        """Answers by these from now on; MunimentError without the extra."""
        found: dict[str, EnvoyDesk] = {}
        for desk in desks:
            if desk.proxy.table.kind == "envoy":
                self._messages = self._messages or Messages()
                found[desk.proxy.table.name] = EnvoyDesk(desk, clients, self._messages)
        self._desks = found

    @asynccontextmanager
    async def serving(self, file: GatewayFile) -> AsyncIterator[None]:
        """Serves all of them while the context is open; raises as `serving_envoy`."""
        async with AsyncExitStack() as stack:
            for name, address in listeners(file).items():
                server = serving_envoy(
                    partial(self._check, name), address, file.tls, file.limits.connections
                )
                port = await stack.enter_async_context(server)
                event(_LOGGER, logging.INFO, "Envoy is answered", proxy=name, port=port)
            yield

    async def _check(self, name: str, data: bytes, authorization: str) -> bytes:
        return await self._desks[name].check(data, authorization)


def listeners(file: GatewayFile) -> Mapping[str, Address]:
    """Where each proxy of kind `envoy` is answered, by its name; only a restart changes that."""
    return {one.name: one.listen for one in file.proxy if one.listen is not None}
