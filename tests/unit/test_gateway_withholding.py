"""Gateways that withhold: what reaches the log, what travels beside it, and what stays."""

import asyncio
import json
import sqlite3
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from logsim import (
    GATEWAY_SIGNER,
    NOW,
    POLICY,
    LogSim,
    lacking_addenda,
    lines,
    logged_records,
)
from muniment import (
    Decision,
    Denied,
    FormatError,
    Refused,
    commitment_of,
    disclose,
    make_addendum,
    sign_decision,
    withhold,
)
from muniment.gateway import blocking
from muniment.gateway.gateway import Gateway
from muniment.gateway.governed import Call, governed
from muniment.gateway.withholding import Keep
from muniment.permit import Permit, parse_permit
from muniment.records.addenda import ARGUMENTS, named_digests
from muniment.records.api import RecordError, parse_record
from muniment.records.batchbody import MAX_ADDENDA_BYTES
from muniment.records.commitments import addendum, read_addendum
from signing import ed25519

pytestmark = pytest.mark.usefixtures("fast_retries")

AGENT = {"type": "agent", "id": "planner", "properties": {"name": "Ada Secret"}}
REQUEST: dict[str, Any] = {
    "subject": AGENT,
    "action": {"name": "send"},
    "resource": {"type": "tool", "id": "mail"},
    "context": {"to": "ada@secret.example"},
}
PAIR = {"request": REQUEST, "response": {"decision": True, "context": {"why": "a secret"}}}
POINTERS = {"/request/context", "/request/subject/properties", "/response/context"}


def secretive(_: Any) -> dict[str, Any]:
    return {"decision": True, "context": {"why": "a secret"}}


def records(sim: LogSim, kind: str = "decision") -> list[dict[str, Any]]:
    return [one for one in map(json.loads, logged_records(sim)) if one["kind"] == kind]


def tells_secrets(sim: LogSim) -> bool:
    return any(b"secret" in one.lower() for one in logged_records(sim))


def opened(url: str, path: Path, **options: Any) -> Gateway:
    return Gateway(url, GATEWAY_SIGNER, policy=POLICY, spool=path / "spool", **options)


def files_of(path: Path) -> bytes:
    return b"".join(
        one.read_bytes() for one in (path / "spool", path / "spool-wal") if one.exists()
    )


# --- submit ------------------------------------------------------------------------------


async def test_nothing_is_withheld_unless_asked() -> None:
    sim = LogSim()
    async with sim.serve() as url, Gateway(url, GATEWAY_SIGNER) as gateway:
        assert gateway.withholding is None
        [receipt] = await gateway.submit([PAIR])
    assert json.loads(receipt.entry)["request"] == REQUEST
    assert sim.addenda == {}


@pytest.mark.parametrize("form", ["mapping", "text", "bytes", "typed"])
async def test_addenda_travel_with_the_records(form: str) -> None:
    sim = LogSim()
    given: dict[str, Any] = {
        "mapping": PAIR,
        "text": json.dumps(PAIR),
        "bytes": json.dumps(PAIR).encode(),
        "typed": Decision(v=1, id="d", time=NOW * 1000, producer=GATEWAY_SIGNER.vkey.name, **PAIR),
    }
    async with sim.serve() as url, Gateway(url, GATEWAY_SIGNER, keep="log") as gateway:
        receipts = await gateway.submit([*lines(3), given[form], *lines(2, 3)])
    assert not tells_secrets(sim)
    record = parse_record(receipts[3].entry)
    assert isinstance(record, Decision)
    assert set(record.addenda or {}) == POINTERS
    assert record.kept == "log"
    assert lacking_addenda(sim) == set()
    shown = disclose(record, sim.addenda.values())
    assert (shown.decision.request, shown.decision.response) == (REQUEST, PAIR["response"])
    assert [json.loads(one.entry).get("addenda") for one in receipts[:3]] == [None] * 3


async def test_own_patterns_and_addenda_of_the_callers() -> None:
    sim = LogSim()
    typed = Decision(v=1, id="d", time=NOW * 1000, producer=GATEWAY_SIGNER.vkey.name, **PAIR)
    logged, addenda = withhold(typed, ["/request/context"])
    async with (
        sim.serve() as url,
        Gateway(url, GATEWAY_SIGNER, withhold=["/response/context"]) as gateway,
        Gateway(url, GATEWAY_SIGNER, stream="plain") as plain,
    ):
        [receipt] = await gateway.submit([logged], addenda=addenda.values())
        record = parse_record(receipt.entry)
        assert isinstance(record, Decision)
        assert set(record.addenda or {}) == {"/request/context", "/response/context"}
        assert record.kept is None  # nobody said that the log gets the caller's own
        assert lacking_addenda(sim) == set()
        # A gateway that withholds nothing itself takes them along as well.
        await plain.submit([logged], addenda=addenda.values())
        with pytest.raises(FormatError, match="addendum 0: no record names"):
            await plain.submit([logged], addenda=[addendum("0" * 32, 1)])
        with pytest.raises(FormatError, match="addendum 0: expected"):
            await plain.submit([logged], addenda=[b"{}"])


@pytest.mark.parametrize("value", [{"rows": [1, "two"]}, "text", None, b"%PDF-\x00\xff"])
async def test_a_caller_makes_an_addendum_for_an_outcome(value: Any, tmp_path: Path) -> None:
    sim = LogSim()
    made = make_addendum(value)
    assert make_addendum(value) != made  # each has a nonce of its own
    outcome = {
        "kind": "outcome",
        "execution": "run-1",
        "status": "completed",
        "outputs": {"report": commitment_of(made)},
        "kept": "log",
    }
    async with sim.serve() as url, opened(url, tmp_path) as gateway:
        await gateway.submit([outcome], addenda=[made])
        await gateway.spool.put([{**outcome, "execution": "run-2"}], [made])
        await gateway.spool.drained()
    assert len(records(sim, "outcome")) == 2
    assert lacking_addenda(sim) == set()
    assert read_addendum(made) == value


def test_what_can_be_no_addendum_is_refused() -> None:
    for value in ({1: 2}, float("nan"), object()):
        with pytest.raises(FormatError):
            make_addendum(value)
    with pytest.raises(FormatError, match="at most"):
        make_addendum(bytes(16 << 20))


async def test_what_is_too_long_for_a_record_goes_beside_it(tmp_path: Path) -> None:
    sim = LogSim()
    long = {**PAIR, "request": {**REQUEST, "context": {"text": "x" * 5_000_000}}}
    async with sim.serve() as url, opened(url, tmp_path, keep="log") as gateway:
        # Seven of 5 MB: no body has them all, and each record goes with its own.
        receipts = await gateway.submit([long] * 7)
        assert lacking_addenda(sim) == set()
        assert len({one.batch.manifest for one in receipts}) == 2
        await gateway.spool.put([long] * 7)
        await gateway.spool.drained()
        assert lacking_addenda(sim) == set()
        assert len(records(sim)) == 14
        with pytest.raises(RecordError, match="record 1: /request/context: an addendum of 1"):
            await gateway.submit(
                [PAIR, {**PAIR, "request": {**REQUEST, "context": {"text": "x" * 17_000_000}}}]
            )
    half = {"text": "x" * (MAX_ADDENDA_BYTES // 2)}
    whole = {
        "request": {**REQUEST, "context": half},
        "response": {"decision": True, "context": half},
    }
    async with sim.serve() as url, Gateway(url, GATEWAY_SIGNER, keep="log") as gateway:
        with pytest.raises(RecordError, match="which no batch can bring"):
            await gateway.submit([whole])


async def test_options_that_are_none() -> None:
    for options, message in (
        ({"keep": "me"}, "keep"),
        ({"keep": "gateway"}, "needs a spool"),
        ({"withhold": ["/request/subject/id"]}, "may not be withheld"),
        ({"withhold": ["request"]}, "expected a JSON pointer"),
    ):
        with pytest.raises(ValueError, match=message):
            Gateway("http://127.0.0.1:1", GATEWAY_SIGNER, **options)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="got one text"):
        Gateway("http://127.0.0.1:1", GATEWAY_SIGNER, withhold="/request/context")


async def test_a_signed_decision_withholds_all_that_is_private_or_is_refused() -> None:
    sim = LogSim()
    typed = Decision(v=1, id="d", time=NOW * 1000, producer=GATEWAY_SIGNER.vkey.name, **PAIR)
    logged, addenda = withhold(typed)
    key = ed25519("authority")
    async with sim.serve() as url, Gateway(url, GATEWAY_SIGNER, keep="log") as gateway:
        with pytest.raises(RecordError, match="withhold first, then sign"):
            await gateway.submit([sign_decision(typed, "pdp.example", key)])
        signed = sign_decision(logged, "pdp.example", key)
        [receipt] = await gateway.submit([signed], addenda=addenda.values())
    assert parse_record(receipt.entry) == signed


async def test_a_log_that_refuses_an_addendum_refuses_its_record_alone() -> None:
    sim = LogSim()
    async with sim.serve() as url, Gateway(url, GATEWAY_SIGNER, keep="log") as gateway:
        first = asyncio.create_task(gateway.submit(lines(1)))  # the others gather behind it
        sim.script.extend([None, (422, "bad-addendum", {"addendum": 4})])
        await asyncio.sleep(0)
        good = asyncio.create_task(gateway.submit([*lines(1), PAIR]))
        bad = asyncio.create_task(gateway.submit([*lines(1), PAIR]))
        await first
        await good
        with pytest.raises(Refused, match="bad-addendum"):
            await bad
    assert lacking_addenda(sim) == set()


async def test_an_addendum_that_two_records_name_is_sent_once() -> None:
    sim = LogSim()
    typed = Decision(v=1, id="d", time=NOW * 1000, producer=GATEWAY_SIGNER.vkey.name, **PAIR)
    logged, addenda = withhold(typed)
    async with sim.serve() as url, Gateway(url, GATEWAY_SIGNER) as gateway:
        first = asyncio.create_task(gateway.submit(lines(1)))  # the others gather behind it
        await asyncio.sleep(0)
        both = [gateway.submit([logged], addenda=addenda.values()) for _ in range(2)]
        [[one], [other]] = await asyncio.gather(*both)
        await first
    assert one.batch == other.batch
    assert lacking_addenda(sim) == set()


@pytest.mark.parametrize("keep", ["log", "gateway"])
@pytest.mark.parametrize("form", ["mapping", "typed"])
async def test_content_that_is_no_json_is_withheld_too(
    tmp_path: Path, form: str, keep: Keep
) -> None:
    sim = LogSim()
    content = b"secret \xff\0"
    pair = {**PAIR, "request": {**REQUEST, "context": {"report": content, "to": "secret"}}}
    typed = Decision(v=1, id="d", time=NOW * 1000, producer=GATEWAY_SIGNER.vkey.name, **pair)
    path = tmp_path / "it.spool"
    async with (
        sim.serve() as url,
        Gateway(url, GATEWAY_SIGNER, policy=POLICY, keep=keep, spool=path) as gateway,
    ):
        [receipt] = await gateway.submit([pair if form == "mapping" else typed])
        permit = await gateway.authorize(pair)
        kept = {**sim.addenda, **{one.digest: b"" for one in await gateway.spool.kept()}}
        record = parse_record(receipt.entry)
        assert isinstance(record, Decision)
        digest = (record.addenda or {})["/request/context/report"]
        assert digest in kept
        held = sim.addenda.get(digest) or await gateway.spool.addendum(digest)
    assert not tells_secrets(sim)
    assert held is not None
    assert disclose(record, [held]).disclosed == {"/request/context/report": content}
    shown = parse_permit(permit.disclose(["/request/context/report"]).encode())
    assert shown.disclosed == {"/request/context/report": content}
    assert "/request/context/to" in shown.withheld


# --- authorize, and denials on record ------------------------------------------------------


async def test_a_permit_can_disclose_what_was_withheld() -> None:
    sim = LogSim()
    async with sim.serve() as url, Gateway(url, GATEWAY_SIGNER, policy=POLICY, keep="log") as gw:
        permit = await gw.authorize(PAIR)
        with pytest.raises(Denied) as refused:
            await gw.authorize(
                {**PAIR, "response": {"decision": False, "context": {"x": "secret"}}}
            )
    assert not tells_secrets(sim)
    assert permit.disclosed == {}
    assert set(permit.withheld) == POINTERS
    assert permit.disclose(["/request/context"]).disclosed == {
        "/request/context": REQUEST["context"]
    }
    assert refused.value.index == 2
    assert lacking_addenda(sim) == set()


async def test_a_denial_that_must_be_reduced_tells_no_secrets_either(tmp_path: Path) -> None:
    sim = LogSim()
    surrogate = {
        **REQUEST,
        "resource": {"type": "tool", "id": "\udcff"},
        "context": {"to": "a secret", "odd": "\udcff"},
    }
    async with sim.serve() as url, opened(url, tmp_path, keep="log") as gateway:
        with pytest.raises(Denied):
            await gateway.authorize({**PAIR, "request": surrogate})
        with pytest.raises(Denied):
            await gateway.authorize({"request": "secret", "response": {"decision": True}})
    assert not tells_secrets(sim)
    [reduced] = records(sim)
    assert set(reduced["denial"]["reduced"]) >= {
        "request.context",
        "request.subject.properties",
        "request.resource.id",
    }
    assert lacking_addenda(sim) == set()
    digest = reduced["denial"]["reduced"]["request.context"]["digest"].removeprefix("sha256:")
    assert read_addendum(sim.addenda[digest], "it") == {"to": "a secret", "odd": "\\udcff"}


async def test_a_decision_whose_edges_are_none_is_denied_with_its_addenda() -> None:
    sim = LogSim()
    async with sim.serve() as url, Gateway(url, GATEWAY_SIGNER, policy=POLICY, keep="log") as gw:
        with pytest.raises(Denied):
            await gw.authorize(PAIR, edges=[{"kind": "edge"}])
    [denied] = records(sim)
    assert set(denied["denial"]["reduced"]) == {one[1:].replace("/", ".") for one in POINTERS}
    assert not tells_secrets(sim)
    assert len(sim.addenda) == 3
    assert lacking_addenda(sim) == set()


async def test_a_denial_waits_in_the_spool_with_its_addenda(tmp_path: Path) -> None:
    sim = LogSim()
    denied = {**PAIR, "response": {"decision": False}}
    async with sim.serve() as url, opened(url, tmp_path, keep="log") as gateway:
        sim.script.append((422, "bad-record"))
        with pytest.raises(Denied):
            await gateway.authorize(denied)
        await gateway.spool.drained()
    assert len(records(sim)) == 1
    assert lacking_addenda(sim) == set()


# --- governed calls ------------------------------------------------------------------------


async def test_a_governed_call_withholds_arguments_and_result(tmp_path: Path) -> None:
    sim = LogSim()
    asked: list[Any] = []
    permits: list[tuple[Permit, Call]] = []

    def decide(request: Any) -> dict[str, Any]:
        asked.append(request)
        return secretive(request)

    def check(permit: Permit, call: Call) -> None:
        permits.append((permit, call))

    async with sim.serve() as url, opened(url, tmp_path, keep="log") as gateway:

        @governed(gateway, decide=decide, subject=AGENT, check=check)
        async def send(to: str, *, text: str) -> dict[str, str]:
            return {"sent": "secret"}

        await send("ada", text="a secret")
        await gateway.spool.drained()
    assert not tells_secrets(sim)
    value = {"to": "ada", "text": "a secret"}
    assert asked[0]["context"] == {"arguments": value}  # the policy sees what is decided on
    [decision] = records(sim)
    [outcome] = records(sim, "outcome")
    assert set(decision["addenda"]) == (POINTERS - {"/request/context"}) | {ARGUMENTS}
    assert decision["request"]["context"] == {}
    # One addendum is that of the arguments, for decision and outcome alike.
    assert outcome["inputs"]["arguments"] == f"sha256:{decision['addenda'][ARGUMENTS]}"
    assert lacking_addenda(sim) == set()
    assert outcome["kept"] == "log"
    result = outcome["outputs"]["result"].removeprefix("sha256:")
    assert read_addendum(sim.addenda[result], "it") == {"sent": "secret"}
    [(permit, call)] = permits
    assert call.arguments == value
    assert permit.disclose([ARGUMENTS]).disclosed == {ARGUMENTS: value}
    assert b"secret" not in files_of(tmp_path)  # what was sent is wiped


async def test_arguments_stay_out_unless_they_are_withheld_as_a_whole(tmp_path: Path) -> None:
    sim = LogSim()
    patterns = ["/request/context/arguments/*", "/request/*/properties"]
    async with sim.serve() as url, opened(url, tmp_path, withhold=patterns) as gateway:

        @governed(gateway, decide=lambda _: {"decision": True}, subject=AGENT)
        async def send(text: str) -> str:
            return "secret"

        await send("a secret")
        await gateway.spool.drained()
    [decision] = records(sim)
    assert "context" not in decision["request"]
    assert set(decision["addenda"]) == {"/request/subject/properties"}
    assert not tells_secrets(sim)
    assert len(sim.addenda) == 1  # arguments and results are committed to, as ever


async def test_complete_gets_what_is_logged_and_may_sign_it(tmp_path: Path) -> None:
    sim = LogSim()

    def complete(call: Call, members: dict[str, Any]) -> Decision:
        assert call.arguments == {"text": "secret"}
        assert "secret" not in json.dumps(members)
        typed = parse_record(json.dumps(members, sort_keys=True, separators=(",", ":")).encode())
        assert isinstance(typed, Decision)
        return sign_decision(typed, "pdp.example", ed25519("authority"))

    def meddle(call: Call, members: dict[str, Any]) -> dict[str, Any]:
        return {**members, "request": {**call.request, "context": {"arguments": "others"}}}

    async with sim.serve() as url, opened(url, tmp_path, keep="log") as gateway:
        rules: dict[str, Any] = {"decide": secretive, "subject": AGENT}

        @governed(gateway, complete=complete, **rules)
        async def send(text: str) -> str:
            return text

        @governed(gateway, complete=meddle, **rules)
        async def other(text: str) -> str:
            raise AssertionError

        assert await send("secret") == "secret"
        with pytest.raises(Denied):
            await other("secret")
        await gateway.spool.drained()
    assert not tells_secrets(sim)
    assert lacking_addenda(sim) == set()


async def test_calls_that_do_not_run_tell_no_secrets_either(tmp_path: Path) -> None:
    sim = LogSim()

    def broken(_: Any) -> Any:
        raise RuntimeError("no engine")

    async with sim.serve() as url, opened(url, tmp_path, keep="log") as gateway:
        for decide, check in (
            (broken, None),
            (lambda _: {"decision": False}, None),
            (secretive, lambda *_: 1 / 0),
        ):

            @governed(gateway, decide=decide, subject=AGENT, check=check)  # type: ignore[arg-type]
            async def send(text: Any) -> str:
                raise AssertionError

            with pytest.raises(Denied):
                await send("a secret")
            with pytest.raises(Denied):
                await send(lambda: "a secret")
        await gateway.spool.drained()
    assert len(records(sim)) == 6
    assert len(records(sim, "outcome")) == 1
    assert not tells_secrets(sim)
    assert lacking_addenda(sim) == set()


async def test_a_result_without_a_form_or_too_long(tmp_path: Path) -> None:
    sim = LogSim()
    async with sim.serve() as url, opened(url, tmp_path, keep="log") as gateway:
        for result in (object(), "x" * 17_000_000):

            @governed(gateway, decide=secretive, subject=AGENT)
            async def send(result: Any = result) -> Any:
                return result

            await send()
        await gateway.spool.drained()
        other, long = records(sim, "outcome")
        assert other["unbound"] == ["outputs.result"]
        digest = long["outputs"]["result"]
        assert gateway.salts.commit(long["execution"], "outputs.result", "x" * 17_000_000) == digest
    assert lacking_addenda(sim) == {digest.removeprefix("sha256:")}


def test_threads_withhold_as_well(tmp_path: Path) -> None:
    sim = LogSim()

    def work(url: str) -> None:
        with blocking.Gateway(
            url, GATEWAY_SIGNER, policy=POLICY, spool=tmp_path / "spool", keep="log"
        ) as gateway:

            @governed(gateway, decide=secretive, subject=AGENT)
            def send(text: str) -> str:
                return "secret"

            assert send("a secret") == "secret"
            gateway.submit([PAIR])
            permit = gateway.authorize(PAIR)
            assert permit.disclose([*POINTERS]).withheld == ()
            gateway.put([PAIR])

    async def main() -> None:
        async with sim.serve() as url:
            await asyncio.to_thread(work, url)

    asyncio.run(main())
    assert len(records(sim)) == 4
    assert not tells_secrets(sim)
    assert lacking_addenda(sim) == set()


# --- the spool -----------------------------------------------------------------------------


async def test_a_gateway_that_keeps_sends_none_reads_and_erases(tmp_path: Path) -> None:
    sim = LogSim()
    async with sim.serve() as url, opened(url, tmp_path, keep="gateway") as gateway:

        @governed(gateway, decide=secretive, subject=AGENT)
        async def send(text: str) -> str:
            return "my secret result"

        await send("a secret")
        await gateway.submit([PAIR])
        await gateway.spool.put([PAIR])
        await gateway.spool.drained()
        assert sim.addenda == {}
        assert not tells_secrets(sim)
        kept = await gateway.spool.kept()
        named = {
            (record["id"], pointer, digest)
            for record in map(json.loads, logged_records(sim))
            for pointer, digest in named_digests(
                parse_record(json.dumps(record, sort_keys=True, separators=(",", ":")).encode())
            ).items()
        }
        assert {one.digest for one in kept} == {digest for *_, digest in named}
        assert {(one.record, one.pointer, one.digest) for one in kept} <= named
        assert all("kept" not in one for one in records(sim))
        for one in kept:
            data = await gateway.spool.addendum(one.digest)
            assert data is not None
            assert (sha256(data).hexdigest(), len(data)) == (one.digest, one.size)
        assert await gateway.spool.addendum("0" * 64) is None
        assert b"secret" in files_of(tmp_path)
        everything = [one.digest for one in kept]
        assert await gateway.spool.erase(["0" * 64], by="dpo") == 0
        count = await gateway.spool.erase([*everything, "0" * 64], by="dpo", reason="asked to")
        assert count == len(kept)
        assert b"secret" not in files_of(tmp_path).lower()
        assert await gateway.spool.kept() == []
        await gateway.spool.drained()
    [erasure] = records(sim, "erasure")
    assert erasure["digests"] == sorted(everything)
    assert (erasure["by"], erasure["reason"]) == ("dpo", "asked to")


async def test_addenda_are_kept_before_their_record_leaves(tmp_path: Path) -> None:
    seen: list[int] = []

    def look() -> float:
        """Called when a batch has come to the log, and before it is taken."""
        with sqlite3.connect(tmp_path / "spool") as db:
            seen.extend(db.execute("SELECT count(*) FROM kept").fetchone())
        db.close()
        return 0.0

    sim = LogSim(delay=look)
    async with sim.serve() as url, opened(url, tmp_path, keep="gateway") as gateway:
        await gateway.submit([PAIR])
        await gateway.authorize(PAIR)
    assert seen == [3, 6]


async def test_the_next_process_sends_what_the_last_one_left(tmp_path: Path) -> None:
    sim = LogSim()
    async with sim.serve() as url:
        async with opened(url, tmp_path, keep="log") as gateway:
            sim.script.extend(["drop"] * 1000)  # nothing arrives
            await gateway.spool.put([PAIR, *lines(2), PAIR])
            data = addendum("0" * 32, "a secret")
            call = await gateway.spool.begin(
                {
                    "kind": "outcome",
                    "execution": "run-1",
                    "status": "unknown",
                    "inputs": {"arguments": f"sha256:{sha256(data).hexdigest()}"},
                },
                [data],
            )
            assert call == 1
        sim.script.clear()
        async with opened(url, tmp_path) as gateway:  # which withholds nothing itself
            await gateway.spool.drained()
    assert len(logged_records(sim)) == 5
    assert lacking_addenda(sim) == set()
    assert sim.addenda[sha256(data).hexdigest()] == data
    assert b"secret" not in files_of(tmp_path)


async def test_a_record_that_the_log_never_takes_keeps_its_addenda(tmp_path: Path) -> None:
    sim = LogSim()
    async with sim.serve() as url, opened(url, tmp_path, keep="log") as gateway:
        sim.script.append((422, "bad-addendum", {"addendum": 2}))
        await gateway.spool.put([PAIR, PAIR])
        await gateway.spool.drained()
        assert await gateway.spool.refused() == 1
        assert gateway.spool.pending == 0
    assert len(records(sim)) == 1
    assert lacking_addenda(sim) == set()
    with sqlite3.connect(tmp_path / "spool") as db:
        assert db.execute("SELECT count(*), max(position) FROM addendum").fetchone() == (3, -1)
    db.close()


async def test_addenda_count_for_the_limits_of_the_spool(tmp_path: Path) -> None:
    sim = LogSim()
    long = {**PAIR, "request": {**REQUEST, "context": {"text": "x" * 10_000}}}
    async with sim.serve() as url, opened(url, tmp_path, keep="log") as gateway:
        sim.script.extend(["drop"] * 1000)
        spool = gateway.spool
        before = spool.size
        await spool.put([long])
        assert spool.size - before > 10_000
        sim.script.clear()
        await spool.drained()
        assert spool.size == before == 0
