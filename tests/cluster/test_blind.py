"""A frontend that cannot see the database does not say where a stream is."""

import asyncio
from typing import Any

import pytest

import engines
import signing
from log_tools import GATEWAY, ORIGIN, GatewayStream, gap
from muniment_log.cluster.database import Database
from muniment_log.cluster.migrate import migrate
from muniment_log.cluster.order import Backlog, PostgresOrder
from muniment_log.core.ports import StreamKey
from muniment_log.core.sequencer import SequencerLimits
from muniment_log.core.sharedsequencer import SharedSequencer
from muniment_log.core.tokens import TokenFramer
from muniment_log.errors import UnavailableError
from muniment_log.metrics import LogMetrics
from muniment_service.metrics import Metrics
from tcpproxy import Proxy


async def test_what_another_frontend_acknowledged_is_no_gap(
    database: str, postgres_server: engines.PostgreSQL
) -> None:
    with Proxy(postgres_server.port) as link:
        blind = database.replace(f":{postgres_server.port}/", f":{link.port}/")
        limits = SequencerLimits(parked_seconds=0.3)
        opened = [await Database.open(url, patience=0.2) for url in (database, blind)]
        await migrate(opened[0])
        sequencers = [
            SharedSequencer(
                order=PostgresOrder(one, Backlog()),
                queue=limits.queue(TokenFramer(ORIGIN, signing.log_signer())),
                metrics=LogMetrics(Metrics("test")),
                limits=limits,
            )
            for one in opened
        ]
        running: list[asyncio.Task[Any]] = [asyncio.create_task(s.run()) for s in sequencers]
        stream = GatewayStream()
        await sequencers[1].submit(stream.take(3))
        await sequencers[0].submit(stream.take(2))  # which the other one does not know
        link.refuse()
        third = stream.take(1)
        with pytest.raises(UnavailableError):
            await sequencers[1].submit(third)
        link.heal()
        later = stream.take(1)
        assert (await gap(sequencers[1], later)).expected == 5
        await sequencers[1].submit(third)
        await sequencers[0].submit(later)
        assert (await sequencers[1].stream(StreamKey(GATEWAY, "main"))).next == 7
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for one in opened:
            await one.close()
