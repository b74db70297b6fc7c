"""Bearer tokens on a real log: who may write, who may read, until when, and as whom."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import processes
import signing
from log_deployment import Answer, Stream, ask, run
from muniment.cli.exits import BAD_INPUT, UNVERIFIED
from muniment.records.manifest import NO_PREVIOUS, build_batch
from muniment.records.preparation import Preparer
from waiting import eventually

ORIGIN = "log.example/tokens"
WRITER, SHORT, READER, GONE = "the-writer", "the-short-one", "the-reader", "the-gone-one"
PAIR = (
    b'{"request":{"subject":{"type":"agent","id":"a"},"action":{"name":"read"},'
    b'"resource":{"type":"file","id":"f"}},"response":{"decision":true}}'
)
DATA = [
    "/v1/entries/0",
    "/v1/proofs/inclusion?index=0",
    "/v1/proofs/consistency?from=1&to=2",
    "/v1/streams/gw.example/a/s",
    "/v1/decisions/x",
    "/v1/executions/x",
    "/v1/lineage/execution/x",
    "/metrics",
]
TILES = ["/checkpoint", "/tile/0/000.p/2", "/tile/entries/000.p/2"]
SHORT_SECONDS = 4
"""How long a token is valid. A log has mostly started by then, but no test relies on it."""

OPEN = ["/healthz", "/readyz", "/openapi.json", "/"]


def table(kind: str, holder: str, token: str, seconds: float = 3600) -> str:
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    key = "producer" if kind == "token" else "name"
    return (
        f'[[{kind}]]\n{key} = "{holder}"\nsha256 = "{sha256(token.encode()).hexdigest()}"\n'
        f"expires = {end.isoformat()}\n"
    )


@dataclass
class Place:
    folder: Path
    log: processes.Process
    vkey: str
    short_ends: float

    def get(self, path: str, token: str | None = None) -> Answer:
        return ask(self.log.url + path, headers=bearer(token))

    def post(self, token: str | None, body: bytes = PAIR) -> Answer:
        headers = {"Content-Type": "application/json", **bearer(token)}
        return ask(self.log.url + "/v1/records", body, headers)


def bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("tokens")
    vkey, _ = run(
        processes.muniment_log("init", folder, "--origin", ORIGIN, "--listen", "127.0.0.1:0")
    )
    short_ends = time.time() + SHORT_SECONDS
    config = folder / "log.toml"
    config.write_text(
        config.read_text().replace('# log_level = "info"', 'log_level = "debug"')
        + table("token", "writer.example", WRITER)
        + table("token", "short.example", SHORT, short_ends - time.time())
        + '[read]\ntiles = "token"\n'
        + table("read.token", "auditor", READER)
        + table("read.token", "former auditor", GONE, -1)
        + f'[[gateway]]\nvkey = "{signing.log_signer("gw.example/a").vkey}"\n'
        + "[index]\nenabled = false\n"
    )
    (folder / "trust.policy").write_text(f"log {vkey}\nquorum none\n")
    with processes.start(processes.muniment_log("serve", "--config", config)) as log:
        yield Place(folder, log, vkey, short_ends)
        log.terminate()
        for secret in (WRITER, SHORT, READER, GONE):
            assert secret not in log.stderr + log.stdout


def test_an_expired_token_writes_no_more(place: Place) -> None:
    while True:
        asked = time.time()
        answer = place.post(SHORT)
        if answer.status != 200:
            break
        assert asked < place.short_ends
    assert time.time() >= place.short_ends
    assert "expired" in answer.problem(401, "bad-token")["detail"]
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_a_token_writes_as_its_producer_and_as_no_other(place: Place) -> None:
    assert place.post(WRITER).status == 200
    mine = json.loads(PAIR) | {"kind": "decision", "producer": "writer.example"}
    assert place.post(WRITER, json.dumps(mine).encode()).status == 200
    forged = json.dumps(mine | {"producer": "short.example"}).encode()
    place.post(WRITER, forged).problem(422, "bad-record")
    # Whoever may read may not write, and the other way round.
    place.post(READER).problem(401, "bad-token")
    place.get("/v1/entries/0", WRITER).problem(401, "bad-token")


def test_reads_need_a_token_and_health_does_not(place: Place) -> None:
    assert place.post(WRITER).status == 200
    eventually(lambda: place.get("/v1/entries/0", READER).status == 200)
    for path in DATA + TILES:
        refused = place.get(path)
        refused.problem(401, "no-token")
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        for wrong in ("wrong", GONE):
            refused = place.get(path, wrong)
            refused.problem(401, "bad-token")
            assert refused.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        answer = place.get(path, READER)
        assert answer.status != 401, path
        # A shared cache may keep nothing of it for those without a token.
        assert "public" not in answer.headers["Cache-Control"], path
    for path in OPEN:
        assert place.get(path).status == 200
    for path in (*TILES, "/v1/entries/0"):
        assert place.get(path, READER).status == 200


def test_clients_take_the_token_from_a_file_or_the_environment(place: Place) -> None:
    assert place.post(WRITER).status == 200
    file = place.folder / "read-token"
    file.touch(0o600)
    file.write_text(READER + "\n")
    policy = ("--policy", "trust.policy")
    audit = ["audit", "--log", place.log.url, *policy]
    follow = ["follow", place.log.url, *policy, "--replica", "r.db", "--once"]
    for arguments in (audit, follow):
        assert muniment(place, arguments, {"MUNIMENT_READ_TOKEN_FILE": str(file)}) == 0
    assert muniment(place, audit, {"MUNIMENT_READ_TOKEN": READER}) == 0
    # A log that does not let an auditor read has not been verified.
    assert muniment(place, audit, {}) == UNVERIFIED
    assert muniment(place, audit, {"MUNIMENT_READ_TOKEN": GONE}) == UNVERIFIED
    file.chmod(0o644)
    assert muniment(place, audit, {"MUNIMENT_READ_TOKEN_FILE": str(file)}) == BAD_INPUT


def muniment(place: Place, arguments: list[str], environment: dict[str, str]) -> int:
    argv = processes.muniment(*arguments)
    done = processes.run(argv, cwd=place.folder, environment=environment)
    for secret in (READER, GONE):
        assert secret not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.returncode


def test_a_witness_reads_with_a_token(place: Place, tmp_path: Path) -> None:
    assert place.post(WRITER).status == 200
    run(
        processes.muniment_witness(
            "init", tmp_path, "--name", "w.example", "--listen", "127.0.0.1:0",
            "--algorithm", "ed25519", "--log", place.vkey,
        )
    )  # fmt: skip
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(READER)
    config = tmp_path / "witness.toml"
    entry = f'url = "{place.log.url}"\ncosign_pulled = true\nread_token_file = "token"\n'
    text = config.read_text().replace("# More of a [[log]]", entry + "# More")
    config.write_text(text + "[gossip]\nperiod_seconds = 0.1\n")
    with processes.start(processes.muniment_witness("serve", "--config", config)) as witness:

        def status() -> dict[str, Any]:
            return ask(witness.url + "/status.json").json["logs"][0]

        eventually(lambda: bool(status()["cosigned"]))
        assert status()["cosigned"]["size"] > 0
        assert status()["read"]["error"] is None
    # The command that rewrites the table keeps the file where it is.
    run(
        processes.muniment_witness(
            "acknowledge", "--config", config, ORIGIN, "--evidence", "0" * 64
        )
    )
    assert 'read_token_file = "token"' in config.read_text()


def test_a_replayed_request_changes_nothing(place: Place) -> None:
    signer = signing.log_signer("gw.example/a")
    records = Preparer(
        "gw.example/a", now_ms=lambda: 1_790_000_000_000, new_id=lambda: "one"
    ).prepare([PAIR])
    body = build_batch(ORIGIN, signer, "replay", 0, NO_PREVIOUS, records).body
    first = ask(f"{place.log.url}/v1/batches", body)
    assert first.status == 200
    size = place.get("/readyz").json["integrated"]
    again = ask(f"{place.log.url}/v1/batches", body)
    assert {**again.json, "size": 0} == {**first.json, "size": 0}
    assert place.get("/readyz").json["integrated"] == size
    moved = Stream("moved", signer)
    ask(f"{place.log.url}/v1/batches", moved.take(records)).problem(403, "wrong-log")
