"""``muniment permit``, ``lineage`` and ``revoke``: what they print, and their exit codes."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

import logsim
import signing
from commands import online
from governed import artifact, story
from logsim import GATEWAY, GATEWAY_SIGNER, POLICY, POLICY_TEXT, LogSim, logged_records
from muniment.gateway.gateway import Gateway
from muniment.index.replica import Watched, follow_once
from muniment.local.keyfiles import write_key_file
from muniment.records.api import encode_record
from muniment.records.artifact import Validity
from muniment.tlog.keys.keyfile import KeyFile

LONG = Validity(not_before=1_000_000_000, not_after=4_000_000_000)


class Place:
    """A simulated log that holds the story, a replica of it, and the permit of its call."""

    def __init__(self, folder: Path, sim: LogSim, url: str) -> None:
        self.folder, self.sim, self.url = folder, sim, url
        self.replica = str(folder / "replica.db")
        self.policy = str(folder / "trust.policy")

    async def follow(self) -> None:
        watched = Watched(self.url, POLICY)
        await follow_once(watched, Path(self.replica), progress=lambda _done, _total: None)

    def context(self, **changes: Any) -> str:
        members = {
            "action": "read",
            "resource": {"type": "document", "id": "7"},
            "now": logsim.NOW,
            "execution": "call",
            "parent": "plan",
            "spiffe_id": "spiffe://example.org/agent/sub",
            "policy": {"id": "main"},
            **changes,
        }
        path = self.folder / "context.json"
        path.write_text(json.dumps(members))
        return str(path)

    def judge(self, *more: str) -> list[str]:
        return [
            *("permit", "verify", str(self.folder / "call.permit"), "--policy", self.policy),
            *("--context", str(self.folder / "context.json"), *more),
        ]


@pytest.fixture
async def place(tmp_path: Path) -> Any:
    sim = LogSim()
    members = {"validity": LONG, "environment": None, "governance": None}
    world, call = story(artifact=artifact(**members))
    (tmp_path / "trust.policy").write_text(POLICY_TEXT)
    key = KeyFile(logsim.private(GATEWAY), GATEWAY_SIGNER.vkey)
    write_key_file(tmp_path / "gateway.pem", key, None)
    async with sim.serve() as url:
        async with Gateway(url, GATEWAY_SIGNER, policy=POLICY) as gateway:
            records = [
                json.loads(encode_record(one)) | {"producer": GATEWAY} for one in world.records
            ]
            await gateway.submit(records[:call])
            permit = await gateway.authorize(records[call], edges=records[call + 1 :])
        (tmp_path / "call.permit").write_bytes(permit.encode())
        place = Place(tmp_path, sim, url)
        place.context()
        await place.follow()
        yield place


async def test_a_permit_is_judged_in_plain_words(place: Place) -> None:
    shown = await online(*place.judge("--replica", place.replica))
    assert "PERMITTED." in shown.stdout
    assert shown.stdout.count("  ok  ") == 10
    place.context(spiffe_id="spiffe://example.org/other", action="write")
    shown = await online(*place.judge("--replica", place.replica), code=4)
    assert "FAIL  runtime_identity_mismatch" in shown.stdout
    assert "DENIED: authorization_discontinuity, runtime_identity_mismatch." in shown.stdout
    as_json = await online(*place.judge("--replica", place.replica, "--json"), code=4)
    assert json.loads(as_json.stdout)["permitted"] is False


async def test_facts_have_to_be_given_or_waived(place: Place) -> None:
    await online(*place.judge(), code=2)
    assert "PERMITTED" in (await online(*place.judge("--without-facts"))).stdout
    await online(*place.judge("--replica", str(place.folder / "none")), code=7)
    old = place.context(now=logsim.NOW + 1000)
    assert old
    shown = await online(*place.judge("--replica", place.replica), code=4)
    assert "governance_mesh_discontinuity" in shown.stdout
    await online(*place.judge("--replica", place.replica, "--max-age", "2000"))


async def test_authorities_and_gateways_are_options(place: Place) -> None:
    vkey = str(GATEWAY_SIGNER.vkey)
    await online(*place.judge("--replica", place.replica, "--gateway", vkey))
    shown = await online(*place.judge("--replica", place.replica, "--authority", vkey), code=4)
    assert "invalid_signature" in shown.stdout
    await online(*place.judge("--replica", place.replica, "--authority", "x+y+z"), code=7)


@pytest.mark.parametrize(
    "context",
    ["{", "[]", "{}", '{"action":"a","resource":{"type":"t"}}', '{"action":1,"resource":2}'],
)
async def test_a_bad_context_is_named(place: Place, context: str) -> None:
    (place.folder / "context.json").write_text(context)
    shown = await online(*place.judge("--without-facts"), code=7)
    assert "context" in shown.stderr


async def test_an_unknown_member_of_a_context_is_refused(place: Place) -> None:
    place.context(wish="more")
    assert "wish" in (await online(*place.judge("--without-facts"), code=7)).stderr


async def test_what_is_no_permit_is_denied(place: Place) -> None:
    (place.folder / "call.permit").write_bytes(b"nothing")
    assert "DENIED" in (await online(*place.judge("--without-facts"), code=4)).stdout


@pytest.mark.parametrize("format_", ["tree", "dot", "mermaid", "json", "prov-json"])
async def test_a_trace_in_each_format(place: Place, format_: str) -> None:
    shown = await online(
        *("lineage", "trace", "call", "--replica", place.replica, "--format", format_)
    )
    assert "plan" in shown.stdout
    if "json" in format_:
        json.loads(shown.stdout)


async def test_a_bundle_verifies_offline_and_a_changed_one_does_not(place: Place) -> None:
    bundle = place.folder / "call.lineage"
    trace = ("lineage", "trace", "call", "--verify", "--policy", place.policy)
    for source in (("--replica", place.replica), ("--log", place.url)):
        shown = await online(*trace, *source, "--bundle", str(bundle))
        assert "continuous" in shown.stdout
        assert "Proven: 7 records" in shown.stderr
    verify = ("lineage", "verify", str(bundle), "--policy", place.policy)
    assert "continuous" in (await online(*verify)).stdout
    assert json.loads((await online(*verify, "--json")).stdout)["verified"] is True
    bundle.write_bytes(bundle.read_bytes().replace(b'"sub"', b'"bus"', 1))
    assert "not verified" in (await online(*verify, code=4)).stderr
    shown = await online(*verify, "--json", code=4)
    assert json.loads(shown.stdout)["verified"] is False


async def test_a_run_that_nobody_knows(place: Place) -> None:
    shown = await online("lineage", "trace", "nothing", "--replica", place.replica, code=4)
    assert "unknown_run" in shown.stdout
    await online("lineage", "trace", "call", code=2)
    await online("lineage", "trace", "call", "--log", place.url, code=2)
    await online("lineage", "trace", "call", "--log", "nonsense", code=2)


async def test_a_revocation_denies_the_permit_and_breaks_the_lineage(place: Place) -> None:
    key = str(place.folder / "gateway.pem")
    revoke = ("revoke", "--log", place.url, "--key", key, "--reason", "over")
    since = ("--since", str(logsim.NOW - 5))
    shown = await online(*revoke, "--execution", "plan", *since, "--policy", place.policy)
    assert "Revoked execution plan" in shown.stdout
    await place.follow()
    shown = await online(*place.judge("--replica", place.replica), code=4)
    assert "DENIED: revoked_authorization." in shown.stdout
    shown = await online("lineage", "trace", "call", "--replica", place.replica, code=4)
    assert "revoked_execution" in shown.stdout


async def test_each_target_of_a_revocation(place: Place) -> None:
    key = str(place.folder / "gateway.pem")
    revoke = ("revoke", "--log", place.url, "--key", key, "--reason", "over")
    reference = "gw.example/edge+01020304"
    for option, value, member in (
        ("--decision", "d-call", "decision"),
        ("--revoked-key", reference, "key"),
    ):
        before = int(time.time())
        shown = json.loads((await online(*revoke, option, value, "--json")).stdout)
        assert shown["revocation"]["target"] == {member: value}
        assert shown["revocation"]["since"] >= before
        assert json.loads(logged_records(place.sim)[-1]) == shown["revocation"]
    at = ("--since", "2026-11-28T00:00:00Z", "--json")
    shown = json.loads((await online(*revoke, "--execution", "plan", *at)).stdout)
    assert shown["revocation"]["since"] == 1_795_824_000
    for wrong, why in ((str(logsim.NOW * 1000), "only be milliseconds"), ("-5", "between 2000")):
        shown_ = await online(*revoke, "--execution", "plan", "--since", wrong, code=2)
        assert why in shown_.stderr
    for wrong, why in (
        (place.policy, "expected a file with one vkey"),
        ("sha256:00", "names no key"),
        ("gw.example/edge", "names no key"),
        (f"{signing.witness('w').vkey}x", "--revoked-key: vkey: key: not base64"),
    ):
        shown_ = await online(*revoke, "--revoked-key", str(wrong), code=7)
        assert why in shown_.stderr
    await online(*revoke, code=2)
    await online(*revoke, "--decision", "a", "--execution", "b", code=2)
    await online(*revoke, "--decision", "not an id", code=7)
    witness = KeyFile(signing.ed25519("w"), signing.witness("w").vkey)
    write_key_file(place.folder / "witness.pem", witness)
    wrong = ("revoke", "--log", place.url, "--key", str(place.folder / "witness.pem"))
    shown = await online(*wrong, "--reason", "over", "--decision", "d", code=7)
    assert "a witness's" in shown.stderr
