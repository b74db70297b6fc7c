"""A log alone, with tight limits, and what its clients send it; for the tests of overload."""

import asyncio
import hashlib
import json
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import decisions
import signing
from faults.crowd import Line, Reply
from log_deployment import GATEWAY, ORIGIN, PRODUCER, TOKEN, WORKERS, Stream
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.encoding import unframe
from muniment.tlog.merkle import CompactRange, leaf_hashes
from muniment.tlog.tiles import bundles_of
from muniment_log.cli.setup import init

BATCH = 250  # records
RECORDS = decisions.decisions(4 * BATCH, producer=GATEWAY)
PLAIN = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/x-ndjson"}
# Without ids of their own, by which a log would recognise them when they come again.
PLAIN_RECORDS = [
    json.dumps({name: value for name, value in json.loads(record).items() if name != "id"}).encode()
    for record in decisions.decisions(100, seed=2, producer=PRODUCER)
]


def configured(folder: Path, limits: str, more: str = "", *, workers: int = WORKERS) -> Path:
    """A log's configuration with one gateway and one token; publishes without witnesses."""
    init(folder, origin=ORIGIN, listen="127.0.0.1:0", passphrase_file=None, passphrase=None)
    config = folder / "log.toml"
    text = f"workers = {workers}\n{config.read_text()}"
    text += f'\n[[gateway]]\nvkey = "{signing.log_signer(GATEWAY).vkey}"\n'
    text += f'[[token]]\nproducer = "{PRODUCER}"\n'
    text += f'sha256 = "{hashlib.sha256(TOKEN.encode()).hexdigest()}"\n{more}'
    config.write_text(text + f"[limits]\n{limits}")
    return config


@dataclass
class Load:
    """Clients that come back at once, whatever they were told.

    Attributes:
        offered: requests that were sent.
        statuses: how many answers of each status came; 0 for a connection that ended without one.
        receipts: first index and records of each batch that was acknowledged.
        unanswered: bodies of signed batches of which it is not known whether they were logged.
        plain: records acknowledged to those who cannot sign.
    """

    url: str
    offered: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    receipts: list[tuple[int, list[bytes]]] = field(default_factory=list)
    unanswered: list[bytes] = field(default_factory=list)
    plain: int = 0
    stopped: bool = False
    labels: "count[int]" = field(default_factory=count)

    async def signed(self) -> None:
        """One gateway stream: the next batch as soon as the last is logged."""
        stream = Stream(f"s{next(self.labels)}", signing.log_signer(GATEWAY))
        line = Line(self.url)
        number = 0
        body = b""
        while not self.stopped:
            if not body:
                number += 1
                start = BATCH * number % len(RECORDS)
                body = stream.take(RECORDS[start : start + BATCH])
            reply = self.note(await line.ask("POST", "/v1/batches", body))
            if reply is None:
                self.unanswered.append(body)
                break
            if reply.status == 200:
                self.receive(reply, body)
                body = b""
        line.close()

    async def unsigned(self) -> None:
        """A client with a token."""
        line = Line(self.url)
        while not self.stopped:
            body = b"\n".join(PLAIN_RECORDS)
            reply = self.note(await line.ask("POST", "/v1/records", body, PLAIN))
            if reply is None:
                break
            self.plain += len(PLAIN_RECORDS) * (reply.status == 200)
        line.close()

    def receive(self, reply: Reply, body: bytes) -> None:
        first = int(reply.body.partition(b'"first":')[2].partition(b",")[0])
        self.receipts.append((first, unframe(body)))

    def note(self, reply: Reply | None) -> Reply | None:
        self.offered += 1
        status = 0 if reply is None else reply.status
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if reply is not None and status != 200:
            assert status in {429, 503}, reply
            assert int(reply.headers["retry-after"]) >= 1
            assert reply.headers["content-type"] == "application/problem+json"
        return reply


async def everything(url: str) -> list[bytes]:
    """All that is published, once all that is durable is; the tree is checked."""
    line = Line(url)
    while True:
        ready = await line.ask("GET", "/readyz")
        checkpoint = await line.ask("GET", "/checkpoint")
        assert ready is not None
        known = parse_signed_checkpoint(checkpoint.body).checkpoint
        if f'"integrated":{known.size},'.encode() in ready.body:
            break
        await asyncio.sleep(0.05)
    entries: list[bytes] = []
    for bundle in bundles_of(0, known.size, known.size):
        reply = await line.ask("GET", f"/{bundle.path}")
        assert reply is not None
        entries += unframe(reply.body)
    line.close()
    assert CompactRange.EMPTY.extend(leaf_hashes(entries)).root() == known.root
    return entries
