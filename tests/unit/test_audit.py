"""The auditor against a simulated log: clean, growing, stale, forked, and wrong in each way."""

import asyncio
import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import logsim
from logsim import GATEWAY_SIGNER, LOG_SIGNER, NOW, ORIGIN, POLICY, LogSim, decision
from muniment.audit import reader
from muniment.audit.auditor import AuditOptions, AuditOutcome, audit_log
from muniment.audit.report import Report, Verdict
from muniment.audit.statefile import AuditState, format_state, parse_state
from muniment.errors import Refused, Unreachable
from muniment.http.logclient import LogClient
from muniment.local.forkpool import ForkServer, fork_server
from muniment.records.manifest import NO_PREVIOUS, Manifest, build_batch, sign_manifest
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.encoding import frame, unframe
from muniment.tlog.merkle import leaf_hashes, root_of
from muniment.tlog.note import Ed25519Signer
from muniment.tlog.tiles import ENTRIES, Tile, tile_at

pytestmark = pytest.mark.usefixtures("impatient")

OPTIONS = AuditOptions(POLICY, gateways=(GATEWAY_SIGNER.vkey,))


def grown(sim: LogSim, batches: int, records: int = 40, start: int = 0) -> LogSim:
    for number in range(batches):
        base = start + number * records
        sim.append([decision(base + k) for k in range(records)], stream=f"s{number % 3}")
    return sim


async def check(
    sim: LogSim, state: AuditState | None = None, options: AuditOptions = OPTIONS
) -> AuditOutcome:
    async with sim.serve() as url, LogClient(url) as client:
        return await audit_log(client, options, state, now=NOW)


def kinds(outcome: AuditOutcome) -> set[str]:
    return {finding.kind for finding in outcome.report.findings}


@pytest.mark.parametrize("batches", [0, 1, 6, 7, 13, 25, 60])
async def test_a_clean_log_is_clean(batches: int) -> None:
    sim = grown(LogSim(), batches)
    outcome = await check(sim)
    report = outcome.report
    assert report.verdict is Verdict.CLEAN, report.findings
    assert (report.size, report.entries) == (sim.size, sim.size)
    assert (report.records, report.manifests) == (batches * 40, batches)
    assert report.signatures == batches
    assert report.unknown_signers == set()
    assert report.is_first_use
    assert report.is_tree_verified
    assert outcome.state.trust.size == sim.size


async def test_an_audit_goes_on_where_the_last_one_ended() -> None:
    sim = grown(LogSim(), 10)
    state = (await check(sim)).state
    for size in (sim.size, 512, 530, 1100, 1100):
        while sim.size < size:
            sim.append([decision(sim.size)])
        state = parse_state(format_state(state))
        before = state.trust.size
        sim.reads.clear()
        outcome = await check(sim, state)
        assert outcome.report.verdict is Verdict.CLEAN, outcome.report.findings
        assert outcome.report.entries == sim.size - before
        # Only bundles that hold something new are read.
        wanted = {Tile(-1, n).path for n in range(before // 256)}
        assert not wanted & set(sim.reads)
        state = outcome.state


async def test_a_dropped_partial_tile_is_cut_from_the_full_one() -> None:
    """tlog-tiles, Partial Tiles: clients MAY fetch the full tile as a fallback."""
    sim = grown(LogSim(drops_partial_tiles=True), 20)
    sim.published_size = 41 * 5
    assert (await check(sim)).report.verdict is Verdict.CLEAN


async def test_an_audit_finds_the_same_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = grown(LogSim(), 30)
    quick = (await check(sim)).report

    async def none(_: LogClient, tiles: list[Tile]) -> list[None]:
        return [None] * len(tiles)

    monkeypatch.setattr(LogClient, "tiles_in_turn", none)
    assert (await check(sim)).report == quick
    assert quick.verdict is Verdict.CLEAN


async def test_processes_give_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = grown(LogSim(), 30)
    here = (await check(sim)).report
    monkeypatch.setattr(reader, "POOL_WORTH", 0)
    there = (await check(sim)).report
    assert there == here


def test_forked_processes_give_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = grown(LogSim(), 30)
    here = asyncio.run(check(sim)).report
    monkeypatch.setattr(reader, "FORKED_WORTH", 0)
    monkeypatch.setattr(reader, "POOL_WORTH", 0)  # if there are threads that nobody may fork

    async def there(server: ForkServer | None) -> AuditOutcome:
        async with sim.serve() as url, LogClient(url) as client:
            return await audit_log(client, OPTIONS, None, now=NOW, server=server)

    with fork_server() as server:
        assert asyncio.run(there(server)).report == here


@pytest.mark.parametrize(
    ("url", "cpus", "count"),
    [
        ("http://127.0.0.1:9", 4, 4),
        ("https://log.example/a", 4, 8),
        ("http://localhost:9", 64, reader.MOST_PROCESSES),
        ("https://log.example/a", 12, reader.MOST_PROCESSES),
    ],
)
def test_spans_from_another_machine_are_read_ahead(
    url: str, cpus: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_cpus", lambda: cpus)
    assert reader.processes_to_fork(LogClient(url)) == count


async def test_progress_reaches_the_end() -> None:
    sim = grown(LogSim(), 30)
    seen: list[tuple[int, int]] = []
    async with sim.serve() as url, LogClient(url) as client:
        await audit_log(
            client, OPTIONS, None, now=NOW, progress=lambda done, total: seen.append((done, total))
        )
    assert seen[0] == (0, sim.size)
    assert seen[-1] == (sim.size, sim.size)
    assert seen == sorted(seen)


async def test_manifests_of_unknown_gateways_are_told_and_not_held_against_the_log() -> None:
    outcome = await check(grown(LogSim(), 3), options=AuditOptions(POLICY))
    assert outcome.report.verdict is Verdict.CLEAN
    assert outcome.report.unknown_signers == {logsim.GATEWAY}
    assert outcome.report.signatures == 0


async def test_streams_of_tokens_are_signed_by_the_log() -> None:
    sim = grown(LogSim(), 2)
    producer = "curl.example/dev"
    for number in range(3):
        sim.append_token([decision(number, producer=producer)], producer)
    report = (await check(sim)).report
    assert report.verdict is Verdict.CLEAN, report.findings
    assert report.signatures == 5
    assert report.streams == 3


# What cannot be verified


async def test_an_unreachable_log_raises() -> None:
    sim = LogSim()
    async with sim.serve() as url:
        pass
    async with LogClient(url) as client:
        with pytest.raises(Unreachable):
            await audit_log(client, OPTIONS, None, now=NOW)


@pytest.mark.usefixtures("fast_reads")
async def test_a_busy_log_is_not_held_against_it() -> None:
    sim = grown(LogSim(), 2)
    sim.overrides["checkpoint"] = 503
    with pytest.raises(Refused):
        await check(sim)


Spoil = Callable[[LogSim], None]


def tile_changed(level: int, index: int, change: Callable[[bytes], bytes]) -> Spoil:
    """Serves a tile as something else: a partial one where the tree has no full one."""

    def spoil(sim: LogSim) -> None:
        tile = tile_at(level, index, sim.size)
        sim.overrides[tile.path] = change(sim.tile(tile))

    return spoil


def switched(**members: object) -> Spoil:
    """Sets switches of the simulated log."""

    def spoil(sim: LogSim) -> None:
        for name, value in members.items():
            setattr(sim, name, value)

    return spoil


def foreign_signature(sim: LogSim) -> None:
    sim.frozen = sim.checkpoint().replace(
        b"\n\xe2\x80\x94 log.example", b"\n\xe2\x80\x94 lag.example"
    )


def missing_bundle(sim: LogSim) -> None:
    sim.overrides[Tile(-1, 1).path] = 404


def wrong_root(sim: LogSim) -> None:
    sim.frozen = sim.checkpoint(root=b"r" * 32)


wrong_level_0 = tile_changed(0, 0, lambda data: b"x" * 32 + data[32:])
wrong_level_1 = tile_changed(1, 0, lambda data: data[:-32] + b"x" * 32)
tampered_entry = tile_changed(-1, 1, lambda data: data.replace(b"true", b"null", 1))

SPOILS: dict[str, tuple[Spoil, str]] = {
    "garbage": (switched(frozen=b"hello\n"), "bad-checkpoint"),
    "no quorum": (switched(witnesses=logsim.WITNESSES[:1]), "bad-checkpoint"),
    "foreign signature": (foreign_signature, "bad-checkpoint"),
    "no checkpoint": (switched(publishes=False), "no-checkpoint"),
    "wrong level 0": (wrong_level_0, "tile-mismatch"),
    "wrong level 1": (wrong_level_1, "tile-mismatch"),
    "short tile": (tile_changed(0, 0, lambda data: data[:-1]), "malformed"),
    "endless tile": (tile_changed(0, 0, lambda _: b"x" * 9000), "malformed"),
    "truncated bundle": (tile_changed(-1, 1, lambda data: data[:-1]), "malformed"),
    "short bundle": (tile_changed(-1, 1, lambda data: frame(unframe(data)[:255])), "malformed"),
    "missing bundle": (missing_bundle, "missing"),
    "tampered entry": (tampered_entry, "root-mismatch"),
    "wrong root": (wrong_root, "root-mismatch"),
}


@pytest.mark.parametrize(("spoil", "kind"), SPOILS.values(), ids=SPOILS)
async def test_what_does_not_verify_proves_nothing(spoil: Spoil, kind: str) -> None:
    sim = grown(LogSim(), 20)
    spoil(sim)
    outcome = await check(sim)
    assert kind in kinds(outcome)
    assert outcome.report.verdict is Verdict.UNVERIFIED
    assert outcome.state is None


async def test_tampered_content_is_not_proven_when_the_root_does_not_hold() -> None:
    sim = grown(LogSim(), 20)
    tampered_entry(sim)
    outcome = await check(sim)
    assert {"bad-record", "tile-mismatch", "root-mismatch", "bad-manifest"} <= kinds(outcome)
    assert not any(map(outcome.report.is_proven, outcome.report.findings))


async def test_an_old_checkpoint_is_told_when_asked() -> None:
    sim = grown(LogSim(), 2)
    async with sim.serve() as url, LogClient(url) as client:
        options = AuditOptions(POLICY, max_age=60)
        assert (
            await audit_log(client, options, None, now=NOW + 60)
        ).report.verdict is Verdict.CLEAN
        outcome = await audit_log(client, options, None, now=NOW + 61)
    assert kinds(outcome) == {"too-old"}


async def test_another_log_than_expected() -> None:
    outcome = await check(
        grown(LogSim(), 2), options=AuditOptions(POLICY, origin="other.example/log")
    )
    assert kinds(outcome) == {"bad-checkpoint"}


@pytest.mark.parametrize("wrong", [-400, 90, 864_000])
async def test_a_frozen_view_is_found_whatever_one_clock_says(wrong: int) -> None:
    """Two of three are honest and a day old; the third is off by so much."""
    sim = grown(LogSim(witnesses=()), 2)
    plain = parse_signed_checkpoint(sim.checkpoint())
    times = (NOW - 86_400, NOW - 86_400, NOW + wrong)
    lines = [
        by.sign(plain.note.text, time) for by, time in zip(logsim.WITNESSES, times, strict=True)
    ]
    sim.frozen = plain.with_signatures([*plain.note.signatures, *lines]).encode()
    outcome = await check(sim, options=AuditOptions(POLICY, max_age=3600))
    assert kinds(outcome) == {"too-old"}
    assert outcome.report.time == NOW - 86_400
    assert outcome.report.ahead == ((("w3", NOW + wrong),) if wrong > 60 else ())
    # Without a limit it is no finding; that a clock is wrong is told all the same.
    told = (await check(sim)).report
    assert (told.verdict, told.ahead) == (Verdict.CLEAN, outcome.report.ahead)


async def test_a_rolled_back_checkpoint_is_stale_and_the_state_stays() -> None:
    sim = grown(LogSim(), 10)
    state = (await check(sim)).state
    sim.frozen = sim.checkpoint(41 * 5)
    outcome = await check(sim, state)
    assert kinds(outcome) == {"stale"}
    assert outcome.report.verdict is Verdict.UNVERIFIED
    assert outcome.state == state


async def test_findings_stay_until_they_are_explained() -> None:
    sim = grown(LogSim(), 20)
    sim.published_size = 41 * 10
    state = (await check(sim)).state
    sim.published_size = None
    tampered_entry(sim)
    for _ in range(2):
        outcome = await check(sim, state)
        assert outcome.report.verdict is Verdict.UNVERIFIED
        assert outcome.state == state
    sim.overrides.clear()
    assert (await check(sim, state)).report.verdict is Verdict.CLEAN


# What is proven


async def test_two_trees_of_one_size_are_proven_and_remembered() -> None:
    sim = grown(LogSim(), 5)
    state = (await check(sim)).state
    other = grown(LogSim(), 5, start=1000)
    outcome = await check(other, state)
    assert kinds(outcome) == {"same-size"}
    assert outcome.report.verdict is Verdict.MISBEHAVIOUR
    assert len(set(outcome.report.misbehaviour.notes)) == 2
    # The proof survives in the state, and a well-behaved answer does not wash it off.
    assert outcome.state is not None
    again = await check(sim, parse_state(format_state(outcome.state)))
    assert again.report.misbehaviour == outcome.report.misbehaviour
    assert again.report.verdict is Verdict.MISBEHAVIOUR


@pytest.mark.parametrize(("old", "new"), [(5, 9), (1, 30), (10, 11), (13, 26)])
async def test_a_fork_is_proven_by_the_new_trees_own_tiles(old: int, new: int) -> None:
    state = (await check(grown(LogSim(), old))).state
    outcome = await check(grown(LogSim(), new, start=1000), state)
    assert kinds(outcome) == {"fork"}
    assert outcome.report.verdict is Verdict.MISBEHAVIOUR
    assert outcome.report.misbehaviour.implied_root is not None


async def test_a_spoiled_proof_is_a_suspicion_only() -> None:
    sim = grown(LogSim(), 20)
    sim.published_size = 41 * 10
    state = (await check(sim)).state
    sim.published_size = None
    wrong_level_1(sim)
    tile = Tile(0, sim.size // 256, sim.size % 256)
    sim.overrides[tile.path] = b"x" * 32 * tile.width
    outcome = await check(sim, state)
    assert kinds(outcome) == {"inconsistent"}
    assert outcome.report.verdict is Verdict.UNVERIFIED


async def test_an_empty_tree_with_another_root_is_proven() -> None:
    sim = LogSim()
    sim.frozen = sim.checkpoint(root=b"r" * 32)
    outcome = await check(sim)
    assert outcome.report.verdict in {Verdict.MISBEHAVIOUR, Verdict.UNVERIFIED}


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
    sim = grown(LogSim(), 8)
    state = (await check(sim)).state if resumes else None
    size = sim.size
    breach(sim)
    outcome = await check(sim, state)
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
    sim = grown(LogSim(), 3)
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
                found.append((await check(sim)).report)
        return found

    first, *others = asyncio.run(reports())
    assert all(other == first for other in others)
    assert first.findings or not (breaches or sim.overrides)


async def test_processes_find_the_same_in_a_log_full_of_defects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sim = grown(LogSim(), 8)
    for breach, _ in BREACHES.values():
        breach(sim)
        sim.append([decision(sim.size + k) for k in range(150)], stream="between")
    wrong_level_0(sim)
    monkeypatch.setattr(reader, "SPAN", 1)
    here = (await check(sim)).report
    monkeypatch.setattr(reader, "POOL_WORTH", 0)
    monkeypatch.setattr(reader, "SPAN", 2)
    assert (await check(sim)).report == here
    assert {finding.kind for finding in here.findings} >= {
        kind for _, kind in BREACHES.values()
    } - {"no-manifest"}


@pytest.mark.parametrize(("answer", "kind"), [(404, "missing"), (b"\xff\xff", "malformed")])
async def test_processes_stop_where_a_bundle_cannot_be_read(
    answer: int | bytes, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = grown(LogSim(), 40)
    bad_record(sim)
    sim.append([decision(sim.size + k) for k in range(1200)], stream="after")
    sim.overrides[Tile(ENTRIES, 9).path] = answer
    monkeypatch.setattr(reader, "SPAN", 1)
    here = (await check(sim)).report
    monkeypatch.setattr(reader, "SPAN", 4)
    monkeypatch.setattr(reader, "POOL_WORTH", 0)
    there = (await check(sim)).report
    assert there == here
    assert [finding.kind for finding in here.findings] == ["bad-record", kind]
    assert here.entries == 9 * 256


async def test_a_gateways_other_key_is_unknown_not_wrong() -> None:
    sim = grown(LogSim(), 2)
    rotated = Ed25519Signer(logsim.GATEWAY, logsim.private("rotated"))
    sim.commit(build_batch(ORIGIN, rotated, "r", 0, NO_PREVIOUS, RECORDS))
    report = (await check(sim)).report
    assert report.verdict is Verdict.CLEAN
    assert report.unknown_signers == {logsim.GATEWAY}


async def test_findings_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muniment.audit.report.MAX_FINDINGS", 10)
    sim = LogSim()
    sim.entries += [b'{"kind":0,"producer":0}'] * 300
    report = (await check(sim)).report
    assert len(report.findings) == 10
    assert report.omitted == 291  # 300 leaves, and no manifest over them


async def test_the_report_is_json() -> None:
    sim = grown(LogSim(), 5)
    state = (await check(sim)).state
    outcome = await check(grown(LogSim(), 5, start=99), state)
    value = json.loads(json.dumps(outcome.report.as_json()))
    assert value["verdict"] == "misbehaviour"
    assert value["evidence"]["kind"] == "same-size"
    assert len(value["evidence"]["notes"]) == 2
    assert value["findings"][0]["proven"] is True
