"""Gateways that withhold: what reaches the log, and what travels beside it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bench import gateway_of, spooled
from logsim import GATEWAY_SIGNER, NOW, POLICY, LogSim, lacking_addenda, lines, records_of
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
from muniment.gateway.gateway import Gateway
from muniment.gateway.withholding import Keep
from muniment.permit import parse_permit
from muniment.records.api import RecordError, parse_record
from muniment.records.batchbody import MAX_ADDENDA_BYTES
from muniment.records.commitments import addendum, read_addendum
from secretive import PAIR, POINTERS, REQUEST, is_withheld, tells_secrets
from signing import ed25519

pytestmark = pytest.mark.usefixtures("fast_retries")


def typed(**members: Any) -> Decision:
    """The same decision as an object."""
    name = GATEWAY_SIGNER.vkey.name
    return Decision(v=1, id="d", time=NOW * 1000, producer=name, **(PAIR | members))


async def test_nothing_is_withheld_unless_asked() -> None:
    sim = LogSim()
    async with gateway_of(sim) as gateway:
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
        "typed": typed(),
    }
    async with gateway_of(sim, keep="log") as gateway:
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
    logged, addenda = withhold(typed(), ["/request/context"])
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
    async with spooled(sim, tmp_path) as gateway:
        await gateway.submit([outcome], addenda=[made])
        await gateway.spool.put([{**outcome, "execution": "run-2"}], [made])
        await gateway.spool.drained()
    assert len(records_of(sim, "outcome")) == 2
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
    async with spooled(sim, tmp_path, keep="log") as gateway:
        # Seven of 5 MB: no body has them all, and each record goes with its own.
        receipts = await gateway.submit([long] * 7)
        assert lacking_addenda(sim) == set()
        assert len({one.batch.manifest for one in receipts}) == 2
        await gateway.spool.put([long] * 7)
        await gateway.spool.drained()
        assert lacking_addenda(sim) == set()
        assert len(records_of(sim, "decision")) == 14
        with pytest.raises(RecordError, match="record 1: /request/context: an addendum of 1"):
            await gateway.submit(
                [PAIR, {**PAIR, "request": {**REQUEST, "context": {"text": "x" * 17_000_000}}}]
            )
    half = {"text": "x" * (MAX_ADDENDA_BYTES // 2)}
    whole = {
        "request": {**REQUEST, "context": half},
        "response": {"decision": True, "context": half},
    }
    async with gateway_of(sim, keep="log") as gateway:
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
    logged, addenda = withhold(typed())
    key = ed25519("authority")
    async with gateway_of(sim, keep="log") as gateway:
        with pytest.raises(RecordError, match="withhold first, then sign"):
            await gateway.submit([sign_decision(typed(), "pdp.example", key)])
        signed = sign_decision(logged, "pdp.example", key)
        [receipt] = await gateway.submit([signed], addenda=addenda.values())
    assert parse_record(receipt.entry) == signed


async def test_a_log_that_refuses_an_addendum_refuses_its_record_alone() -> None:
    sim = LogSim()
    async with gateway_of(sim, keep="log") as gateway:
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
    logged, addenda = withhold(typed())
    async with gateway_of(sim) as gateway:
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
    async with spooled(sim, tmp_path, keep=keep) as gateway:
        [receipt] = await gateway.submit([pair if form == "mapping" else typed(**pair)])
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


async def test_a_permit_can_disclose_what_was_withheld() -> None:
    sim = LogSim()
    async with gateway_of(sim, policy=POLICY, keep="log") as gateway:
        permit = await gateway.authorize(PAIR)
        with pytest.raises(Denied) as refused:
            await gateway.authorize(
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
    async with spooled(sim, tmp_path, keep="log") as gateway:
        with pytest.raises(Denied):
            await gateway.authorize({**PAIR, "request": surrogate})
        with pytest.raises(Denied):
            await gateway.authorize({"request": "secret", "response": {"decision": True}})
    assert not tells_secrets(sim)
    [reduced] = records_of(sim, "decision")
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
    async with gateway_of(sim, policy=POLICY, keep="log") as gateway:
        with pytest.raises(Denied):
            await gateway.authorize(PAIR, edges=[{"kind": "edge"}])
    [denied] = records_of(sim, "decision")
    assert set(denied["denial"]["reduced"]) == {one[1:].replace("/", ".") for one in POINTERS}
    assert is_withheld(sim)
    assert len(sim.addenda) == 3


async def test_a_denial_waits_in_the_spool_with_its_addenda(tmp_path: Path) -> None:
    sim = LogSim()
    denied = {**PAIR, "response": {"decision": False}}
    async with spooled(sim, tmp_path, keep="log") as gateway:
        sim.script.append((422, "bad-record"))
        with pytest.raises(Denied):
            await gateway.authorize(denied)
        await gateway.spool.drained()
    assert len(records_of(sim, "decision")) == 1
    assert lacking_addenda(sim) == set()
