"""The auditor against a simulated log: clean, growing, stale, and what does not verify."""

import asyncio

import pytest

import logsim
from auditing import (
    OPTIONS,
    PLAIN,
    Spoil,
    audit,
    grown,
    kinds,
    tile_changed,
    wrong_level_0,
    wrong_level_1,
)
from logsim import NOW, POLICY, LogSim, decision
from muniment.audit import reader
from muniment.audit.auditor import AuditOptions, audit_log
from muniment.audit.report import Verdict
from muniment.audit.statefile import format_state, parse_state
from muniment.errors import Refused, Unreachable
from muniment.http.logclient import LogClient
from muniment.local.forkpool import fork_server
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.encoding import frame, unframe
from muniment.tlog.tiles import Tile

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.mark.parametrize("batches", [0, 1, 6, 7, 13, 25, 60])
async def test_a_clean_log_is_clean(batches: int) -> None:
    sim = grown(batches)
    outcome = await audit(sim)
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
    sim = grown(10)
    state = (await audit(sim)).state
    for size in (sim.size, 512, 530, 1100, 1100):
        while sim.size < size:
            sim.append([decision(sim.size)])
        state = parse_state(format_state(state))
        before = state.trust.size
        sim.reads.clear()
        outcome = await audit(sim, state)
        assert outcome.report.verdict is Verdict.CLEAN, outcome.report.findings
        assert outcome.report.entries == sim.size - before
        # Only bundles that hold something new are read.
        wanted = {Tile(-1, n).path for n in range(before // 256)}
        assert not wanted & set(sim.reads)
        state = outcome.state


async def test_a_dropped_partial_tile_is_cut_from_the_full_one() -> None:
    """tlog-tiles, Partial Tiles: clients MAY fetch the full tile as a fallback."""
    sim = grown(20, sim=LogSim(drops_partial_tiles=True))
    sim.published_size = 41 * 5
    assert (await audit(sim)).report.verdict is Verdict.CLEAN


async def test_an_audit_finds_the_same_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = grown(30)
    quick = (await audit(sim)).report

    async def none(_: LogClient, tiles: list[Tile]) -> list[None]:
        return [None] * len(tiles)

    monkeypatch.setattr(LogClient, "tiles_in_turn", none)
    assert (await audit(sim)).report == quick
    assert quick.verdict is Verdict.CLEAN


async def test_processes_give_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = grown(30)
    here = (await audit(sim)).report
    monkeypatch.setattr(reader, "POOL_WORTH", 0)
    there = (await audit(sim)).report
    assert there == here


def test_forked_processes_give_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = grown(30)
    here = asyncio.run(audit(sim)).report
    monkeypatch.setattr(reader, "FORKED_WORTH", 0)
    monkeypatch.setattr(reader, "POOL_WORTH", 0)  # if there are threads that nobody may fork

    with fork_server() as server:
        assert asyncio.run(audit(sim, server=server)).report == here


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
    sim = grown(30)
    seen: list[tuple[int, int]] = []
    await audit(sim, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, sim.size)
    assert seen[-1] == (sim.size, sim.size)
    assert seen == sorted(seen)


async def test_manifests_of_unknown_gateways_are_told_and_not_held_against_the_log() -> None:
    outcome = await audit(grown(3), options=PLAIN)
    assert outcome.report.verdict is Verdict.CLEAN
    assert outcome.report.unknown_signers == {logsim.GATEWAY}
    assert outcome.report.signatures == 0


async def test_streams_of_tokens_are_signed_by_the_log() -> None:
    sim = grown(2)
    producer = "curl.example/dev"
    for number in range(3):
        sim.append_token([decision(number, producer=producer)], producer)
    report = (await audit(sim)).report
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
    sim = grown(2)
    sim.overrides["checkpoint"] = 503
    with pytest.raises(Refused):
        await audit(sim)


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
    sim = grown(20)
    spoil(sim)
    outcome = await audit(sim)
    assert kind in kinds(outcome)
    assert outcome.report.verdict is Verdict.UNVERIFIED
    assert outcome.state is None


async def test_tampered_content_is_not_proven_when_the_root_does_not_hold() -> None:
    sim = grown(20)
    tampered_entry(sim)
    outcome = await audit(sim)
    assert {"bad-record", "tile-mismatch", "root-mismatch", "bad-manifest"} <= kinds(outcome)
    assert not any(map(outcome.report.is_proven, outcome.report.findings))


async def test_an_old_checkpoint_is_told_when_asked() -> None:
    sim = grown(2)
    options = AuditOptions(POLICY, max_age=60)
    assert (await audit(sim, options=options, now=NOW + 60)).report.verdict is Verdict.CLEAN
    assert kinds(await audit(sim, options=options, now=NOW + 61)) == {"too-old"}


async def test_another_log_than_expected() -> None:
    outcome = await audit(grown(2), options=AuditOptions(POLICY, origin="other.example/log"))
    assert kinds(outcome) == {"bad-checkpoint"}


@pytest.mark.parametrize("wrong", [-400, 90, 864_000])
async def test_a_frozen_view_is_found_whatever_one_clock_says(wrong: int) -> None:
    """Two of three are honest and a day old; the third is off by so much."""
    sim = grown(2, sim=LogSim(witnesses=()))
    plain = parse_signed_checkpoint(sim.checkpoint())
    times = (NOW - 86_400, NOW - 86_400, NOW + wrong)
    lines = [
        by.sign(plain.note.text, time) for by, time in zip(logsim.WITNESSES, times, strict=True)
    ]
    sim.frozen = plain.with_signatures([*plain.note.signatures, *lines]).encode()
    outcome = await audit(sim, options=AuditOptions(POLICY, max_age=3600))
    assert kinds(outcome) == {"too-old"}
    assert outcome.report.time == NOW - 86_400
    assert outcome.report.ahead == ((("w3", NOW + wrong),) if wrong > 60 else ())
    # Without a limit it is no finding; that a clock is wrong is told all the same.
    told = (await audit(sim)).report
    assert (told.verdict, told.ahead) == (Verdict.CLEAN, outcome.report.ahead)


async def test_a_rolled_back_checkpoint_is_stale_and_the_state_stays() -> None:
    sim = grown(10)
    state = (await audit(sim)).state
    sim.frozen = sim.checkpoint(41 * 5)
    outcome = await audit(sim, state)
    assert kinds(outcome) == {"stale"}
    assert outcome.report.verdict is Verdict.UNVERIFIED
    assert outcome.state == state


async def test_findings_stay_until_they_are_explained() -> None:
    sim = grown(20)
    sim.published_size = 41 * 10
    state = (await audit(sim)).state
    sim.published_size = None
    tampered_entry(sim)
    for _ in range(2):
        outcome = await audit(sim, state)
        assert outcome.report.verdict is Verdict.UNVERIFIED
        assert outcome.state == state
    sim.overrides.clear()
    assert (await audit(sim, state)).report.verdict is Verdict.CLEAN
