"""Load on a log until it is killed, and what it was told."""

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path

import aiohttp

import decisions
from bodies import split_body
from log_deployment import (
    GATEWAY,
    ORIGIN,
    PUBLISHED,
    TOKEN,
    Deployment,
    Stream,
    ask,
    check_places,
    leaves_of,
    verify_leaf,
)
from muniment.records.batchbody import join_body
from muniment.records.commitments import addendum
from muniment.records.manifest import MANIFEST
from muniment.tlog.encoding import unframe
from muniment.tlog.merkle import CompactRange, leaf_hashes
from muniment_log.core.naming import digests_of
from packing import stored
from waiting import until

RECORDS = decisions.decisions(2_000, producer=GATEWAY)


def tell(text: str) -> None:
    """Shown when the test fails, and with `pytest -s`."""
    sys.stdout.write(f"{text}\n")


def withholding(records: list[bytes], first: int) -> tuple[list[bytes], list[bytes]]:
    """The records with an addendum each, which the log keeps; their nonces count from a number."""
    addenda = [addendum(f"{first + n:032x}", "x" * (n % 7)) for n in range(len(records))]
    withheld = [
        (b'{"addenda":{"/request/arguments":"%b"},' % sha256(data).hexdigest().encode())
        + record[1:].replace(b'"kind":', b'"kept":"log","kind":', 1)
        for record, data in zip(records, addenda, strict=True)
    ]
    return withheld, addenda


def entries_of(body: bytes) -> list[bytes]:
    """The entries of a batch, whatever stands behind it."""
    return unframe(split_body(body)[0])


def check_addenda(log: Path, entries: list[bytes]) -> int:
    """All addenda that records of a log name are in its file, and no others; how many."""
    named = {
        digest
        for entry in entries
        if not entry.startswith(MANIFEST) and b'"kept":"log"' in entry
        for digest in digests_of(entry)
    }
    found = {row.digest: data or b"" for row, data in stored(log / "addenda.db")}
    assert all(sha256(data).digest() == digest for digest, data in found.items())
    assert found.keys() == named
    return len(named)


class Load:
    """Gateways and token holders that go on until the log is gone, and remember what it said."""

    def __init__(self, deployment: Deployment, seed: int) -> None:
        self.deployment = deployment
        self.random = random.Random(seed)
        self.receipts: list[tuple[int, list[bytes]]] = []
        self.plain: list[int] = []
        self.streams: list[Stream] = [deployment.stream() for _ in range(4)]
        self.unanswered: dict[str, list[bytes]] = {}
        self.withheld = 0
        self.is_over = False

    async def gateway(self, session: aiohttp.ClientSession, stream: Stream) -> None:
        url = f"{self.deployment.url}/v1/batches"
        waiting = self.unanswered.pop(stream.label, [])
        while not self.is_over:
            if not waiting:
                at = self.random.randrange(len(RECORDS) - 300)
                records = RECORDS[at : at + self.random.choice([1, 20, 300])]
                addenda: list[bytes] = []
                if self.random.random() < 0.5:
                    records, addenda = withholding(records, self.withheld)
                    self.withheld += len(records)
                waiting = [join_body(stream.take(records), addenda)]
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
            entries = entries_of(body)
            assert receipt["manifest"] == receipt["first"] + len(entries) - 1
            self.receipts.append((receipt["first"], entries))

    async def token(self, session: aiohttp.ClientSession) -> None:
        body = (
            b'{"request":{"subject":{"type":"u","id":"a"},"action":{"name":"r"},'
            b'"resource":{"type":"d","id":"1"}},"response":{"decision":true}}'
        )
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        while not self.is_over:
            try:
                async with session.post(
                    f"{self.deployment.url}/v1/records", data=body, headers=headers
                ) as response:
                    if response.status != 200:
                        return
                    self.plain.append((await response.json())["first"])
            except (aiohttp.ClientError, OSError):
                return

    async def until_killed(self, seconds: float, *, receipts: int = 0) -> None:
        """Goes on for so long, and until there are so many receipts of all rounds."""
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            self._begin(session, tasks)
            await asyncio.sleep(seconds)
            await until(lambda: len(self.receipts) >= receipts)
            assert self.deployment.log.kill() == -9

    async def while_it_runs(self, what: Callable[[], Awaitable[None]]) -> None:
        """Goes on until something has happened; who has lost a connection has stopped by then."""
        self.is_over = False
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            self._begin(session, tasks)
            try:
                await what()
            finally:
                self.is_over = True

    def go_on(self) -> list[bytes]:
        """The streams go on, and what was acknowledged is there; all leaves of the log's tree.

        Gateways send again what was never answered, then something new. The witnesses accept the
        next checkpoint, the tree below it is whole, and what it holds is provable.
        """
        made = self.deployment
        for stream in self.streams:
            for body in self.unanswered.pop(stream.label, []):
                answer = made.post(body)
                assert answer.status == 200, answer.body
                self.receipts.append((answer.json["first"], entries_of(body)))
            state = ask(f"{made.url}/v1/streams/{GATEWAY}/{stream.label}").json
            assert state["next"] == stream.next
        last = made.post(made.stream().take(RECORDS[:1]), PUBLISHED).json
        cosigned = made.policy.verify(ask(f"{made.url}/checkpoint").body, origin=ORIGIN)
        assert cosigned.size >= last["size"]
        entries = leaves_of(made.url, cosigned.size)
        assert CompactRange.EMPTY.extend(leaf_hashes(entries)).root() == cosigned.root
        check_places(self.receipts, entries)
        assert check_addenda(made.config.parent, entries)
        assert len(set(self.plain)) == len(self.plain)
        for first in self.plain:
            assert b'"producer":"curl.example/dev"' in entries[first]
        for first, batch in self.receipts[:: max(1, len(self.receipts) // 20)]:
            verify_leaf(made.url, batch[0], first, cosigned)
        return entries

    def _begin(self, session: aiohttp.ClientSession, tasks: asyncio.TaskGroup) -> None:
        for stream in self.streams:
            tasks.create_task(self.gateway(session, stream))
        for _ in range(4):
            tasks.create_task(self.token(session))
