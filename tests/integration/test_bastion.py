"""Witnesses that are reached through the real litebastion."""

import asyncio
import contextlib
import http.client
import json
import ssl
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import logsim
import processes
from bastions import Litebastion, client_of
from log_deployment import PUBLISHED, Deployment, ask, deployed, run
from muniment.tlog.witnesswire import origin_hash, parse_cosignatures
from processes import muniment_log, muniment_witness
from waiting import SECONDS, eventually
from witness_tools import GrowingLog, set_up


class Behind:
    """A witness in a folder of its own that serves through a bastion."""

    def __init__(self, folder: Path, bastion: Litebastion, logs: list[str], more: str = "") -> None:
        self.config, [self.vkey] = set_up(folder, logs, name=f"{folder.name}.example")
        [self.hash] = run(muniment_witness("bastion-key", folder / "bastion.pem"))
        self.prefix = f"{bastion.url}/{self.hash}"
        self.table = f'[[bastion]]\nurl = "{bastion.url}"\nkey = "bastion.pem"\n{more}\n'
        self.write(self.table + f'[outgoing]\nca = "{bastion.ca}"\n')

    def write(self, more: str) -> None:
        own = self.config.read_text().partition("# of the test\n")[0]
        self.config.write_text(f"{own}\n# of the test\n{more}")

    def running(self) -> processes.Process:
        return processes.start(muniment_witness("serve", "--config", self.config))


def status(witness: processes.Process) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{witness.url}/status.json", timeout=SECONDS) as answer:
        told: list[dict[str, Any]] = json.load(answer)["bastions"]
    return told


def is_served(witness: processes.Process) -> bool:
    return bool(status(witness)) and status(witness)[0]["since"] is not None


def request(
    bastion: Litebastion, path: str, body: bytes | None = None
) -> tuple[int, dict[str, str], bytes]:
    context = ssl.create_default_context(cafile=bastion.ca)
    address = bastion.url.removeprefix("https://")
    connection = http.client.HTTPSConnection(address, context=context, timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request("GET" if body is None else "POST", path, body)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


@pytest.fixture
def bastion(tmp_path: Path) -> Litebastion:
    return Litebastion(tmp_path / "bastion")


def add(bastion: Litebastion, witness: Behind, log: GrowingLog, old: int, new: int) -> int:
    path = f"/{witness.hash}/add-checkpoint"
    code, _, body = request(bastion, path, log.request(old, new).encode())
    if code == 200:
        [line] = parse_cosignatures(body)
        assert line.name == witness.vkey.name
    return code


def head_of(made: Deployment) -> int:
    return int(ask(f"{made.url}/checkpoint").body.split(b"\n")[1])


def test_a_log_is_cosigned_through_a_bastion_whatever_happens_to_that(
    tmp_path: Path, bastion: Litebastion
) -> None:
    with deployed(tmp_path) as made:
        keys = run(muniment_log("vkeys", "--config", made.config))
        witness = Behind(tmp_path / "behind", bastion, keys)
        bastion.allow(witness.hash)
        logs = "".join(f"log {key}\n" for key in keys)
        policy = f"{logs}witness behind {witness.vkey} {witness.prefix}\nquorum behind\n"
        (made.folder / "log" / "witnesses.policy").write_text(policy)
        made.config.write_text(made.config.read_text() + f'[outgoing]\nca = "{bastion.ca}"\n')
        made.log.terminate()
        made.start_log()
        stream = made.stream()
        with witness.running() as running:
            with bastion.running():
                eventually(lambda: is_served(running))
                body = stream.take([logsim.decision(0)])
                answer = made.post(body, PUBLISHED)
                assert answer.status == 200, answer.body
                size = answer.json["size"]
                assert head_of(made) == size
                fed = ("--log", made.url, "--log-vkey", keys[0], "--witness", witness.prefix)
                environment = {"MUNIMENT_TLS_CA": str(bastion.ca)}
                argv = muniment_witness("feed", *fed, "--once")
                done = processes.run(argv, environment=environment, code=0)
                assert json.loads(done.stdout)["size"] == size
            eventually(lambda: not is_served(running))
            assert (
                "no connection" in str(status(running)[0]["error"]) or status(running)[0]["error"]
            )
            assert made.post(stream.take([logsim.decision(1)])).status == 200
            with bastion.running():
                eventually(lambda: is_served(running))
                eventually(lambda: head_of(made) > size)
                assert status(running)[0]["connections"] == 2
                # Stopped with a request under way or not: the bastion is told, and the log waits.
                assert running.terminate() == 0
                assert request(bastion, f"/{witness.hash}/add-checkpoint", b"x")[0] == 502


def test_two_witnesses_at_one_bastion_and_one_that_it_does_not_allow(
    tmp_path: Path, bastion: Litebastion
) -> None:
    log = GrowingLog()
    one, two = (Behind(tmp_path / name, bastion, log.vkeys) for name in ("one", "two"))
    bastion.allow(one.hash)
    with bastion.running(), one.running() as first, two.running() as second:
        eventually(lambda: is_served(first))
        eventually(lambda: bool(status(second)[0]["error"]))
        assert f"has its operator allowed the key {two.hash}?" in status(second)[0]["error"]
        assert add(bastion, one, log, 0, 3) == 200
        assert add(bastion, two, log, 0, 3) == 502
        bastion.allow(one.hash, two.hash)
        eventually(lambda: is_served(second))
        assert add(bastion, two, log, 0, 3) == 200
        assert add(bastion, one, log, 0, 3) == 409
        # Both were asked for themselves, and what they serve is the protocol alone.
        for witness in (one, two):
            below = f"/{witness.hash}"
            assert (
                request(bastion, f"{below}/{origin_hash('unknown.example')}/checkpoint")[0] == 404
            )
            path = f"{below}/{origin_hash(log.origin)}/checkpoint"
            code, headers, body = request(bastion, path)
            assert (code, body.split(b"\n")[1]) == (200, b"3")
            assert "Set-Cookie" not in headers
            assert request(bastion, f"{below}/gossip/heads")[0] == 200
            assert json.loads(request(bastion, f"{below}/witness.v0.json")[2])["name"]
            for path in ("/", "/metrics", "/status.json", "/healthz", "/about", "/openapi.json"):
                assert request(bastion, below + path)[0] == 404
        # The bastion throws out whom it does not allow any more.
        bastion.allow(two.hash)
        eventually(lambda: not is_served(first))
        assert add(bastion, two, log, 3, 5) == 200
        with urllib.request.urlopen(f"{second.url}/metrics", timeout=SECONDS) as answer:
            metrics = answer.read().decode()
        assert f'muniment_witness_bastion_connected{{bastion="{two.prefix}"}}' in metrics


def test_chosen_logs_and_a_reload(tmp_path: Path, bastion: Litebastion) -> None:
    log, other = GrowingLog(), GrowingLog("other.example/log")
    keys = [*log.vkeys, *other.vkeys]
    witness = Behind(tmp_path / "w", bastion, keys, f'logs = ["{log.origin}"]')
    bastion.allow(witness.hash)
    with bastion.running(), witness.running() as running:
        eventually(lambda: is_served(running))
        assert status(running)[0]["logs"] == [log.origin]
        assert add(bastion, witness, log, 0, 3) == 200
        assert add(bastion, witness, other, 0, 3) == 404
        with urllib.request.urlopen(
            f"{running.url}/add-checkpoint", other.request(0, 3).encode(), timeout=SECONDS
        ) as answer:
            assert answer.status == 200
        below = f"/{witness.hash}"
        assert request(bastion, f"{below}/{origin_hash(log.origin)}/checkpoint")[0] == 200
        assert request(bastion, f"{below}/{origin_hash(other.origin)}/checkpoint")[0] == 404
        assert request(bastion, f"{below}/gossip/heads")[0] == 404

        reload = muniment_witness("reload", "--config", witness.config)
        witness.write(f'[outgoing]\nca = "{bastion.ca}"\n')
        run(reload)
        eventually(lambda: not status(running))
        assert add(bastion, witness, log, 3, 4) == 502
        witness.write(f'{witness.table.replace("logs =", "#")}[outgoing]\nca = "{bastion.ca}"\n')
        run(reload)
        eventually(lambda: is_served(running))
        assert add(bastion, witness, other, 3, 4) == 200


async def over_http_2(bastion: Litebastion, path: str, field: tuple[str, str]) -> int | None:
    """The status of an answer to a request with a header field as it stands; None without one."""
    context = ssl.create_default_context(cafile=bastion.ca)
    context.set_alpn_protocols(["h2"])
    host, _, port = bastion.url.removeprefix("https://").rpartition(":")
    ends = await asyncio.open_connection(host, int(port), ssl=context)
    async with client_of(*ends) as client:
        client.h2.config.validate_outbound_headers = False
        client.h2.config.normalize_outbound_headers = False
        await client.begin()
        with contextlib.suppress(ConnectionResetError):
            code, _, _ = await client.ask(path, headers=[field])
            return int(code)
    return None


def test_a_client_with_a_malformed_header_cuts_nobody_off(
    tmp_path: Path, bastion: Litebastion
) -> None:
    log = GrowingLog()
    witness = Behind(tmp_path / "w", bastion, log.vkeys)
    bastion.allow(witness.hash)
    with bastion.running(), witness.running() as running:
        eventually(lambda: is_served(running))
        path = f"/{witness.hash}/witness.v0.json"
        assert asyncio.run(over_http_2(bastion, path, ("x-a", "1"))) == 200
        assert asyncio.run(over_http_2(bastion, path, ("x-a", " 1 "))) == 400
        assert add(bastion, witness, log, 0, 3) == 200
        assert status(running)[0]["connections"] == 1
