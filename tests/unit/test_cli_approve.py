"""``muniment approve``: what a person signs is the call that was shown."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from decisions import request
from muniment.cli import cli
from muniment.http.approvals import FRESH_SECONDS, reading_header, verify_reading
from muniment.records.approval import approver_vkey, call_digest
from muniment.tlog.encoding import VerificationError
from muniment_gateway.core.approvals import Held
from muniment_gateway.deciding.approvals import recorded_request
from stand import Answer, Asked, Stand

NOW = 1_790_000_000
CAROL = Ed25519PrivateKey.from_private_bytes(b"c" * 32)
VKEY = approver_vkey("people.example/carol", CAROL)


def shown(amount: int = 10) -> dict[str, Any]:
    """What an honest gateway shows of a call."""
    asked = {**request("planner"), "context": {"arguments": {"amount": amount}, "agent": "x"}}
    asked["resource"] = {**asked["resource"], "properties": {"currency": "EUR"}, "name": "of ada"}
    asked["action"] = {**asked["action"], "id": "at once"}
    held = Held(
        id="arq-1", key=b"", client="", authority="people", evaluation="e-1", request=asked,
        withheld=("/request/context/arguments",), salt="0a" * 16, call="", made=NOW,
        expires=NOW + 900, asked={},
    )  # fmt: skip
    recorded, digests, addenda = recorded_request(held)
    held = replace(held, call=call_digest(recorded, digests))
    return {
        "request": "arq-1",
        "status": "pending",
        "authority": "people",
        "call": held.call,
        "subject": asked["subject"],
        "action": asked["action"],
        "resource": asked["resource"],
        "context": asked["context"],
        "gateway": "gw.example/edge",
        "evaluation": asked,
        "addenda": {
            pointer: base64.b64encode(one).decode()
            for pointer, one in zip(digests, addenda, strict=True)
        },
        "approver": "carol",
        "use_seconds": 300,
    }


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "carol.key"
    done = CliRunner().invoke(
        cli, ["keygen", "--name", "people.example/carol", "--use", "approver", "--out", str(path)]
    )
    assert done.exit_code == 0, done.output
    return path


def allow(key: Path, value: dict[str, Any], *more: str) -> tuple[Result, list[Asked]]:
    """Allows what a gateway shows; the result, and what it was asked."""

    def answer(asked: Asked) -> Answer:
        if asked.method == "GET":
            return Answer(body=json.dumps(value).encode())
        return Answer(body=b'{"request": "arq-1", "status": "approved", "leaf": 7}')

    with Stand(answer).serve() as stand:
        argv = ["approve", "allow", "arq-1", "--gateway", stand.url(), "--key", str(key), *more]
        return CliRunner().invoke(cli, argv), list(stand.asked)


def test_what_is_shown_is_signed(key: Path) -> None:
    done, asked = allow(key, shown(), "--call", shown()["call"])
    assert done.exit_code == 0, done.output
    assert '"amount": 10' in done.output
    for more in ('"currency": "EUR"', '"name": "of ada"', '"id": "at once"'):
        assert more in done.output
    assert "Allowed, once: arq-1, leaf 7" in done.output
    assert [one.method for one in asked] == ["GET", "POST"]


def other_arguments(value: dict[str, Any]) -> None:
    value["evaluation"]["context"]["arguments"] = {"amount": 10_000}


def other_resource(value: dict[str, Any]) -> None:
    value["evaluation"]["resource"]["id"] = "y"


def other_digest(value: dict[str, Any]) -> None:
    value["call"] = "sha256:" + "0b" * 32


def other_call_for_people(value: dict[str, Any]) -> None:
    """Signed is a whole and consistent call; told are the arguments of another one."""
    signed = shown(amount=10_000)
    value |= {name: signed[name] for name in ("evaluation", "addenda", "call")}


def other_resource_for_people(value: dict[str, Any]) -> None:
    value["resource"] = {**value["resource"], "id": "y"}


def no_arguments(value: dict[str, Any]) -> None:
    """They stand where no record withholds them, so that the call that is signed has none."""
    [addendum] = value["addenda"].values()
    value["addenda"] = {"/response/context/arguments": addendum}
    asked = {**value["evaluation"], "context": {"agent": "x"}}
    value["call"] = call_digest(asked, {})


def no_addenda(value: dict[str, Any]) -> None:
    value["addenda"] = {}


def no_evaluation(value: dict[str, Any]) -> None:
    del value["evaluation"]


def odd_addendum(value: dict[str, Any]) -> None:
    value["addenda"] = {"/request/context/nothing": "e30="}


@pytest.mark.parametrize(
    "lie",
    [
        other_arguments,
        other_resource,
        other_digest,
        other_call_for_people,
        other_resource_for_people,
        no_arguments,
        no_addenda,
        no_evaluation,
        odd_addendum,
    ],
)
def test_a_gateway_that_shows_another_call_gets_no_signature(
    key: Path, lie: Callable[[dict[str, Any]], None]
) -> None:
    value = shown()
    lie(value)
    done, asked = allow(key, value)
    assert done.exit_code == 4, done.output
    assert [one.method for one in asked] == ["GET"]


def test_a_call_that_is_not_the_one_that_was_looked_at_is_not_signed(key: Path) -> None:
    done, asked = allow(key, shown(), "--call", "sha256:" + "0b" * 32)
    assert (done.exit_code, [one.method for one in asked]) == (7, ["GET"])


def test_a_reading_is_good_for_one_url_and_a_minute() -> None:
    url = "http://127.0.0.1:8110/approvals"
    header = reading_header("GET", url, NOW, "people.example/carol", CAROL)
    assert verify_reading(header, "GET", url, NOW + FRESH_SECONDS, [VKEY]) == VKEY
    for method, where, now, vkeys in [
        ("POST", url, NOW, [VKEY]),
        ("GET", f"{url}/arq-1", NOW, [VKEY]),
        ("GET", url.replace("8110", "8111"), NOW, [VKEY]),
        ("GET", url, NOW + FRESH_SECONDS + 1, [VKEY]),
        ("GET", url, NOW - FRESH_SECONDS - 1, [VKEY]),
        ("GET", url, NOW, []),
    ]:
        with pytest.raises(VerificationError):
            verify_reading(header, method, where, now, vkeys)
    with pytest.raises(VerificationError):
        verify_reading("Bearer x", "GET", url, NOW, [VKEY])
