"""The client with a real log and real witnesses: exactly once through a crash, proofs, audits."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

import decisions
import processes
from muniment.audit.auditor import AuditOptions, audit_log
from muniment.audit.report import Verdict
from muniment.cli.exits import BAD_INPUT, REFUSED, UNREACHABLE, UNVERIFIED
from muniment.gateway.gateway import Gateway
from muniment.http.logclient import LogClient
from muniment.local.keyfiles import write_key_file
from muniment.tlog.cosignature import signer_for
from muniment.tlog.keys.keyfile import KeyFile, generate
from muniment.tlog.note import Signer
from muniment.tlog.policy import Policy, parse_policy
from muniment.tlog.tlogproof import verify_tlog_proof
from muniment_witness.store.database import create
from ports import free_port

ORIGIN = "log.example/decisions"
GATEWAY = "gw.example/edge"


def muniment(place: Path, *arguments: str, code: int = 0, stdin: str = "") -> str:
    done = processes.run(processes.muniment(*arguments), cwd=place, stdin=stdin, code=code)
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


@dataclass
class World:
    """A log and three witnesses as processes, and a gateway's key."""

    place: Path
    log: processes.Process
    policy: Policy
    signer: Signer

    @property
    def url(self) -> str:
        return self.log.url

    def start_log(self) -> None:
        argv = processes.muniment_log("serve", "--config", self.place / "log.toml")
        self.log = processes.start(argv)


def new_key(path: Path, name: str, use: Literal["log", "witness", "gateway"]) -> Signer:
    private = generate("ed25519")
    signer = signer_for(name, private, use=use)
    write_key_file(path, KeyFile(private, signer.vkey))
    return signer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    place = tmp_path_factory.mktemp("world")
    log_key = new_key(place / "log.pem", ORIGIN, "log").vkey
    signer = new_key(place / "gateway.pem", GATEWAY, "gateway")
    lines = [f"log {log_key}"]
    argvs = []
    for name in ("w1", "w2", "w3"):
        vkey = new_key(place / f"{name}.pem", f"witness.example/{name}", "witness").vkey
        (place / f"{name}.toml").write_text(
            f'name = "witness.example/{name}"\nlisten = "127.0.0.1:0"\n'
            f'database = "{name}.db"\nkeys = ["{name}.pem"]\n[[log]]\nvkeys = ["{log_key}"]\n'
        )
        asyncio.run(create(place / f"{name}.db", [vkey], "init"))  # keys without a past
        lines.append(f"witness {name} {vkey}")
        argvs.append(processes.muniment_witness("serve", "--config", f"{name}.toml"))
    with processes.started(argvs, place) as witnesses:
        urls = ["", *[witness.url for witness in witnesses]]
        text = "".join(
            f"{line} {url}".rstrip() + "\n" for line, url in zip(lines, urls, strict=True)
        )
        text += "group two 2 w1 w2 w3\nquorum two\n"
        (place / "trust.policy").write_text(text)
        (place / "log.toml").write_text(
            f'origin = "{ORIGIN}"\nlisten = "127.0.0.1:{free_port()}"\ndatabase = "log.db"\n'
            'keys = ["log.pem"]\npolicy = "trust.policy"\n'
            f'[[gateway]]\nvkey = "{signer.vkey}"\n'
        )
        new = processes.muniment_log("new-database", "--config", place / "log.toml")
        processes.run(new, code=0)
        argv = processes.muniment_log("serve", "--config", place / "log.toml")
        made = World(place, processes.start(argv), parse_policy(text.encode()), signer)
        try:
            yield made
        finally:
            made.log.kill()


async def audited(world: World) -> None:
    options = AuditOptions(world.policy, origin=ORIGIN, gateways=(world.signer.vkey,))
    async with LogClient(world.url) as client:
        outcome = await audit_log(client, options, None, now=0)
    assert outcome.report.verdict is Verdict.CLEAN, outcome.report.findings
    assert outcome.report.unknown_signers == set()


async def test_published_receipts_are_proofs(world: World) -> None:
    records = decisions.decisions(300)
    async with Gateway(world.url, world.signer, policy=world.policy) as gateway:
        answers = await asyncio.gather(
            *[gateway.submit(records[at : at + 30], published=True) for at in range(0, 300, 30)]
        )
    for receipt in [receipt for receipts in answers for receipt in receipts]:
        assert verify_tlog_proof(receipt.tlog_proof(), receipt.entry, world.policy)
    await audited(world)


async def test_a_crash_of_the_log_neither_loses_nor_repeats(world: World) -> None:
    """A decision acknowledged is on disk; a retry never logs it twice."""
    records = decisions.decisions(6000)
    async with Gateway(
        world.url, world.signer, stream="crash", batch_records=50, policy=world.policy
    ) as gateway:

        async def submit(at: int) -> list[int]:
            receipts = await gateway.submit(records[at : at + 25], timeout=60)
            return [receipt.index for receipt in receipts]

        tasks = [asyncio.create_task(submit(at)) for at in range(0, 6000, 25)]
        for delay in (0.02, 0.1):
            await asyncio.sleep(delay)
            await asyncio.to_thread(world.log.kill)
            await asyncio.to_thread(world.start_log)
        indices = [index for task in tasks for index in await task]
        (last,) = await gateway.submit(decisions.decisions(1, seed=99), published=True)
    assert len(set(indices)) == 6000
    # What was acknowledged is at its index, and nothing is there twice.
    async with LogClient(world.url) as client:
        for at in range(0, 6000, 499):
            assert await client.entry(indices[at]) == records[at]
    await audited(world)
    assert last.batch.sequence == 6000


def test_the_commands_from_records_to_audit(world: World) -> None:
    place, url = world.place, world.url
    records = [f"{record.decode()}\n" for record in decisions.decisions(1101, seed=3)]
    submit = ["submit", "--log", url, "--key", "gateway.pem", "--stream", "commands"]
    printed = muniment(place, *submit, "--batch", "500", stdin="".join(records[:-1]))
    receipts = [json.loads(line) for line in printed.splitlines()]
    assert [receipt["count"] for receipt in receipts] == [500, 500, 100]
    wait = ["--wait", "published", "--policy", "trust.policy"]
    muniment(place, *submit, *wait, stdin=records[-1])
    audit = ["audit", "--log", url, "--policy", "trust.policy", "--state", "audit.state"]
    muniment(place, *audit, "--gateway", "no-such-file", code=BAD_INPUT)
    report = json.loads(muniment(place, *audit, "--json"))
    assert report["verdict"] == "clean"
    assert report["counts"]["entries"] == report["size"] > 1101
    assert json.loads(muniment(place, *audit, "--json"))["counts"]["entries"] == 0
    prove = ["prove", "--log", url, "--out", "p.tlog-proof"]
    index = receipts[1]["first"] + 7
    muniment(place, *prove, "--index", str(index), "--entry-out", "e.json")
    entry = (place / "e.json").read_bytes()
    assert entry == records[507].encode().rstrip(b"\n")
    muniment(place, *prove, "--leaf", "e.json", "--policy", "trust.policy")
    verify = ["verify", "p.tlog-proof", "--policy", "trust.policy", "--entry"]
    assert f"entry {index} of" in muniment(place, *verify, "e.json")
    (place / "bad.json").write_bytes(entry + b" ")
    muniment(place, *verify, "bad.json", code=UNVERIFIED)
    new_key(place / "stranger.pem", "gw.example/stranger", "gateway")
    submit[4] = "stranger.pem"
    muniment(place, *submit, code=REFUSED, stdin=records[0])
    world.log.terminate()
    muniment(place, *audit, code=UNREACHABLE)
