"""Load on a log until it is killed, and what it was told."""

import asyncio
import random

import aiohttp

import decisions
from log_deployment import GATEWAY, TOKEN, Deployment, Stream
from muniment.tlog.encoding import unframe

RECORDS = decisions.decisions(2_000, producer=GATEWAY)


class Load:
    """Gateways and token holders that go on until the log is gone, and remember what it said."""

    def __init__(self, deployment: Deployment, seed: int) -> None:
        self.deployment = deployment
        self.random = random.Random(seed)
        self.receipts: list[tuple[int, list[bytes]]] = []
        self.plain: list[int] = []
        self.streams: list[Stream] = [deployment.stream() for _ in range(4)]
        self.unanswered: dict[str, list[bytes]] = {}

    async def gateway(self, session: aiohttp.ClientSession, stream: Stream) -> None:
        url = f"{self.deployment.url}/v1/batches"
        waiting = self.unanswered.pop(stream.label, [])
        while True:
            if not waiting:
                at = self.random.randrange(len(RECORDS) - 300)
                records = RECORDS[at : at + self.random.choice([1, 20, 300])]
                waiting = [stream.take(records)]
            body = waiting[0]
            try:
                async with session.post(url, data=body) as response:
                    if response.status != 200:
                        raise aiohttp.ClientError(await response.text())
                    receipt = await response.json()
            except (aiohttp.ClientError, OSError):
                self.unanswered[stream.label] = waiting
                return
            waiting = []
            entries = unframe(body)
            assert receipt["manifest"] == receipt["first"] + len(entries) - 1
            self.receipts.append((receipt["first"], entries))

    async def token(self, session: aiohttp.ClientSession) -> None:
        body = (
            b'{"request":{"subject":{"type":"u","id":"a"},"action":{"name":"r"},'
            b'"resource":{"type":"d","id":"1"}},"response":{"decision":true}}'
        )
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        while True:
            try:
                async with session.post(
                    f"{self.deployment.url}/v1/records", data=body, headers=headers
                ) as response:
                    if response.status != 200:
                        return
                    self.plain.append((await response.json())["first"])
            except (aiohttp.ClientError, OSError):
                return

    async def until_killed(self, seconds: float) -> None:
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            for stream in self.streams:
                tasks.create_task(self.gateway(session, stream))
            for _ in range(4):
                tasks.create_task(self.token(session))
            await asyncio.sleep(seconds)
            assert self.deployment.log.kill() == -9
