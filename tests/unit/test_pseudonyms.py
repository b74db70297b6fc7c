"""Keyed pseudonyms of subjects, agents and resources: one id, one pseudonym, wherever it stands."""

import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from bench import gateway_of
from logsim import GATEWAY_SIGNER, NOW, POLICY, LogSim, lacking_addenda, logged_records
from muniment import Decision, Pseudonyms, run_edges, sign_decision
from muniment.errors import Denied, InputError
from muniment.gateway.gateway import Gateway
from muniment.gateway.governed import governed
from muniment.records.api import RecordError
from signing import ed25519

pytestmark = pytest.mark.usefixtures("fast_retries")

SUBJECT, RESOURCE = "/request/subject/id", "/request/resource/id"
REQUEST: dict[str, Any] = {
    "subject": {"type": "user", "id": "ada@secret.example"},
    "action": {"name": "read"},
    "resource": {"type": "file", "id": "secret.txt"},
}
PAIR = {"request": REQUEST, "response": {"decision": True}}


def keys(path: Path) -> dict[str, Path]:
    return {SUBJECT: path / "subjects.key", RESOURCE: path / "resources.key"}


def test_a_pseudonym_is_that_of_the_key_and_the_name(tmp_path: Path) -> None:
    made = Pseudonyms(keys(tmp_path))
    secret = bytes.fromhex((tmp_path / "subjects.key").read_text())
    for id_, name in (("ada", "ada"), ("Ada Lovelace", "UTF-8''Ada%20Lovelace")):
        data = json.dumps(["muniment/pseudonym/v1", name], separators=(",", ":")).encode()
        expected = f"hmac-sha256:{hmac.digest(secret, data, 'sha256').hex()}"
        assert made.subject(id_) == expected
    assert made.subject(made.subject("ada")) == made.subject("ada")
    assert made.resource("ada") != made.subject("ada")
    assert Pseudonyms(keys(tmp_path)).subject("ada") == made.subject("ada")
    assert Pseudonyms({RESOURCE: tmp_path / "resources.key"}).subject("ada") == "ada"
    assert (tmp_path / "subjects.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(ValueError, match="expected /request/subject/id"):
        Pseudonyms({"/id": tmp_path / "x"})
    (tmp_path / "resources.key").write_text("abc\n")
    with pytest.raises(InputError, match="damaged"):
        Pseudonyms(keys(tmp_path))


async def test_an_id_has_one_pseudonym_in_all_records(tmp_path: Path) -> None:
    sim = LogSim()
    artifact: dict[str, Any] = {
        "scope": {"actions": ["read"], "resources": [{"type": "file", "id": "secret.txt"}]},
        "attribution": {
            "authority": "acme",
            "act": {"sub": "ada@secret.example", "act": {"sub": "boss@secret.example"}},
        },
        "policy": {"id": "main", "revision": "1", "digest": "sha256:" + "ab" * 32},
        "validity": {"not_before": NOW, "not_after": NOW + 60},
    }
    async with (
        sim.serve() as url,
        Gateway(
            url,
            GATEWAY_SIGNER,
            policy=POLICY,
            spool=tmp_path / "spool",
            keep="log",
            pseudonyms=keys(tmp_path),
        ) as gateway,
    ):
        made = Pseudonyms(keys(tmp_path))
        ada, boss = map(made.subject, ("ada@secret.example", "boss@secret.example"))

        def complete(_: Any, members: dict[str, Any]) -> dict[str, Any]:
            assert members["request"]["subject"]["id"] == ada
            return {**members, "artifact": artifact}

        @governed(
            gateway,
            decide=lambda request: {"decision": request["subject"]["id"] == "ada@secret.example"},
            subject=REQUEST["subject"],
            resource=REQUEST["resource"],
            delegator="boss@secret.example",
            complete=complete,
        )
        async def read() -> str:
            return "secret"

        assert await read() == "secret"
        edges = run_edges("run-1", agent="ada@secret.example", delegator="boss@secret.example")
        await gateway.authorize({**PAIR, "execution": "run-1"}, edges=edges)
        await gateway.submit(
            [Decision(v=1, id="d", time=NOW * 1000, producer="gw.example/edge", **PAIR)]
        )
        with pytest.raises(Denied):  # reduced
            await gateway.authorize({**PAIR, "execution": "\x00"})
        await gateway.spool.drained()
    assert not any(b"secret" in one for one in logged_records(sim))
    records = [*map(json.loads, logged_records(sim))]
    decisions = [one for one in records if one["kind"] == "decision"]
    assert len(decisions) == 4
    assert {one["request"]["subject"]["id"] for one in decisions} == {ada}
    assert {one["request"]["resource"]["id"] for one in decisions} == {made.resource("secret.txt")}
    stated = decisions[0]["artifact"]
    assert stated["attribution"]["act"] == {"sub": ada, "act": {"sub": boss}}
    assert stated["scope"]["resources"] == [{"type": "file", "id": made.resource("secret.txt")}]
    agents = {
        one[end]["id"]
        for one in records
        if one["kind"] == "edge"
        for end in ("from", "to")
        if one[end]["type"] == "agent"
    }
    assert agents == {ada, boss}
    assert lacking_addenda(sim) == set()


async def test_pseudonyms_alone_withhold_nothing_else_and_change_nothing_signed(
    tmp_path: Path,
) -> None:
    sim = LogSim()
    typed = Decision(v=1, id="d", time=NOW * 1000, producer="gw.example/edge", **PAIR)
    signed = sign_decision(typed, "pdp.example", ed25519("authority"))
    own = {SUBJECT: tmp_path / "subjects.key"}
    async with gateway_of(sim, pseudonyms=own) as gateway:
        await gateway.submit([{**PAIR, "request": {**REQUEST, "context": {"a": 1}}}])
        with pytest.raises(RecordError, match="withhold first, then sign"):
            await gateway.submit([signed])
    [record] = map(json.loads, logged_records(sim))
    assert record["request"]["context"] == {"a": 1}
    assert record["request"]["resource"] == REQUEST["resource"]
    assert record["request"]["subject"]["id"].startswith("hmac-sha256:")
