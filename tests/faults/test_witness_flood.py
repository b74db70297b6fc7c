"""More valid heads and evidence than anybody needs: a witness keeps some, and goes on working."""

import asyncio
import json
import secrets
from itertools import count
from pathlib import Path

from faults.crowd import Line, files, resident, run
from faults.services import Services
from muniment.tlog.encoding import frame
from muniment.tlog.evidence import same_size
from muniment.tlog.witnesswire import origin_hash
from muniment_witness.store.observations import MAX_EVIDENCE, MAX_SUSPICIONS
from witness_tools import GrowingLog, set_up

SIZE = 20
CLIENTS, EACH = 30, 30
GROWTH = 48 << 20
"""What is kept is bounded by number, and each of it by size: 16 files of evidence and 32 suspicions
with their requests are some 200 KB here. The rest is for buffers and the allocator."""


class Flood:
    """Everything in it is signed by the log, and no two things are the same."""

    def __init__(self, log: GrowingLog) -> None:
        self._log = log
        self._sizes = count(SIZE + 1)
        self.statuses: dict[tuple[str, int], int] = {}

    def body(self, path: str) -> bytes:
        log = self._log
        if path == "/gossip/heads":
            heads = [
                log.checkpoint(next(self._sizes), root=secrets.token_bytes(32)) for _ in range(8)
            ]
            return frame([head.encode() for head in heads])
        if path == "/gossip/evidence":
            roots = [secrets.token_bytes(32) for _ in range(2)]
            return same_size(*(log.checkpoint(SIZE, root=root) for root in roots)).encode()
        new = next(self._sizes)
        head = log.checkpoint(new, root=secrets.token_bytes(32))
        return log.request(SIZE, new, proof=[secrets.token_bytes(32)] * 5, checkpoint=head).encode()

    async def pour(self, url: str, paths: list[str]) -> None:
        line = Line(url)
        for number in range(EACH):
            path = paths[number % len(paths)]
            reply = await line.ask("POST", path, self.body(path))
            assert reply.status in {200, 403, 409, 422, 503}, reply
            if reply.status == 503:
                assert int(reply.headers["retry-after"]) >= 1
            key = (path, reply.status)
            self.statuses[key] = self.statuses.get(key, 0) + 1
        line.close()


async def flood(url: str, pid: int, log: GrowingLog, database: Path) -> None:
    line = Line(url)
    await line.expect(200, "POST", "/add-checkpoint", log.request(0, SIZE).encode())
    before, opened = resident(pid), files(pid)
    poured = Flood(log)
    for paths in (["/add-checkpoint", "/gossip/heads"], ["/gossip/evidence", "/add-checkpoint"]):
        pouring = [asyncio.create_task(poured.pour(url, paths)) for _ in range(CLIENTS)]
        while not all(task.done() for task in pouring):
            for path in ("/healthz", f"/{origin_hash(log.origin)}/checkpoint", "/status.json"):
                await line.expect(200, "GET", path)
        await asyncio.gather(*pouring)
    assert sum(poured.statuses.values()) == 2 * CLIENTS * EACH
    assert poured.statuses["/add-checkpoint", 422] >= MAX_SUSPICIONS
    assert poured.statuses["/gossip/evidence", 503] > poured.statuses["/gossip/evidence", 200] > 0
    evidence = await line.expect(200, "GET", "/gossip/evidence")
    assert 1 <= len(json.loads(evidence.body)["evidence"]) <= MAX_EVIDENCE
    status = await line.expect(200, "GET", "/status.json")
    assert status.body.count(b'"since"') <= MAX_SUSPICIONS + 8
    await line.expect(200, "GET", "/gossip/heads")
    assert resident(pid, most=True) - before < GROWTH
    assert sum(path.stat().st_size for path in database.parent.glob("*.db*")) < 16 << 20
    # What was cosigned is shown as before, and the alarm is there for the operator.
    reply = await line.expect(200, "GET", f"/{origin_hash(log.origin)}/checkpoint")
    assert reply.body.split(b"\n")[1] == b"%d" % SIZE
    ready = await line.ask("GET", "/readyz")
    assert json.loads(ready.body)["alarms"] >= 1
    for _ in range(100):  # the last connections are closed while it answers others
        if files(pid) <= opened + 8:
            break
        await line.ask("GET", "/healthz")
    assert files(pid) <= opened + 8


def test_a_flood_of_what_a_log_has_signed_is_bounded(tmp_path: Path, quick: Services) -> None:
    log = GrowingLog()
    config, _ = set_up(tmp_path, log.vkeys)
    witness = quick.witness(config)
    run(flood(witness.url, witness.pid, log, tmp_path / "witness.db"))
    assert "unhandled" not in witness.stderr
