"""Engines that answer nonsense, redirect, hang or answer twice; and requests that are none."""

import itertools
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

import gateway_service
import hostile
import pdp
from gateway_service import Service, evaluation
from log_deployment import Deployment
from stand import Answer, Asked, Stand
from waiting import eventually

pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")

EVALUATION = "/access/v1/evaluation"
YES = b'{"decision":true}'


def answer_of(body: bytes, more: str = "") -> Answer:
    """An answer that is sent byte by byte as it stands here."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return Answer(raw=head.encode() + more.encode() + b"\r\n" + body)


ALMOST: dict[str, Answer] = {
    **{
        f"{value!r} for a decision": Answer(200, json.dumps({"decision": value}).encode())
        for value in ("true", 1, [True], None, {"decision": True})
    },
    "two decisions": Answer(200, b'{"decision":false,"decision":true}'),
    "an array": Answer(200, b"[" + YES + b"]"),
    "a context that is none": Answer(200, b'{"decision":true,"context":[]}'),
    "more behind it": Answer(200, YES + YES),
    "a yes that was created": Answer(201, YES),
    "a yes that was accepted": Answer(202, YES),
    "a yes with an error": Answer(500, YES),
    "a yes by redirect": Answer(302, YES, {"Location": "/yes"}),
    "a partial yes": Answer(206, YES),
    "a yes in UTF-16": Answer(200, YES.decode().encode("utf-16")),
    "a yes too deep": Answer(200, b'{"decision":true,"context":' + b"[" * 200 + b"]" * 200 + b"}"),
    "a long yes": Answer(200, b'{"decision":true,"x":"' + b"a" * (2 << 20) + b'"}'),
}


@dataclass
class Single:
    """A gateway whose only engine answers as it is told; or as the fixture has it."""

    service: Service
    stand: Stand
    lie: list[Answer] = field(default_factory=list)

    def ask(self, request: dict[str, Any] | None = None) -> dict[str, Any]:
        return self.service.evaluate(request or evaluation())


@pytest.fixture(scope="module")
def single(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Single]:
    lie: list[Answer] = []

    def respond(asked: Asked) -> Answer:
        if asked.path == "/yes":
            return Answer(200, YES)
        if lie and asked.path == EVALUATION:
            return lie[0]
        return pdp.answer(stand.url)(asked)

    with Stand(respond).serve() as stand:
        tables = (
            f'[[authority]]\nname = "pdp"\nkind = "authzen"\nurl = "{stand.url()}"\n'
            "deadline_seconds = 1.5\n"
        )
        folder = tmp_path_factory.mktemp("hostile")
        service = gateway_service.made(
            deployment, folder / "gateway", tables, name="gw.example/hostile"
        )
        with service.running():
            yield Single(service, stand, lie)


def test_no_nonsense_of_an_engine_is_an_allow(single: Single) -> None:
    for name, lie in {**ALMOST, **hostile.ANSWERS}.items():
        single.lie[:] = [lie]
        try:
            answer = single.ask()
        finally:
            single.lie.clear()
        own = answer["context"]["muniment"]
        assert (answer["decision"], own["codes"]) == (False, ["could_not_evaluate"]), name
        assert "permit" not in own, name
    assert single.stand.count("/yes") == 0  # nobody goes where an engine sends us
    # An honest engine on a busy machine may be late once.
    eventually(lambda: single.ask()["decision"] is True)
    process = single.service.process
    assert "unhandled exception" not in process.stderr


def test_an_engine_that_answers_twice_answers_nothing_else(single: Single) -> None:
    """The second answer must not become that to the next request on the connection."""
    twice = answer_of(b'{"decision":false}').raw + answer_of(YES).raw
    for _ in range(8):
        single.lie[:] = [Answer(raw=twice)]
        assert single.ask()["decision"] is False
        single.lie.clear()
        assert single.ask(evaluation("bob", "write"))["decision"] is False


def test_an_engine_that_hangs_is_given_up_and_recorded(single: Single) -> None:
    single.lie[:] = [Answer(delay=600.0)]
    try:
        answer = single.ask(evaluation(resource="record-of-the-slow"))
    finally:
        single.lie.clear()
    assert answer["context"]["muniment"]["codes"] == ["could_not_evaluate"]
    eventually(
        lambda: any(
            one.request["resource"]["id"] == "record-of-the-slow" and one.denial is not None
            for one in single.service.logged()
        )
    )


def refused(service: Service) -> list[str]:
    """Why things were no requests, as the records have it."""
    own = [one.response.get("context", {}).get("muniment", {}) for one in service.logged()]
    return [one["reason"] for one in own if "reason" in one]


REFUSED: dict[str, tuple[bytes, dict[str, str]]] = {
    "no JSON": (b"{", {}),
    "not UTF-8": (b"\xff\xfe", {}),
    "nothing": (b"", {}),
    "too deep": (b"[" * 100_000, {}),
    "two of one name": (b'{"subject":{},"subject":{}}', {}),
    "another type": (json.dumps(evaluation()).encode(), {"Content-Type": "text/plain"}),
    "another coding": (b"x", {"Content-Encoding": "br"}),
    "too long": (b" " * (4 << 20) + b"x", {}),
    "options of none": (b'{"evaluations":[{}],"options":[]}', {}),
}


@pytest.mark.parametrize("path", [EVALUATION, "/access/v1/evaluations"])
def test_what_is_no_request_is_a_denial_on_record(single: Single, path: str) -> None:
    service = single.service

    before = len(refused(service))
    asked = len(single.stand.asked)
    for name, (body, headers) in REFUSED.items():
        answer = service.post(path, body, headers)
        assert answer.status in {400, 413}, (name, answer.status, answer.body)
        assert isinstance(json.loads(answer.body), str), name
    eventually(lambda: len(refused(service)) - before >= len(REFUSED))
    assert len(refused(service)) - before == len(REFUSED)
    assert len(single.stand.asked) == asked  # no engine heard of it


def test_a_body_that_comes_too_slowly_is_a_denial_on_record(
    deployment: Deployment, tmp_path: Any
) -> None:
    service = gateway_service.made(deployment, tmp_path / "gateway", name="gw.example/slow")
    text = service.config.read_text()
    service.config.write_text(f"{text}\n[limits]\nbody_seconds = 1\n")
    with service.running():
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 30) as sock:
            sock.sendall(
                b"POST /access/v1/evaluation HTTP/1.1\r\nHost: x\r\nX-Request-ID: slow\r\n"
                b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
            )
            answer = b""
            while chunk := sock.recv(65_536):
                answer += chunk
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"X-Request-ID: slow" in answer
        eventually(lambda: any("within 1 seconds" in one for one in refused(service)))


STATES: dict[str, Answer] = {
    "allow": Answer(200, YES),
    "deny": Answer(200, b'{"decision":false}'),
    "gone": Answer(hang_up=True),
    "nonsense": Answer(200, b'{"decision":"yes"}'),
}


def test_two_of_three_engines_decide_whatever_they_do_and_a_kill_loses_nothing(
    deployment: Deployment, tmp_path: Any
) -> None:
    """All states of three engines, one after the other, and a kill -9 on the way."""
    states = ["allow"] * 3

    def engine(number: int) -> Stand:
        def respond(asked: Asked) -> Answer:
            return STATES[states[number]] if asked.path == EVALUATION else Answer(404)

        return Stand(respond)

    stands = [engine(number) for number in range(3)]
    with stands[0].serve(), stands[1].serve(), stands[2].serve():
        tables = "".join(
            f'[[authority]]\nname = "pdp{number}"\nkind = "authzen"\nurl = "{stand.url()}"\n'
            "deadline_seconds = 30.0\n"
            for number, stand in enumerate(stands)
        )
        service = gateway_service.made(
            deployment, tmp_path / "gateway", tables, top="quorum = 2\n", name="gw.example/quorum"
        )
        allowed: dict[str, int] = {}
        answered: dict[str, bool] = {}
        with service.running():
            for number, some in enumerate(itertools.product(STATES, repeat=3)):
                states[:] = some
                if number == 32:
                    service.process.kill()
                    states[:] = ["allow"] * 3
                    service.start()
                    eventually(service.is_ready)
                    states[:] = some
                answer = service.evaluate(evaluation(resource=f"quorum-{number}"))
                own = answer["context"]["muniment"]
                assert answer["decision"] is (some.count("allow") >= 2), some
                if not answer["decision"]:
                    wanted = set()
                    if some.count("deny") and (some.count("deny") >= 2 or "allow" not in some):
                        wanted.add("denied_by_policy")
                    elif "deny" in some:
                        wanted.add("policy_mismatch")
                    if {"gone", "nonsense"} & set(some) and some.count("deny") < 2:
                        wanted.add("could_not_evaluate")
                    assert set(own["codes"]) == wanted, some
                answered[f"quorum-{number}"] = answer["decision"]
                if answer["decision"]:
                    allowed[f"quorum-{number}"] = own["index"]
            for resource, index in allowed.items():
                assert service.record(index).request["resource"]["id"] == resource

            def recorded() -> dict[str, bool]:
                return {
                    one.request["resource"]["id"]: one.response["decision"]
                    for one in service.logged()
                    if one.request["resource"]["id"].startswith("quorum-")
                }

            eventually(lambda: recorded() == answered)
