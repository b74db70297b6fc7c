"""Every party changes its key while the log goes on: gateway, witness, log; with real processes."""

import hashlib
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import decisions
import processes
import signing
from log_deployment import PUBLISHED, Answer, Stream, ask, run
from muniment.audit.auditor import AuditOptions, audit_log
from muniment.audit.report import Verdict
from muniment.http.logclient import LogClient
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.note import Ed25519Signer, VKey, parse_vkey
from muniment.tlog.policy import parse_policy

ORIGIN = "log.example/decisions"
GATEWAY = "gw.example/edge"
OLD, NEW = signing.log_signer(GATEWAY), Ed25519Signer(GATEWAY, signing.ed25519("the new key"))


@dataclass
class World:
    folder: Path
    log: processes.Process
    witness: processes.Process
    log_keys: list[str]
    witness_keys: list[str]
    stream: Stream = field(default_factory=lambda: Stream("edge", OLD))

    @property
    def config(self) -> Path:
        return self.folder / "log" / "log.toml"

    @property
    def witness_config(self) -> Path:
        return self.folder / "w" / "witness.toml"

    def policy(self, logs: list[str], witnesses: list[str]) -> str:
        text = "".join(f"log {key}\n" for key in logs)
        text += "".join(
            f"witness w{n} {key} {self.witness.url}\n" for n, key in enumerate(witnesses)
        )
        names = " ".join(f"w{n}" for n in range(len(witnesses)))
        return f"{text}group w any {names}\nquorum w\n"

    def set_policy(self) -> None:
        text = self.policy(self.log_keys, self.witness_keys)
        (self.folder / "log" / "witnesses.policy").write_text(text)

    def start_log(self) -> None:
        self.set_policy()
        self.log = processes.start(processes.muniment_log("serve", "--config", self.config))

    def stop_log(self) -> None:
        assert self.log.terminate() == 0

    def reload_log(self) -> None:
        run(processes.muniment_log("reload", "--config", self.config))

    def restart_log(self) -> None:
        self.stop_log()
        self.start_log()

    def start_witness(self) -> None:
        argv = processes.muniment_witness("serve", "--config", self.witness_config)
        self.witness = processes.start(argv)
        # It listens where it listened before: its address is in policies.
        port = self.witness.url.rpartition(":")[2]
        text = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", self.witness_config.read_text())
        self.witness_config.write_text(text)

    def submit(self) -> Answer:
        """The stream's next batch, published: the quorum has cosigned it."""
        body = self.stream.take(decisions.decisions(2, self.stream.next + 1, GATEWAY))
        answer = ask(f"{self.log.url}/v1/batches{PUBLISHED}", body)
        assert answer.status == 200, answer.body
        return answer

    def signers(self, answer: Answer) -> set[tuple[str, int]]:
        """Who has signed and cosigned the checkpoint of an answer."""
        note = answer.json["published"]["checkpoint"].encode()
        lines = parse_signed_checkpoint(note).note.signatures
        return {(line.name, line.key_id) for line in lines}


def of(*vkeys: str | VKey) -> set[tuple[str, int]]:
    keys = [parse_vkey(str(vkey)) for vkey in vkeys]
    return {(key.name, key.key_id) for key in keys}


def refused(argv: list[str], code: int, word: str) -> None:
    done = processes.run(argv, code=code)
    assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def world(tmp_path: Path) -> World:
    listen = ("--listen", "127.0.0.1:0")
    log_keys = run(processes.muniment_log("init", tmp_path / "log", "--origin", ORIGIN, *listen))
    config = tmp_path / "log" / "log.toml"
    config.write_text(
        config.read_text().replace("# policy =", "policy =")
        + f'[[gateway]]\nvkey = "{OLD.vkey}"\n'
        + '[[token]]\nproducer = "p.example"\n'
        + f'sha256 = "{hashlib.sha256(b"token").hexdigest()}"\n[index]\nenabled = false\n'
    )
    logs = [word for key in log_keys for word in ("--log", key)]
    keys = run(
        processes.muniment_witness(
            "init", tmp_path / "w", "--name", "w.example/w", *listen, "--algorithm", "ed25519",
            *logs,
        )
    )  # fmt: skip
    nothing = processes.Process(["true"])
    nothing.wait()
    return World(tmp_path, nothing, nothing, log_keys, keys)


async def test_all_keys_change_and_the_log_goes_on(world: World) -> None:
    try:
        world.start_witness()
        world.start_log()
        assert world.signers(world.submit()) == of(*world.log_keys, *world.witness_keys)
        change_gateway(world)
        change_witness(world)
        change_log(world)
        await everybody_believes_it(world)
        nothing_changes_silently(world)
    finally:
        world.log.kill()
        world.witness.kill()


def change_gateway(world: World) -> None:
    text = world.config.read_text()
    world.config.write_text(text + f'[[gateway]]\nvkey = "{NEW.vkey}"\n')
    world.reload_log()
    world.submit()
    world.stream.signer = NEW
    world.submit()
    world.config.write_text(world.config.read_text().replace(str(OLD.vkey), str(NEW.vkey), 1))
    refused(processes.muniment_log("vkeys", "--config", world.config), 3, "twice")
    world.config.write_text(text.replace(str(OLD.vkey), str(NEW.vkey)))
    world.reload_log()
    late = Stream("edge", OLD, world.stream.next, world.stream.previous)
    body = late.take(decisions.decisions(1, 99, GATEWAY))
    ask(f"{world.log.url}/v1/batches", body).problem(403, "bad-signature")
    world.submit()


def change_witness(world: World) -> None:
    rotate = ("rotate-key", "--config", world.witness_config)
    refused(processes.muniment_witness(*rotate, "--own", "ed25519"), 3, "in use")
    assert world.witness.terminate() == 0
    (old,) = world.witness_keys
    (new,) = run(processes.muniment_witness(*rotate, "--own", "ed25519"))
    world.start_witness()
    world.witness_keys = [old, new]
    world.restart_log()
    assert world.signers(world.submit()) >= of(old, new)
    world.witness_keys = [new]
    world.restart_log()
    assert world.witness.terminate() == 0
    run(processes.muniment_witness(*rotate, "--retire", old))
    world.start_witness()
    assert world.signers(world.submit()) == of(*world.log_keys, new)


def change_log(world: World) -> None:
    rotate = ("rotate-key", "--config", world.config)
    auth = {"Authorization": "Bearer token", "Content-Type": "application/json"}
    pair = b'{"request":{"subject":{"type":"agent","id":"a"},"action":{"name":"read"},'
    pair += b'"resource":{"type":"file","id":"f"}},"response":{"decision":true}}'
    assert ask(f"{world.log.url}/v1/records", pair, auth).status == 200
    refused(processes.muniment_log(*rotate, "--add", "ed25519"), 4, "in use")
    world.submit()
    world.stop_log()
    old, post_quantum = world.log_keys
    (new,) = run(processes.muniment_log(*rotate, "--add", "ed25519"))
    # Too early: who holds the new key alone could not believe what is published.
    before = world.config.read_text()
    refused(processes.muniment_log(*rotate, "--retire", old), 6, "let the log publish with all")
    assert world.config.read_text() == before
    refused(processes.muniment_log(*rotate, "--retire", "00000000"), 3, "no key")
    world.log_keys = [old, post_quantum, new]
    world.start_log()
    # An idle log: the head is signed with the new key without waiting for another record.
    for _ in range(100):
        note = ask(f"{world.log.url}/checkpoint").body
        lines = parse_signed_checkpoint(note).note.signatures
        if of(new) <= {(line.name, line.key_id) for line in lines}:
            break
    assert world.signers(world.submit()) >= of(old, post_quantum, new)
    # The witness learns the new key while the old one still signs.
    witness = ("rotate-key", "--config", world.witness_config, ORIGIN)
    run(processes.muniment_witness(*witness, "--add", new))
    world.submit()
    world.stop_log()
    run(processes.muniment_log(*rotate, "--retire", old))
    world.log_keys = [post_quantum, new]
    world.start_log()
    run(processes.muniment_witness(*witness, "--remove", old))
    assert ask(f"{world.log.url}/v1/records", pair, auth).status == 200
    assert world.signers(world.submit()) == of(post_quantum, new, *world.witness_keys)


async def everybody_believes_it(world: World) -> None:
    """Who holds the new keys alone can audit all of it, from the first leaf."""
    new = world.policy(world.log_keys[-1:], world.witness_keys)
    options = AuditOptions(
        policy=parse_policy(new.encode()),
        origin=ORIGIN,
        gateways=(OLD.vkey, NEW.vkey),
        max_age=None,
    )
    async with LogClient(world.log.url) as client:
        outcome = await audit_log(client, options, None, now=0)
    assert outcome.report.verdict is Verdict.CLEAN, json.dumps(outcome.report.as_json())


def nothing_changes_silently(world: World) -> None:
    serve = processes.muniment_log("serve", "--config", world.config)
    world.stop_log()
    good = world.config.read_text()
    names = re.search(r"^keys = \[(.*)\]$", good, re.MULTILINE)
    retired = '"log-ed25519.pem"'
    assert retired not in names[1]
    for keys in (f"{names[1]}, {retired}", names[1].split(", ")[1]):
        world.config.write_text(good.replace(names[1], keys))
        refused(serve, 6, "belongs to the keys")
    world.config.write_text(good)
    assert world.witness.terminate() == 0
    stranger = world.folder / "stranger"
    run(processes.muniment_witness("init", stranger, "--name", "w.example/w"))
    shutil.copy(stranger / "witness-ed25519.pem", world.folder / "w" / "other.pem")
    text = world.witness_config.read_text().replace("\nkeys = [", '\nkeys = ["other.pem", ')
    world.witness_config.write_text(text)
    refused(
        processes.muniment_witness("serve", "--config", world.witness_config), 4, "not recorded"
    )
