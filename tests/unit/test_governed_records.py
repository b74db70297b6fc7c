"""What governed calls leave on record: each refusal, and commitments that can be disclosed."""

import asyncio
import contextlib
import json
import stat
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from bench import Bench, gateway_of
from commands import muniment
from decisions import request
from logsim import POLICY, LogSim, logged_records
from muniment.errors import Denied, MunimentError
from muniment.gateway.salts import SALT_SUFFIX, Salts
from muniment.records.canonical import encode_canonical
from muniment.records.commitments import addendum, commitment


class Stuck:
    """Nothing that can be copied."""

    def __deepcopy__(self, memo: Any) -> "Stuck":
        raise TypeError("stuck")


def answers(decision: bool, **context: Any) -> Callable[[Any], dict[str, Any]]:
    return lambda _: {"decision": decision, "context": context}


NO = ["denied_by_policy"]
UNCERTAIN = ["could_not_evaluate"]
NONE = ["authorization_discontinuity"]


def fail(*_: Any) -> Any:
    raise ConnectionError("no policy engine")


def later(decide: Callable[[Any], Any]) -> Callable[[Any], Any]:
    async def decided(request: Any) -> Any:
        return decide(request)

    return decided


def by_path(path: str) -> dict[str, str]:
    return {"type": "file", "id": path}


REFUSALS: list[tuple[str, dict[str, Any], Any, list[str], list[str]]] = [
    # what, options, argument, codes, what is left out
    ("a long path", {"decide": answers(False)}, "/" * 70_000, NO, ["request.resource.id"]),
    ("a long path, allowed", {}, "/" * 70_000, NONE, ["request.resource.id"]),
    ("no UTF-8", {"decide": answers(False)}, "/\udcff", NO, ["request.resource.id"]),
    ("no UTF-8, allowed", {}, "/\udcff", NONE, ["request.resource.id"]),
    ("a large number", {"decide": answers(False, n=2**60)}, "/", NO, ["response.context.n"]),
    (
        "a large number, allowed",
        {"decide": answers(True, n=2**60)},
        "/",
        NONE,
        ["response.context.n"],
    ),
    ("no number", {"decide": answers(False, n=float("nan"))}, "/", NO, ["response.context.n"]),
    ("many reasons", {"decide": answers(False, n=["r"] * 70_000)}, "/", NO, ["response.context.n"]),
    ("an object", {"decide": answers(False, n=Stuck())}, "/", NO, ["response.context.n"]),
    (
        "an object in an argument",
        {"decide": answers(False), "resource": by_path("x")},
        Stuck(),
        NO,
        [],
    ),
    ("an object in an argument, allowed", {"resource": by_path("x")}, Stuck(), NONE, []),
    ("no engine", {"decide": fail}, "/", UNCERTAIN, []),
    ("no engine, nor a path", {"decide": fail}, "/\udcff", UNCERTAIN, ["request.resource.id"]),
    ("no answer", {"decide": lambda _: None}, "/", UNCERTAIN, []),
    ("an answer of True", {"decide": lambda _: True}, "/", UNCERTAIN, []),
    ("a no that is waited for", {"decide": later(answers(False))}, "/", NO, []),
    ("no decision", {"decide": lambda _: {"decision": "yes"}}, "/", UNCERTAIN, []),
    ("no resource", {"resource": fail}, "/", NONE, ["request.resource"]),
    ("no subject's id", {"subject": {"type": "agent"}}, "/", NONE, ["request.subject.id"]),
    ("no completion", {"complete": fail}, "/", NONE, []),
    ("no completion of a no", {"complete": fail, "decide": answers(False)}, "/", NO, []),
    ("a large artifact", {"complete": lambda _, m: {**m, "artifact": 1}}, "/", NONE, ["artifact"]),
    ("no parent's id", {"parent": "a b"}, "/", NONE, []),
    ("no parent", {"require_parent": True}, "/", ["lineage_fragmentation"], []),
]


@pytest.mark.parametrize(
    ("options", "argument", "codes", "left_out"),
    [one[1:] for one in REFUSALS],
    ids=[one[0] for one in REFUSALS],
)
async def test_each_refusal_is_on_record(
    bench: Bench, options: dict[str, Any], argument: Any, codes: list[str], left_out: list[str]
) -> None:
    async with bench.opened():
        tool = bench.tool(bench.ran.append, **{"resource": by_path, **options})
        denial = await bench.denied(tool, argument)
        assert await bench.outcomes() == []
    [record] = bench.records("decision")
    assert not bench.ran
    assert list(denial.codes) == record["denial"]["codes"] == codes
    assert denial.index == 0
    assert record["response"]["decision"] is False
    assert record["request"]["action"] == {"name": "call"}
    assert list(record["denial"].get("reduced", {})) == left_out
    assert record["execution"].startswith("run-")


async def test_an_engine_that_never_answers_is_on_record(bench: Bench) -> None:
    async def hang(_: Any) -> Any:
        await asyncio.sleep(3600)

    async with bench.opened(deadline=0.1):
        tool = bench.tool(bench.ran.append, decide=hang)
        assert (await bench.denied(tool, 1)).codes == ("could_not_evaluate",)
    [record] = bench.records("decision")
    assert record["denial"]["codes"] == UNCERTAIN
    assert not bench.ran


async def test_a_refusal_is_logged_later_when_the_log_does_not_take_it(bench: Bench) -> None:
    async with bench.opened():
        bench.sim.script.append((422, "bad-record", {"entry": 0}))
        denial = await bench.denied(bench.tool(bench.ran.append, decide=answers(False)), 1)
        assert denial.codes == ("denied_by_policy",)
        assert "in the spool" in denial.reasons[-1]
        await bench.outcomes()
    [record] = bench.records("decision")
    assert record["denial"]["codes"] == NO


async def test_who_cancels_a_call_does_not_take_its_denial_back(bench: Bench) -> None:
    async with bench.opened():
        decision = {
            "id": "d-1",
            "request": request(action="read", resource=("file", "/")),
            "response": {"decision": False},
        }

        async def cancelled() -> None:
            calling = asyncio.create_task(bench.inner.authorize(decision))
            await asyncio.sleep(0)
            calling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await calling

        await bench.on_loop(cancelled())
        await bench.outcomes()
    assert [one["id"] for one in bench.records("decision")] == ["d-1"]


async def test_authorize_records_what_cannot_be_recorded_as_it_is() -> None:
    asked = {**request(action="read", resource=("file", "/")), "context": {"account": 2**53 + 1}}
    no = {"response": {"decision": False}, "request": asked}
    policy = {"codes": ["policy_mismatch"]}
    cases: list[tuple[Any, list[str]]] = [
        (no, NO),
        ({**no, "denial": policy}, ["policy_mismatch"]),
        (json.dumps(no), NO),
        (json.dumps({"request": asked, "expected": False}), NO),
        ({**no, "response": {"decision": True}}, NONE),
        ({**no, "request": {**asked, "context": {}}, "execution": "a b"}, NO),
    ]
    sim = LogSim()
    async with gateway_of(sim, policy=POLICY) as gateway:
        for decision, codes in cases:
            with pytest.raises(Denied) as caught:
                await gateway.authorize(decision)
            record = json.loads(logged_records(sim)[-1])
            assert record["denial"]["codes"] == list(caught.value.codes) == codes
            assert record["response"] == {"decision": False}
            [note] = record["denial"]["reduced"].values()
            assert "digest" not in note  # without a spool there is no salt to keep
    assert len(logged_records(sim)) == len(cases)


# Commitments


async def test_the_digests_of_an_outcome_are_salted_and_can_be_disclosed(bench: Bench) -> None:
    async with bench.opened():
        for _ in range(2):
            await bench.call(bench.tool(lambda pin, **_: pin == "4711"), "4711", way="in")
        first, second = await bench.outcomes()
        # What the bench wraps takes anything.
        value = {"pin": "4711"} if bench.kind == "threads" else {"args": ["4711"]}
        value["way"] = "in"
        bare = {f"sha256:{sha256(encode_canonical(one)).hexdigest()}" for one in (value, True)}
        assert not bare & {first["inputs"]["arguments"], first["outputs"]["result"]}
        assert first["inputs"] != second["inputs"]
        assert first["outputs"] != second["outputs"]
        # While the gateway is open: who has the folder may read the salt.
        salts = Salts.read(bench.path)
        shown = salts.disclose(first["execution"], "inputs.arguments", value)
        assert f"sha256:{sha256(shown).hexdigest()}" == first["inputs"]["arguments"]
        members = json.loads(shown)
        assert members["value"] == value
        assert len(bytes.fromhex(members["nonce"])) == 16
        nonce = bench.inner.salts.nonce(first["execution"], "outputs.result")
        assert commitment(nonce, True) == first["outputs"]["result"]
        assert commitment(nonce, False) != first["outputs"]["result"]


async def test_the_command_discloses(bench: Bench) -> None:
    async with bench.opened():
        await bench.call(bench.tool(lambda one: {"é": one}), 1.5)
        [outcome] = await bench.outcomes()
    value = bench.path.with_name("value.json")
    value.write_text(' {"\\u00e9": 1.50}\n')
    where = ["disclose", outcome["execution"], "--spool", str(bench.path)]
    done = muniment(*where, "--member", "outputs.result", "--value", str(value))
    assert f"sha256:{sha256(done.stdout_bytes).hexdigest()}" == outcome["outputs"]["result"]
    nonce = muniment(*where, "--member", "outputs.result").stdout.strip()
    assert addendum(nonce, {"é": 1.5}) == done.stdout_bytes
    value.write_text("{")
    muniment(*where, "--member", "x", "--value", str(value), code=7)


async def test_a_reduced_denial_can_be_disclosed(bench: Bench) -> None:
    async with bench.opened():
        await bench.denied(bench.tool(bench.ran.append, decide=answers(False, pin=2**60)), 1)
    [record] = bench.records("decision")
    note = record["denial"]["reduced"]["response.context.pin"]
    shown = Salts.read(bench.path).disclose(record["id"], "response.context.pin", str(2**60))
    assert f"sha256:{sha256(shown).hexdigest()}" == note["digest"]


class Order(int):
    """Says more than a number, perhaps, and is one."""


async def test_a_result_without_a_canonical_form_is_noted_as_not_bound(bench: Bench) -> None:
    async with bench.opened():
        for result in (Stuck(), {1: object()}, 1j):
            await bench.call(bench.tool(lambda result=result: result))
        for result in (None, 0.5, ("a", []), Order(1), 2**60, b"bytes", {1, 2}, "\ud800"):
            await bench.call(bench.tool(lambda result=result: result))
        outcomes = await bench.outcomes()
    for outcome in outcomes[:3]:
        assert outcome["status"] == "completed"
        assert outcome["unbound"] == ["outputs.result"]
        assert "outputs" not in outcome
    for outcome in outcomes[3:]:
        assert "unbound" not in outcome
        assert outcome["outputs"]["result"].startswith("sha256:")


async def test_the_salt_is_private_and_kept(bench: Bench) -> None:
    path = bench.path.with_name(bench.path.name + SALT_SUFFIX)
    nonces = []
    for _ in range(2):
        async with bench.opened():
            nonces.append(bench.inner.salts.nonce("run-1", "inputs.arguments"))
    assert nonces[0] == nonces[1] != Salts.passing().nonce("run-1", "inputs.arguments")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for damage in (b"", b"00\n", b"z" * 64 + b"\n"):
        path.write_bytes(damage)
        with pytest.raises(MunimentError, match=r"salt"):
            async with bench.opened():
                pass
    path.write_bytes(b"00" * 32 + b"\n")
    path.chmod(0o644)
    with pytest.raises(MunimentError, match="0600"):
        Salts.read(bench.path)


def test_nonces_differ_by_record_member_and_salt() -> None:
    salts, other = Salts(bytes(32)), Salts(bytes(31) + b"\1")
    nonces = {
        salts.nonce("a", "b"),
        salts.nonce("a", "c"),
        salts.nonce("b", "b"),
        salts.nonce("ab", ""),
        other.nonce("a", "b"),
    }
    assert len(nonces) == 5
    assert salts.nonce("a", "b") in nonces
