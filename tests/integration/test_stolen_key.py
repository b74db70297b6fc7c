"""A stolen gateway key, step by step as docs/keys.md says; revoking and finding by command."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import processes
from decisions import request
from muniment.gateway.gateway import Gateway
from muniment.local.keyfiles import read_key_file
from muniment.records.artifact import (
    Artifact,
    Attribution,
    Binding,
    PolicyRef,
    ResourceScope,
    Scope,
    Validity,
)
from muniment.tlog.cosignature import signer_for
from muniment.tlog.policy import parse_policy

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from deployment import Deployment  # noqa: E402

EAST, WEST = "gw.example/east", "gw.example/west"
SPIFFE = "spiffe://example.org/agent"
ARTIFACT = Artifact(
    scope=Scope(actions=("call",), resources=(ResourceScope(type="tool", id="x"),)),
    binding=Binding(spiffe_id=SPIFFE),
    policy=PolicyRef(id="main", revision="1", digest="sha256:" + "0" * 64),
    validity=Validity(not_before=1_000_000_000, not_after=4_000_000_000),
    attribution=Attribution(authority="acme"),
)


class Place(Deployment):
    """A log, a witness, and two gateways; a replica that is brought up to date when asked."""

    def make(self) -> None:
        log_keys = self.make_log()
        witnesses = {"w1": self.make_witness("w1", "ed25519", log_keys)}
        self.start_witness("w1")
        self.write_policy(log_keys, witnesses, 1)
        keys = [self.make_gateway(name, f"{name[11:]}.pem") for name in (EAST, WEST)]
        self.configure_log(gateways=keys)
        self.start_log()

    def muniment(self, *argv: str, code: int = 0) -> str:
        done = processes.run(processes.muniment(*argv), cwd=self.place, code=code)
        return done.stdout + done.stderr

    def decide(self, run: str, key: str = "west.pem", *, ends: str | None = None) -> None:
        """Logs an allowing decision, keeps its permit, and logs how the run ended."""
        found = read_key_file(self.place / key)
        signer = signer_for(found.vkey.name, found.private, use="gateway")
        policy = parse_policy((self.place / "trust.policy").read_bytes())

        async def work() -> bytes:
            stream = f"{key.partition('.')[0]}-{run}"
            async with Gateway(self.urls["log"], signer, stream=stream, policy=policy) as gateway:
                permit = await gateway.authorize(decision(run))
                if ends is not None:
                    outcome = {"kind": "outcome", "execution": run, "status": ends}
                    await gateway.submit([outcome], published=True)
                return permit.encode()

        (self.place / f"{run}.permit").write_bytes(asyncio.run(work()))
        context = {"action": "call", "resource": {"type": "tool", "id": "x"}, "execution": run}
        context |= {"spiffe_id": SPIFFE, "policy": {"id": "main"}}
        (self.place / f"{run}.json").write_text(json.dumps(context))

    def follow(self, *more: str) -> None:
        log = (self.urls["log"], "--policy", "trust.policy", "--replica", "replica.db")
        self.muniment("follow", *log, "--once", *more)

    def traced(self, run: str, *more: str) -> dict[str, Any]:
        where = ("--replica", "replica.db", *more)
        argv = processes.muniment("lineage", "trace", run, *where, "--format", "json")
        done = processes.run(argv, cwd=self.place)
        found: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if found["continuous"] else 4)
        return found

    def judged(self, run: str, *more: str) -> list[str]:
        trusts = ("--policy", "trust.policy", "--replica", "replica.db", "--context", f"{run}.json")
        argv = processes.muniment("permit", "verify", f"{run}.permit", *trusts, *more, "--json")
        done = processes.run(argv, cwd=self.place)
        return json.loads(done.stdout)["codes"]

    def revoke(self, *argv: str, key: str = "east.pem", code: int = 0) -> str:
        log = ("--log", self.urls["log"], "--policy", "trust.policy", "--key", key)
        return self.muniment("revoke", *log, "--reason", "stolen", *argv, code=code)


def next_second() -> int:
    """Waits for the next second of the clock, so that what was logged lies before it."""
    now = int(time.time())
    for _ in range(1000):
        if int(time.time()) > now:
            break
        time.sleep(0.01)
    return int(time.time())


def decision(run: str) -> dict[str, Any]:
    from msgspec import to_builtins

    return {
        "request": request("planner", "call", ("tool", "x")),
        "response": {"decision": True},
        "execution": run,
        "artifact": to_builtins(ARTIFACT),
    }


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path)
    try:
        found.make()
        yield found
    finally:
        found.stop()


def test_a_stolen_key_takes_what_it_signed_and_nothing_else(place: Place) -> None:
    place.decide("ended", ends="completed")
    place.decide("open")
    stolen_at = next_second()
    place.decide("stolen")
    # Out with the key, in with another of the same name; the old one is revoked by its file.
    old = (place.place / "west.vkey").read_text().strip()
    (place.place / "west.pem").rename(place.place / "west-old.pem")
    new = place.make_gateway(WEST, "west-new.pem")
    config = place.place / "log" / "log.toml"
    config.write_text(config.read_text().replace(old, new))
    place.command("muniment-log", "reload", "--config", "log/log.toml")
    said = place.revoke("--revoked-key", "west-old.pem", "--since", str(stolen_at))
    assert f"key {'+'.join(old.split('+')[:2])} from" in said
    place.decide("after", "west-new.pem", ends="failed")
    place.follow()

    west = ("--gateway", "west-new.vkey")
    for more in ((), ("--gateway", "east.vkey", *west)):
        assert place.judged("open", *more) == ["revoked_authorization"]
        assert place.judged("stolen", *more) == ["revoked_authorization"]
        assert place.judged("after", *more) == []
        assert place.traced("after", *more)["ended"] == "failed"
        assert place.traced("ended", *more)["continuous"]
        for run in ("open", "stolen"):
            breaks = place.traced(run, *more)["breaks"]
            assert [(one["kind"], one["producer"]) for one in breaks] == [("revoked_key", EAST)]
            before = place.traced(run, *more, "--at", str(stolen_at - 1))
            assert before["continuous"]
    # Who names west alone does not believe east.
    unheard = place.traced("stolen", *west)
    assert unheard["continuous"]
    assert [one["producer"] for one in unheard["unheard"]] == [EAST]
    # A bundle carries the manifests that tell which key signed.
    trace = ("lineage", "trace", "stolen", "--replica", "replica.db", "--bundle", "stolen.lineage")
    place.muniment(*trace, "--verify", "--policy", "trust.policy", code=4)
    verify = ("lineage", "verify", "stolen.lineage", "--policy", "trust.policy")
    assert "revoked_key" in place.muniment(*verify, code=4)
    trace = ("lineage", "trace", "after", "--replica", "replica.db", "--bundle", "after.lineage")
    place.muniment(*trace)
    place.muniment("lineage", "verify", "after.lineage", "--policy", "trust.policy", *west)


def test_what_the_log_does_not_know_is_not_revoked_by_mistake(place: Place) -> None:
    place.decide("call", ends="completed")
    place.follow("--gateway", "west.vkey")
    east = (place.place / "east.vkey").read_text()
    place.make_gateway("gw.example/stranger", "stranger.pem")
    unknown = (
        ("--execution", "run-does-not-exist"),
        ("--decision", "d-typo"),
        ("--revoked-key", f"{WEST}+deadbeef"),
        ("--revoked-key", f"{EAST}+{east.split('+')[1]}"),  # it has signed nothing yet
        ("--revoked-key", "stranger.vkey"),
    )
    # At once: each gives the log five seconds to take notice.
    with ThreadPoolExecutor(len(unknown)) as together:
        for said in together.map(lambda one: place.revoke(*one, code=7), unknown):
            assert "the log knows no" in said
    said = place.revoke("--revoked-key", WEST, code=7)
    assert "a vkey, a key file" in said
    # A whole key is no slip of the pen: it is enough that the log admits it.
    assert "Revoked key" in place.revoke(
        "--revoked-key", "east.vkey", "--since", "2099-01-01T00:00:00Z"
    )
    vkey = (place.place / "west.vkey").read_text().strip()
    assert "Revoked key" in place.revoke("--revoked-key", vkey, key="west.pem")
    assert "Revoked execution" in place.revoke("--execution", "soon", "--force")
    assert "Revoked execution" in place.revoke("--execution", "call", key="west.pem")
    place.follow()
    # The replica keeps whose word counts; naming others takes its place.
    assert place.traced("call")["breaks"][0]["kind"] == "revoked_execution"
    assert place.traced("call", "--gateway", "east.vkey")["breaks"][0]["kind"] == "unknown_run"

    ways = ("--replica", "replica.db"), ("--log", place.urls["log"])
    for way in ways:
        found = place.muniment("find", *way, "--subject", "agent:planner")
        assert f"{WEST}: allow agent planner call tool x, run call" in found
        shown = json.loads(place.muniment("find", *way, "--resource", "tool:x", "--json"))
        assert shown["record"]["execution"] == "call"
        assert "None found" in place.muniment("find", *way, "--since", "2099-01-01T00:00:00Z")
        assert "None found" in place.muniment("find", *way, "--subject", "agent:somebody")
    place.muniment("find", "--replica", "replica.db", code=2)
    place.muniment("find", *ways[0], "--subject", "planner", code=2)
