"""The sink of OPA's decision logs: a real OPA uploads, the gateway is killed, the log is away."""

import gzip
import http.client
import json
import re
import shlex
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import foreign
import gateway_service
import processes
from gateway_service import Service
from log_deployment import Answer, Deployment, ask
from muniment.records.kinds import Decision
from waiting import SECONDS, eventually

TABLES = """\
[opa]
sink_paths = ["/logs", "/any/path"]
[[opa.rule]]
path = "authz/allow"
"""

REGO = """\
package authz

allow if input.action.name == "read"
"""


@pytest.fixture
def service(deployment: Deployment, tmp_path: Path) -> Iterator[Service]:
    made = gateway_service.made(
        deployment, tmp_path / "gateway", TABLES, name=f"{gateway_service.NAME}/{tmp_path.name}"
    )
    with made.running():
        yield made


def event(number: int, **more: Any) -> dict[str, Any]:
    return {
        "labels": {"id": "of-this-opa"},
        "decision_id": f"d-{number}",
        "path": "authz/allow",
        "input": {"number": number},
        "result": True,
        "timestamp": "2026-11-28T23:47:19.777539758Z",
        **more,
    }


def upload(service: Service, events: list[Any] | bytes, path: str = "/logs") -> Answer:
    body = events if isinstance(events, bytes) else gzip.compress(json.dumps(events).encode())
    return service.post(path, body, {"Content-Encoding": "gzip"})


def found(service: Service) -> list[Decision]:
    """Records of uploads by this gateway."""
    name = f"{gateway_service.NAME}/"
    producer = [line for line in service.config.read_text().splitlines() if name in line]
    return [
        one
        for one in service.logged()
        if f'name = "{one.producer}"' in producer
        and one.response.get("context", {}).get("muniment", {}).get("after_the_fact")
    ]


def ids(service: Service) -> list[str]:
    events = [one.response["context"]["muniment"].get("event", {}) for one in found(service)]
    return sorted(one.get("decision_id", "") for one in events)


@contextmanager
def opa(service: Service, folder: Path, **reporting: Any) -> Iterator[str]:
    """A real OPA that logs its decisions to the gateway; its URL."""
    policy, config = folder / "authz.rego", folder / "opa.json"
    policy.write_text(REGO)
    reporting |= {"min_delay_seconds": 1, "max_delay_seconds": 1}
    tables = {
        "services": {"gateway": {"url": service.url}},
        "decision_logs": {"service": "gateway", "reporting": reporting},
        "status": {"prometheus": True},
    }
    config.write_text(json.dumps(tables))
    with foreign.opa("--config-file", config, policy, log=folder / "opa.log") as url:
        yield url


def decide(opa: str, count: int) -> dict[str, str]:
    """Has an OPA decide so often, two times of three with yes; the action by the decision's id."""
    asked: dict[str, str] = {}
    connection = http.client.HTTPConnection(opa.partition("//")[2], timeout=SECONDS)
    with closing(connection):
        for number in range(count):
            name = "read" if number % 3 else "write"
            body = json.dumps({"input": {"action": {"name": name}, "number": number}})
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/v1/data/authz/allow", body, headers)
            asked[json.load(connection.getresponse())["decision_id"]] = name
    return asked


def test_events_are_logged_once_however_often_they_come(service: Service) -> None:
    for events in ([event(1), event(2)], [event(2), event(3)], [event(1), event(1)]):
        assert upload(service, events).status == 200
    assert upload(service, [event(4)], "/any/path").status == 200
    # What comes first counts, of several uploads and of one.
    assert upload(service, [event(1, result=False), event(5), event(5, result=False)]).status == 200
    eventually(lambda: ids(service) == ["d-1", "d-2", "d-3", "d-4", "d-5"])
    assert all(one.allowed for one in found(service))


def test_no_content_is_refused(service: Service) -> None:
    bomb = gzip.compress(bytes(70 << 20))
    bodies = [b"", b"no gzip", gzip.compress(b"[]")[:-3], gzip.compress(b"{}"), bomb]
    bodies += [gzip.compress(b'[{"decision_id":"x","input":' + b"[" * 9000 + b"]" * 9000 + b"}]")]
    for body in bodies:
        assert upload(service, body).status == 200
    eventually(lambda: len(found(service)) == len(bodies))
    digests = [one.response["context"]["muniment"]["sha256"] for one in found(service)]
    for digest in digests:
        argv = processes.muniment_gateway("original", "--config", service.config, digest)
        hashed = processes.run(["bash", "-c", f"{shlex.join(argv)} | sha256sum"], code=0)
        assert hashed.stdout.split()[0] == digest
    assert {one.denial and one.denial.codes for one in found(service)} == {("could_not_evaluate",)}


def test_an_acknowledged_event_survives_the_gateway_and_the_log(
    service: Service, deployment: Deployment
) -> None:
    deployment.log.pause()
    try:
        assert upload(service, [event(n) for n in range(50)]).status == 200
        service.process.kill()
        service.start()
        assert upload(service, [event(n) for n in range(25, 75)]).status == 200
        service.process.kill()
    finally:
        deployment.log.resume()
    service.start()
    assert upload(service, [event(n) for n in range(100)]).status == 200
    eventually(lambda: ids(service) == sorted(f"d-{n}" for n in range(100)))


def test_what_a_real_opa_decides_comes_into_the_log(service: Service, tmp_path: Path) -> None:
    with opa(service, tmp_path, trigger="immediate") as url:
        asked = decide(url, 30)
        eventually(lambda: ids(service) == sorted(asked), lambda: (len(ids(service)), len(asked)))
    for record in found(service):
        told = record.response["context"]["muniment"]
        assert record.allowed is (asked[told["event"]["decision_id"]] == "read")
        # The rule is undefined for anything else: that is no denial by the policy.
        codes = record.denial.codes if record.denial else ()
        assert codes == (() if record.allowed else ("could_not_evaluate",))


@pytest.mark.parametrize("buffer", ["event", "size"])
def test_an_opa_drops_nothing_and_each_decision_is_logged_once(
    service: Service, tmp_path: Path, buffer: str
) -> None:
    with opa(service, tmp_path, trigger="periodic", buffer_type=buffer) as url:
        asked = decide(url, 1500)
        # As a multiset: what came twice would be there twice.
        eventually(lambda: ids(service) == sorted(asked), lambda: (len(ids(service)), len(asked)))
        eventually(lambda: "decision_logs_chunks_uploaded_total" in metrics(url))
        dropped = re.findall(r"^decision_logs_dropped.* (.+)$", metrics(url), re.MULTILINE)
    assert sum(map(float, dropped)) == 0  # there is no counter of what never happened


def metrics(opa: str) -> str:
    return ask(f"{opa}/metrics").body.decode()


def test_a_sink_alone_is_ready(service: Service) -> None:
    assert ask(f"{service.url}/readyz").json["authorities"] == 0
