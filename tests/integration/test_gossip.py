"""Real witness processes against a log that lies: some see one history, some another."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import processes
from byzantine import ByzantineLog, View, get, post
from muniment.formats.evidence import parse_evidence
from muniment.formats.policy import parse_policy
from muniment.formats.proven import log_verifiers, verify_evidence
from muniment_witness import setup
from processes import muniment_witness

PERIOD = 0.4
START_SLACK = 2.0
SETTLE_SECONDS = 30.0  # for what must come sooner or later; a busy machine is no finding


class Deployment:
    """Witness folders whose configurations name each other; `url` is known before the start."""

    def __init__(self, folder: Path, names: Sequence[str], log: ByzantineLog) -> None:
        self.folder = folder
        self.log = log
        self.names = list(names)
        self.ports = {name: _free_port() for name in names}
        self.vkeys = {
            name: setup.init(
                folder / name,
                name=f"{name}.example",
                listen=f"127.0.0.1:{self.ports[name]}",
                logs=(),
                algorithms=("ed25519",),
                passphrase_file=None,
                passphrase=None,
            )[0]
            for name in names
        }

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def config(self, name: str) -> Path:
        return self.folder / name / "witness.toml"

    def configure(
        self, name: str, log_url: str | None, peers: Sequence[str], more: str = ""
    ) -> None:
        text = self.config(name).read_text()
        text = text[: text.index("# The logs to witness")]
        text += f"[[log]]\nvkeys = {json.dumps(self.log.vkeys)}\n{more}\n"
        if log_url is not None:
            text += f'url = "{log_url}"\ncosign_pulled = true\n'
        for peer in peers:
            text += f'[[peer]]\nvkeys = ["{self.vkeys[peer]}"]\nurl = "{self.url(peer)}"\n'
        text += f"[gossip]\nperiod_seconds = {PERIOD}\nrequest_seconds = 2\nstart_seconds = 1\n"
        self.config(name).write_text(text)

    @contextmanager
    def running(self) -> Iterator[Mapping[str, processes.Process]]:
        argvs = [muniment_witness("serve", "--config", self.config(name)) for name in self.names]
        with processes.started(argvs) as started:
            yield dict(zip(self.names, started, strict=True))

    def status(self, name: str) -> dict[str, Any]:
        import urllib.request

        request = urllib.request.Request(self.url(name), headers={"Accept": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as response:
            status: dict[str, Any] = json.loads(response.read())
        return status

    def settle(self, name: str, size: int, *, compared: bool = False) -> dict[str, Any]:
        """Waits until a witness has cosigned a size, and compared it with its one peer."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            status = self.status(name)
            sizes = [(status["logs"][0]["cosigned"] or {}).get("size")]
            if compared:
                sizes += [log["size"] for log in status["peers"][0]["logs"]] or [None]
            if set(sizes) == {size}:
                return status
            assert time.monotonic() < deadline, status
            time.sleep(0.02)

    def evidence(self, name: str) -> list[str]:
        status, body = get(self.url(name) + "/gossip/evidence")
        assert status == 200
        return [each["hash"] for each in json.loads(body)["evidence"]]

    def wait(self, name: str, seconds: float) -> list[str]:
        deadline = time.monotonic() + seconds
        while not (found := self.evidence(name)) and time.monotonic() < deadline:
            time.sleep(0.02)
        return found


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.mark.parametrize("kind", ["same-size", "fork", "middle"])
def test_a_split_view_is_found_by_every_witness_in_three_periods(tmp_path: Path, kind: str) -> None:
    """Issue 4: evidence on every honest witness within three gossip periods of the split, that
    verifies offline by the command line; and cosigning has stopped."""
    log = ByzantineLog()
    log.main.append(300)
    with ExitStack() as stack:
        stand = stack.enter_context(log.serve("127.0.0.1", "127.0.0.2"))
        deployment = Deployment(tmp_path, ["w1", "w2", "w3"], log)
        # w1 sees one side, w2 the other; with "middle" only w3, which sees no log, knows both.
        joined = {"w1": ["w3"], "w2": ["w3"], "w3": ["w1", "w2"]}
        if kind != "middle":
            joined = {name: [n for n in joined if n != name] for name in joined}
        deployment.configure("w1", stand.url("127.0.0.1"), joined["w1"])
        deployment.configure("w2", stand.url("127.0.0.2"), joined["w2"])
        deployment.configure("w3", None, joined["w3"])
        running = stack.enter_context(deployment.running())
        for name in ("w1", "w2"):
            deployment.settle(name, 300)
        assert not any(deployment.evidence(name) for name in running)
        # The split: from here on each address shows another history.
        other = log.split("other", at=299, size=300)
        other.append(5 if kind == "same-size" else 90)
        log.show("other", at="127.0.0.2")
        log.main.append(5)
        # One period for each side to pull its history; three of gossip from then on. The rest is
        # for a machine with much else to do.
        began = time.monotonic()
        found = {name: deployment.wait(name, 4 * PERIOD + 10) for name in running}
        took = time.monotonic() - began
        assert all(found.values()), {name: process.stderr for name, process in running.items()}
        assert took < 4 * PERIOD + START_SLACK
        policy = tmp_path / "policy"
        policy.write_text("".join(f"log {vkey}\n" for vkey in log.vkeys) + "quorum none\n")
        for name, hashes in found.items():
            status, file = get(f"{deployment.url(name)}/gossip/evidence/{hashes[0]}")
            assert status == 200
            evidence = parse_evidence(file)
            verify_evidence(evidence, log_verifiers(parse_policy(policy.read_bytes())))
            path = tmp_path / f"{name}.evidence"
            path.write_bytes(file)
            done = subprocess.run(
                [sys.executable, "-m", "muniment", "evidence", "verify", path, "--policy", policy],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 5, done.stdout + done.stderr  # proven misbehaviour
            _refuses(deployment, name, log.main)


def _refuses(deployment: Deployment, name: str, view: View) -> None:
    status, body = post(deployment.url(name) + "/add-checkpoint", view.add_checkpoint(0).encode())
    assert status == 403
    assert b"misbehaviour-proven" in body


def test_honest_witnesses_agree_through_restarts_and_say_what_they_compared(
    tmp_path: Path,
) -> None:
    log = ByzantineLog()
    log.main.append(10)
    with log.serve() as stand:
        deployment = Deployment(tmp_path, ["w1", "w2"], log)
        deployment.configure("w1", stand.url(), ["w2"])
        deployment.configure("w2", stand.url(), ["w1"])
        for _ in range(2):
            with deployment.running() as running:
                for _ in range(3):
                    log.main.append(70)
                    time.sleep(1.5 * PERIOD)  # some growth between the rounds, however many
                for name, peer in (("w1", "w2"), ("w2", "w1")):
                    status = deployment.settle(name, log.main.size, compared=True)
                    assert status["alarms"] == []
                    assert status["logs"][0]["cosigned"]["size"] == log.main.size
                    assert status["logs"][0]["evidence"] == []
                    [compared] = status["peers"][0]["logs"]
                    assert status["peers"][0]["name"] == f"{peer}.example"
                    assert compared["size"] == log.main.size
                    assert compared["finding"] in {"same", "extends", "prefix"}
                assert all(process.terminate() == 0 for process in running.values())
