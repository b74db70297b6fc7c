"""Exactly once for clients with a token, on real processes: kill -9, restarts, copies at once."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import decisions
from log_deployment import (
    PUBLISHED,
    TOKEN,
    Cluster,
    Deployment,
    ask,
    cluster_for,
    deployed,
    leaves_of,
)

JSON = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
COPIES = 4
ROUNDS = 2


@pytest.fixture(params=["sqlite", "cluster"])
def cluster(request: pytest.FixtureRequest) -> Cluster | None:
    return cluster_for(request)


def decision(id_: str, subject: str = "a") -> dict[str, Any]:
    return {
        "id": id_,
        "request": decisions.request(subject, "read", ("file", "f")),
        "response": {"decision": True},
    }


class Load:
    """Clients that send everything several times, and remember the receipts."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.next = 0
        self.unanswered: list[dict[str, Any]] = []
        self.receipts: dict[str, Any] = {}
        self.wanted = 0

    async def client(self, session: aiohttp.ClientSession) -> None:
        while True:
            if self.unanswered:
                body = self.unanswered.pop()
            else:
                self.next += 1
                body = decision(f"r-{self.next}")
            try:
                answers = await asyncio.gather(*(self.send(session, body) for _ in range(COPIES)))
            except (aiohttp.ClientError, OSError):
                self.unanswered.append(body)
                return
            assert all(answer == answers[0] for answer in answers)
            self.receipts[body["id"]] = answers[0]
            if len(self.receipts) >= self.wanted:
                self.enough.set()

    async def send(self, session: aiohttp.ClientSession, body: dict[str, Any]) -> Any:
        url = f"{self.deployment.url}/v1/records"
        async with session.post(url, json=body, headers=JSON) as response:
            if response.status != 200:
                raise aiohttp.ClientError(await response.text())
            return await response.json()

    async def until_killed(self, receipts: int) -> None:
        self.wanted = receipts
        self.enough = asyncio.Event()
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(self.client(session))
            await self.enough.wait()
            assert self.deployment.log.kill() == -9


def test_what_is_sent_again_after_kill_9_is_logged_once(
    cluster: Cluster | None, tmp_path: Path
) -> None:
    with deployed(tmp_path, cluster) as made:
        load = Load(made)
        for number in range(ROUNDS):
            asyncio.run(load.until_killed(40 * (number + 1)))
            made.start_log()
        url = f"{made.url}/v1/records"

        def send(body: Any, **headers: str) -> Any:
            return ask(url, json.dumps(body).encode(), {**JSON, **headers})

        for body in load.unanswered:
            load.receipts[body["id"]] = send(body).json
        for id_, receipt in load.receipts.items():
            assert send(decision(id_)).json == receipt
        send(decision("r-1", "another")).problem(409, "id-conflict")
        key = {"Idempotency-Key": '"the key"'}
        del (body := decision(""))["id"]
        first = send([body, body], **key).json
        assert send([body, body], **key).json == first
        send([body], **key).problem(409, "idempotency-conflict")
        send(body, **{"Idempotency-Key": "a, b"}).problem(400, "bad-idempotency-key")
        assert send(body).json != send(body).json
        mixed = ask(
            url + PUBLISHED,
            json.dumps([decision("new"), decision("r-1")]).encode(),
            JSON,
        ).json
        assert mixed["indices"] == [mixed["first"], load.receipts["r-1"]["first"]]
        assert len(mixed["published"]["proofs"]) == 2

        size = mixed["size"]
        entries = leaves_of(made.url, size)
        ids = Counter(json.loads(one)["id"] for one in entries if one.startswith(b"{"))
        assert set(ids.values()) == {1}
        assert len([id_ for id_ in ids if id_.startswith("r-")]) == load.next
        for id_, receipt in load.receipts.items():
            assert json.loads(entries[receipt["first"]])["id"] == id_
