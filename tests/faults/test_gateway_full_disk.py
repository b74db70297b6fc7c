"""A gateway whose disk is full: what it has acknowledged is kept, the rest is refused and said so.

The folder of the gateway is a small tmpfs, so these tests need the right to mount one. The log and
its witnesses have room.
"""

import gzip
import json
import random
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import gateway_service
import processes
from faults.volume import fill, make_room, mounted
from gateway_service import Service, evaluation
from log_deployment import Answer, Deployment, ask, deployed
from waiting import eventually

pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")

EVENTS = 40
"""Events of one upload."""

MOST_UPLOADS = 200
"""Far more than fill what a test leaves free."""

SINK = """
[opa]
sink_paths = ["/logs"]
[[opa.rule]]
path = "authz/allow"
"""


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "volume", 8) as folder:
        yield folder


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("deployment")) as running:
        yield running


def made(deployment: Deployment, volume: Path, top: str = "") -> Service:
    service = gateway_service.made(
        deployment, volume / "gateway", top=top, name=f"gw.example/{volume.parent.name}"
    )
    with service.config.open("a") as config:
        config.write(SINK)
    return service


def upload(service: Service, first: int) -> Answer:
    """An upload of an OPA, of which nothing can be pressed together."""
    events = [
        {
            "labels": {"id": "of-this-opa"},
            "decision_id": f"d-{first + number}",
            "path": "authz/allow",
            "input": {"number": first + number, "text": random.randbytes(400).hex()},
            "result": True,
            "timestamp": "2026-11-28T23:47:19.777539758Z",
        }
        for number in range(EVENTS)
    ]
    body = gzip.compress(json.dumps(events).encode())
    return service.post("/logs", body, {"Content-Encoding": "gzip"})


def uploaded(service: Service) -> list[str]:
    """The ids of the events that the log has published."""
    told = [one.response.get("context", {}).get("muniment", {}) for one in service.logged()]
    return sorted(one["event"]["decision_id"] for one in told if "event" in one)


def unrecorded(service: Service) -> float:
    text = ask(f"{service.url}/metrics").body.decode()
    [found] = re.findall(r"^muniment_gateway_unrecorded_total ([0-9.]+)$", text, re.MULTILINE)
    return float(found)


@contextmanager
def without_log(deployment: Deployment) -> Iterator[None]:
    deployment.log.pause()
    try:
        yield
    finally:
        deployment.log.resume()


def test_events_that_were_acknowledged_are_kept_and_others_refused(
    deployment: Deployment, volume: Path
) -> None:
    service = made(deployment, volume)
    with service.running():
        acknowledged: list[str] = []

        def send(first: int) -> Answer:
            answer = upload(service, first)
            if answer.status == 200:
                acknowledged.extend(f"d-{first + number}" for number in range(EVENTS))
            return answer

        with without_log(deployment):
            fill(volume, 1_000_000)
            firsts = iter(range(0, MOST_UPLOADS * EVENTS, EVENTS))
            refused = next(first for first in firsts if send(first).status != 200)
            assert acknowledged
            for _ in range(3):  # as OPA does, which has it still
                assert "the file system is full" in send(refused).problem(503, "not-kept")["detail"]
            make_room(volume)
            assert send(refused).status == 200
        eventually(lambda: len(uploaded(service)) >= len(acknowledged))
        assert uploaded(service) == sorted(acknowledged)
        # Nothing is left of it: the same gateway goes on, and so does the next one.
        assert send(next(firsts)).status == 200
    with service.running():
        eventually(lambda: uploaded(service) == sorted(acknowledged))


def test_a_denial_that_cannot_be_kept_says_so_and_what_is_logged_goes_on(
    deployment: Deployment, volume: Path
) -> None:
    service = made(deployment, volume)
    with service.running():
        fill(volume, 0)
        read = evaluation("alice", "read", "record-1")
        assert "permit" in service.evaluate(read)["context"]["muniment"]  # that needs no spool
        with without_log(deployment):
            reasons: list[str] = []

            def is_said() -> bool:
                denied = service.evaluate(read)
                assert denied["decision"] is False
                reasons[:] = denied["context"]["muniment"]["reasons"]
                return any("not recorded" in one and "full" in one for one in reasons)

            eventually(is_said)
            assert unrecorded(service) >= 1
        make_room(volume)
        eventually(service.is_ready)
        eventually(lambda: service.evaluate(read)["decision"])


def test_a_change_of_policy_that_cannot_be_noted_ends_nothing(
    deployment: Deployment, volume: Path
) -> None:
    service = made(deployment, volume)
    policies = service.folder / "authz.cedar"
    read = evaluation("alice", "read", "record-1")
    with service.running():
        assert service.evaluate(read)["decision"] is True
        policies.write_text(f"{policies.read_text()}// changed\n")
        fill(volume, 0)
        before = len(changes(service))
        # The gateway looks by itself; the log has the change, the gateway's own file has it not.
        eventually(lambda: len(changes(service)) > before)
        process = service.process
        assert process is not None
        eventually(lambda: "what the log was told cannot be noted" in process.stderr)
        assert service.evaluate(read)["decision"] is True
        assert len(changes(service)) == before + 1
        make_room(volume)
        assert service.evaluate(read)["decision"] is True


def changes(service: Service) -> list[str]:
    return [
        one.id for one in service.logged() if one.request["action"]["name"] == "muniment.change"
    ]


def test_who_observes_is_told_what_is_on_no_record(deployment: Deployment, volume: Path) -> None:
    service = made(deployment, volume)
    service.config.write_text(service.config.read_text().replace('"enforce"', '"observe"'))
    with service.running():
        fill(volume, 0)
        kept: set[str] = set()

        def observed() -> dict[str, Any]:
            answer = service.evaluate(evaluation("alice", "read", "record-1"))
            assert answer["decision"] is True
            own: dict[str, Any] = answer["context"]["muniment"]
            if "unrecorded" not in own:
                kept.add(own["evaluation_id"])
            return own

        full = next(own for _ in range(MOST_UPLOADS) if "unrecorded" in (own := observed()))
        assert "the file system is full" in full["unrecorded"]
        assert unrecorded(service) == 1
        make_room(volume)
        assert "unrecorded" not in observed()
        eventually(lambda: kept <= {one.id for one in service.logged()})
        assert full["evaluation_id"] not in {one.id for one in service.logged()}


def test_a_tool_is_not_called_whose_outcome_cannot_be_kept(
    deployment: Deployment, volume: Path
) -> None:
    """The gate denies with the reason, and lets calls pass again by itself."""
    service = made(deployment, volume)
    (service.folder / "authz.cedar").write_text("permit(principal, action, resource);")
    gate = processes.muniment_gateway(
        "mcp", "--config", service.config, "--subject", "alice", "--server", "tests", "--", "cat"
    )
    with subprocess.Popen(
        gate, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def call(number: int) -> dict[str, Any]:
            """What comes back: the call itself from `cat`, or the refusal."""
            assert process.stdin is not None
            assert process.stdout is not None
            params = {"name": "send", "arguments": {"text": "x" * 20_000}}
            message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        numbers = iter(range(1, 10 * MOST_UPLOADS))
        eventually(lambda: "method" in call(next(numbers)))
        fill(volume, 0)
        refused = next(answer for n in numbers if "method" not in (answer := call(n)))
        assert re.search("is full|No space left", refused["result"]["content"][0]["text"]), refused
        make_room(volume)
        eventually(lambda: "method" in call(next(numbers)))
        process.stdin.close()
        assert process.wait(60) == 0
