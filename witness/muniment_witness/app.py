"""Puts a witness together: the only place that builds its objects. One task group is the service.

When a background task fails, the process ends: a witness that cannot commit must not answer.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from muniment.local.lifecycle import stop_requested
from muniment.local.logs import event
from muniment_service.process import (
    allow_connections,
    print_ready,
    spare_collections,
)
from muniment_service.server import serving, serving_unix
from muniment_service.tls import server_context
from muniment_witness.config import WitnessConfig
from muniment_witness.gossip.net import transport
from muniment_witness.running import Running
from muniment_witness.store.heads import Store

_LOGGER = logging.getLogger(__name__)


def _clock() -> int:
    return int(time.time())


async def serve(
    config: WitnessConfig,
    *,
    ready: Callable[[str], None] = print_ready,
    clock: Callable[[], int] = _clock,
) -> None:
    """Serves until SIGTERM or SIGINT; requests in flight finish first.

    Args:
        config: The configuration.
        ready: Called with the URL once requests are taken.
        clock: Gives the time in Unix seconds.

    Raises:
        DatabaseError: If the database cannot be used.
        OSError: If the address cannot be bound.
        ExceptionGroup: If a background task failed.
    """
    file = config.file
    tls = server_context(file.tls)
    allow_connections(file.limits.connections)
    keys = [signer.vkey for signer in config.signers]
    store = await Store.open(file.database, keys, file.gossip.history)
    try:
        await store.make_ready()
        async with (
            transport(file.gossip.request_seconds, file.outgoing.access, config.tokens) as network,
            asyncio.TaskGroup() as tasks,
        ):
            running = Running(config, store, network, clock, tasks)
            await running.start()
            async with (
                serving_unix(running.admin(), file.admin),
                serving(running, file.listen, file.limits, tls) as url,
            ):
                event(
                    _LOGGER,
                    logging.INFO,
                    "witness is ready",
                    name=file.name,
                    url=url,
                    logs=len(config.logs),
                    keys=len(config.signers),
                    peers=len(config.peers),
                )
                spare_collections()
                stop = stop_requested()
                ready(url)
                which = await stop
                event(_LOGGER, logging.INFO, "stopping", signal=which.name)
            running.stop()
    finally:
        await store.close()
