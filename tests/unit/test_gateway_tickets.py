"""An authority signs the record of a decision that rests on its answer, and nothing else."""

import time
from pathlib import Path
from typing import Any

import pytest

from gateway_service import FIXTURE, evaluation
from muniment.http.client import HttpSession
from muniment.records.preparation import Preparer
from muniment.tlog.encoding import FormatError
from muniment_gateway.cli.setup import engine_table, init_authority
from muniment_gateway.config import load_authority
from muniment_gateway.deciding.counts import Counts
from muniment_gateway.deciding.panel import Panel
from muniment_gateway.deciding.tickets import NotSignedError, Tickets
from muniment_service.metrics import Metrics

pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")

NAME = "pdp.example/one"


def entry(members: dict[str, Any]) -> bytes:
    preparer = Preparer(
        "gw.example/x", now_ms=lambda: time.time_ns() // 1_000_000, new_id=lambda: "x"
    )
    [data] = preparer.prepare([members])
    return data


async def test_an_authority_signs_nothing_but_what_it_has_answered(tmp_path: Path) -> None:
    policies = tmp_path / "authz.cedar"
    policies.write_text(FIXTURE)
    folder = tmp_path / "authority"
    vkey = init_authority(
        folder,
        name=NAME,
        listen="127.0.0.1:0",
        engine=engine_table("cedar", str(policies), folder),
        passphrase_file=None,
        passphrase=None,
    )
    config = load_authority(folder / "authority.toml")
    assert config.vkey == vkey
    async with HttpSession(headers={}) as http:
        panel = Panel((config.authority,), http, Counts(Metrics("test")))
        tickets = Tickets(config, panel)
        with pytest.raises(FormatError, match="exceeds"):  # nobody is asked
            await tickets.answer(evaluation(context={"n": 2**53}), {})
        answer = await tickets.answer(evaluation(), {})
        assert answer.allows
        assert answer.policy is not None
        now = int(time.time())
        policy = {name: getattr(answer.policy, name) for name in ("id", "revision", "digest")}
        told = {"authority": NAME, "decision": True, "policy": policy}
        good: dict[str, Any] = {
            "kind": "decision",
            "request": evaluation(),
            "response": {"decision": True, "context": {"muniment": {"answers": [told]}}},
            "artifact": {
                "scope": {
                    "actions": ["read"],
                    "resources": [{"type": "record", "id": "record-1"}],
                },
                "policy": policy,
                "validity": {"not_before": now, "not_after": now + 300},
                "attribution": {"authority": "gw.example/x"},
            },
        }

        async def sign(**changed: Any) -> None:
            await tickets.sign(tickets.issue(evaluation(), answer), entry({**good, **changed}))

        await sign()
        artifact = good["artifact"]
        wide = {**artifact, "scope": {"actions": ["read"], "resources": [{"type": "record"}]}}
        long = {**artifact, "validity": {"not_before": now, "not_after": now + 90_000}}
        later = {**artifact, "validity": {"not_before": now + 600, "not_after": now + 700}}
        other = {"answers": [{**told, "policy": {**policy, "revision": "other"}}]}
        twice = {"answers": [told, {**told, "decision": False}]}
        for changed in (
            {"request": evaluation("bob")},
            {"response": {"decision": False}, "artifact": None},
            {"response": {"decision": True}},
            {"response": {"decision": True, "context": {"muniment": {"answers": []}}}},
            {"response": {"decision": True, "context": {"muniment": other}}},
            {"response": {"decision": True, "context": {"muniment": twice}}},
            {"artifact": wide},
            {"artifact": long},
            {"artifact": later},
            {"time": (now - 3600) * 1000},
        ):
            members = {k: v for k, v in {**good, **changed}.items() if v is not None}
            with pytest.raises(NotSignedError):
                await tickets.sign(tickets.issue(evaluation(), answer), entry(members))
        ticket = tickets.issue(evaluation(), answer)
        await tickets.sign(ticket, entry(good))
        for used in (ticket, "none"):
            with pytest.raises(NotSignedError, match="no answer of that ticket"):
                await tickets.sign(used, entry(good))
        denial = await tickets.answer(evaluation("bob", "write"), {})
        with pytest.raises(NotSignedError):
            await tickets.sign(tickets.issue(evaluation("bob", "write"), denial), entry(good))
