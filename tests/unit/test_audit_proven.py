"""What an auditor proves against a log: forks, and what it should not have admitted."""

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import logsim
from auditing import Spoil, audit, grown, kinds, wrong_level_0, wrong_level_1
from logsim import GATEWAY_SIGNER, LOG_SIGNER, ORIGIN, LogSim, decision
from muniment.audit import reader
from muniment.audit.report import Report, Verdict
from muniment.audit.statefile import format_state, parse_state
from muniment.records.manifest import NO_PREVIOUS, Manifest, build_batch, sign_manifest
from muniment.tlog.merkle import leaf_hashes, root_of
from muniment.tlog.note import Ed25519Signer
from muniment.tlog.tiles import ENTRIES, Tile

pytestmark = pytest.mark.usefixtures("impatient")


# What is proven


async def test_two_trees_of_one_size_are_proven_and_remembered() -> None:
    sim = grown(5)
    state = (await audit(sim)).state
    other = grown(5, start=1000)
    outcome = await audit(other, state)
    assert kinds(outcome) == {"same-size"}
    assert outcome.report.verdict is Verdict.MISBEHAVIOUR
    assert len(set(outcome.report.misbehaviour.notes)) == 2
    # The proof survives in the state, and a well-behaved answer does not wash it off.
    assert outcome.state is not None
    again = await audit(sim, parse_state(format_state(outcome.state)))
    assert again.report.misbehaviour == outcome.report.misbehaviour
    assert again.report.verdict is Verdict.MISBEHAVIOUR


@pytest.mark.parametrize(("old", "new"), [(5, 9), (1, 30), (10, 11), (13, 26)])
async def test_a_fork_is_proven_by_the_new_trees_own_tiles(old: int, new: int) -> None:
    state = (await audit(grown(old))).state
    outcome = await audit(grown(new, start=1000), state)
    assert kinds(outcome) == {"fork"}
    assert outcome.report.verdict is Verdict.MISBEHAVIOUR
    assert outcome.report.misbehaviour.implied_root is not None


async def test_a_spoiled_proof_is_a_suspicion_only() -> None:
    sim = grown(20)
    sim.published_size = 41 * 10
    state = (await audit(sim)).state
    sim.published_size = None
    wrong_level_1(sim)
    tile = Tile(0, sim.size // 256, sim.size % 256)
    sim.overrides[tile.path] = b"x" * 32 * tile.width
    outcome = await audit(sim, state)
    assert kinds(outcome) == {"inconsistent"}
    assert outcome.report.verdict is Verdict.UNVERIFIED


async def test_an_empty_tree_with_another_root_is_proven() -> None:
    sim = LogSim()
    sim.frozen = sim.checkpoint(root=b"r" * 32)
    report = (await audit(sim)).report
    assert report.verdict is Verdict.MISBEHAVIOUR
    assert report.misbehaviour.kind == "empty-root"


def manifest(records: list[bytes], **changes: object) -> bytes:
    members: dict[str, object] = {
        "origin": ORIGIN,
        "producer": logsim.GATEWAY,
        "stream": "new",
        "first": 0,
        "count": len(records),
        "root": root_of(leaf_hashes(records)),
        "previous": NO_PREVIOUS,
    } | changes
    return sign_manifest(Manifest(**members), GATEWAY_SIGNER)  # type: ignore[arg-type]  # by name


RECORDS = [decision(n) for n in range(900, 903)]
OTHERS = [decision(n, producer="gw.example/other") for n in range(700)]
MIXED = [*[decision(n) for n in range(201)], *OTHERS[201:]]


def batch(records: list[bytes], note: bytes | None = None) -> Spoil:
    """Logs records and a note over them, whatever they are; in each log the same."""
    entries = [*records, manifest(records) if note is None else note]

    def breach(sim: LogSim) -> None:
        sim.entries += entries

    return breach


def misplaced(**changes: object) -> Spoil:
    """Logs a batch whose manifest says something else than it should."""
    return batch(RECORDS, manifest(RECORDS, **changes))


def signed_for(producer: str, signer: Ed25519Signer) -> Spoil:
    text = Manifest(ORIGIN, producer, "s", 0, 3, root_of(leaf_hashes(RECORDS)), NO_PREVIOUS)
    return batch(RECORDS, sign_manifest(text, signer))


def records_outside_of_a_batch(sim: LogSim) -> None:
    sim.entries.append(decision(7000))
    sim.append(RECORDS)


def gap(sim: LogSim) -> None:
    _, previous = sim.streams[(logsim.GATEWAY, "s0")]
    misplaced(stream="s0", first=5000, previous=previous)(sim)


def stream_fork(sim: LogSim) -> None:
    following, _ = sim.streams[(logsim.GATEWAY, "s0")]
    misplaced(stream="s0", first=following, previous=b"p" * 32)(sim)


def ends_in_a_batch(sim: LogSim) -> None:
    sim.entries += RECORDS


bad_record = batch([RECORDS[0], b'{"v": 1}'])


BREACHES: dict[str, tuple[Spoil, str]] = {
    "bad record": (bad_record, "bad-record"),
    "foreign record": (batch([RECORDS[0], OTHERS[5]]), "bad-record"),
    "foreign batch across bundles": (batch(OTHERS[:400]), "bad-record"),
    "changed producer across bundles": (batch(MIXED), "bad-record"),
    "wrong count": (batch(RECORDS, manifest(RECORDS[:2])), "bad-manifest"),
    "records outside of a batch": (records_outside_of_a_batch, "bad-manifest"),
    "wrong batch root": (misplaced(root=b"r" * 32), "bad-manifest"),
    "wrong origin": (misplaced(origin="other.example/log"), "bad-manifest"),
    "wrong signature": (
        batch(RECORDS, manifest(RECORDS).replace(b" new\n", b" old\n")),
        "bad-manifest",
    ),
    "wrong signer": (signed_for("gw.example/x", GATEWAY_SIGNER), "bad-manifest"),
    "log signs for a gateway": (signed_for(logsim.GATEWAY, LOG_SIGNER), "bad-manifest"),
    "malformed manifest": (batch(RECORDS, b"muniment/manifest/v1\nhello\n"), "bad-manifest"),
    "gap": (gap, "stream-gap"),
    "gap at the beginning": (misplaced(first=5, previous=b"p" * 32), "stream-gap"),
    "replay": (misplaced(stream="s0"), "stream-fork"),
    "stream fork": (stream_fork, "stream-fork"),
    "ends in a batch": (ends_in_a_batch, "no-manifest"),
}


@pytest.mark.parametrize(("breach", "kind"), BREACHES.values(), ids=BREACHES)
@pytest.mark.parametrize("resumes", [False, True])
async def test_what_the_log_should_not_have_admitted_is_proven(
    breach: Spoil, kind: str, *, resumes: bool
) -> None:
    sim = grown(8)
    state = (await audit(sim)).state if resumes else None
    size = sim.size
    breach(sim)
    outcome = await audit(sim, state)
    assert kind in kinds(outcome), outcome.report.findings
    assert outcome.report.verdict is Verdict.MISBEHAVIOUR
    assert outcome.report.is_tree_verified
    assert all(f.index is None or f.index >= size for f in outcome.report.findings)
    assert outcome.state == state


@settings(max_examples=20, deadline=None)
@given(
    breaches=st.lists(st.sampled_from([breach for breach, _ in BREACHES.values()]), max_size=5),
    sizes=st.lists(st.integers(1, 300), min_size=3, max_size=9),
    spoiled=st.sets(st.integers(0, 5), max_size=2),
)
def test_a_report_does_not_depend_on_how_the_log_is_cut(
    breaches: list[Spoil], sizes: list[int], spoiled: set[int]
) -> None:
    sim = grown(3)
    for number, size in enumerate(sizes):
        sim.append([decision(10_000 * number + k) for k in range(size)], stream=f"t{number % 2}")
        if number < len(breaches):
            breaches[number](sim)
    for index in spoiled:
        tile = Tile(0, index)
        if tile.end <= sim.size:
            sim.overrides[tile.path] = sim.tile(tile)[:-32] + b"x" * 32

    async def reports() -> list[Report]:
        found = []
        with pytest.MonkeyPatch.context() as patch:
            for span in (1, 2, 5, 16):
                patch.setattr(reader, "SPAN", span)
                found.append((await audit(sim)).report)
        return found

    first, *others = asyncio.run(reports())
    assert all(other == first for other in others)
    assert first.findings or not (breaches or sim.overrides)


async def test_processes_find_the_same_in_a_log_full_of_defects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sim = grown(8)
    for breach, _ in BREACHES.values():
        breach(sim)
        sim.append([decision(sim.size + k) for k in range(150)], stream="between")
    wrong_level_0(sim)
    monkeypatch.setattr(reader, "SPAN", 1)
    here = (await audit(sim)).report
    monkeypatch.setattr(reader, "POOL_WORTH", 0)
    monkeypatch.setattr(reader, "SPAN", 2)
    assert (await audit(sim)).report == here
    assert {finding.kind for finding in here.findings} >= {
        kind for _, kind in BREACHES.values()
    } - {"no-manifest"}


@pytest.mark.parametrize(("answer", "kind"), [(404, "missing"), (b"\xff\xff", "malformed")])
async def test_processes_stop_where_a_bundle_cannot_be_read(
    answer: int | bytes, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = grown(40)
    bad_record(sim)
    sim.append([decision(sim.size + k) for k in range(1200)], stream="after")
    sim.overrides[Tile(ENTRIES, 9).path] = answer
    monkeypatch.setattr(reader, "SPAN", 1)
    here = (await audit(sim)).report
    monkeypatch.setattr(reader, "SPAN", 4)
    monkeypatch.setattr(reader, "POOL_WORTH", 0)
    there = (await audit(sim)).report
    assert there == here
    assert [finding.kind for finding in here.findings] == ["bad-record", kind]
    assert here.entries == 9 * 256


async def test_a_gateways_other_key_is_unknown_not_wrong() -> None:
    sim = grown(2)
    rotated = Ed25519Signer(logsim.GATEWAY, logsim.private("rotated"))
    sim.commit(build_batch(ORIGIN, rotated, "r", 0, NO_PREVIOUS, RECORDS))
    report = (await audit(sim)).report
    assert report.verdict is Verdict.CLEAN
    assert report.unknown_signers == {logsim.GATEWAY}


async def test_findings_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muniment.audit.report.MAX_FINDINGS", 10)
    sim = LogSim()
    sim.entries += [b'{"kind":0,"producer":0}'] * 300
    report = (await audit(sim)).report
    assert len(report.findings) == 10
    assert report.omitted == 291  # 300 leaves, and no manifest over them


async def test_the_report_is_json() -> None:
    sim = grown(5)
    state = (await audit(sim)).state
    outcome = await audit(grown(5, start=99), state)
    value = json.loads(json.dumps(outcome.report.as_json()))
    assert value["verdict"] == "misbehaviour"
    assert value["evidence"]["kind"] == "same-size"
    assert len(value["evidence"]["notes"]) == 2
    assert value["findings"][0]["proven"] is True
