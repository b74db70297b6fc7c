"""What an audit says of withheld members: withheld, erased by a record, missing without one."""

import json
from dataclasses import replace
from hashlib import sha256
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditing import OPTIONS, audit, two_faced
from logsim import GATEWAY, NOW, ORIGIN, LogSim, decision
from muniment import Erasure, encode_record
from muniment.audit import reader
from muniment.audit.addenda import (
    Addenda,
    AddendumAnswer,
    AddendumState,
    ErasedMember,
    events_of,
    owner_of,
)
from muniment.audit.asking import describe
from muniment.audit.events import Named
from muniment.audit.relations import judge
from muniment.audit.report import Report, Verdict
from muniment.audit.statefile import AuditState
from muniment.records.addenda import addendum_path
from muniment.records.canonical import encode_canonical
from muniment.records.commitments import addendum

pytestmark = pytest.mark.usefixtures("impatient")

OTHER = "other.example/gw"


def withholding(number: int, *, kept: bool = True, producer: str = GATEWAY) -> tuple[bytes, str]:
    """A decision that withholds one member, and the digest of its addendum."""
    digest = sha256(content(number)).hexdigest()
    members = json.loads(decision(number, producer=producer))
    members["addenda"] = {"/request/context": digest}
    if kept:
        members["kept"] = "log"
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode(), digest


def content(number: int) -> bytes:
    return addendum(f"{number:032x}", {"to": f"person {number}"})


def erasure(number: int, *digests: str, producer: str = ORIGIN) -> bytes:
    return encode_record(
        Erasure(
            v=1,
            id=f"erasure-{number}",
            time=NOW * 1000,
            producer=producer,
            digests=tuple(sorted(digests)),
            by="the operator",
        )
    )


def log_of(count: int, *, kept: bool = True) -> tuple[LogSim, list[str]]:
    """A log of decisions, each with an addendum that it serves; and their digests."""
    sim = LogSim()
    made = [withholding(number, kept=kept) for number in range(count)]
    sim.append([record for record, _ in made])
    sim.addenda = {digest: content(number) for number, (_, digest) in enumerate(made)}
    return sim, [digest for _, digest in made]


async def check(sim: LogSim, state: AuditState | None = None, *, asks: bool = True) -> Report:
    return (await audit(sim, state, replace(OPTIONS, addenda=asks))).report


def found(report: Report) -> list[tuple[str, int | None]]:
    return [(one.kind, one.index) for one in report.findings]


def counts(report: Report) -> tuple[int, int, int, int, int, int]:
    one: Addenda = report.addenda
    return one.withheld, one.kept, one.erased, one.served, one.elsewhere, one.unread


@pytest.mark.parametrize("in_processes", [False, True])
async def test_withheld_erased_and_missing_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, *, in_processes: bool
) -> None:
    monkeypatch.setattr(reader, "POOL_WORTH", 0 if in_processes else 1 << 60)
    sim, digests = log_of(5)
    sim.append([decision(9)])
    report = await check(sim)
    assert (report.verdict, counts(report)) == (Verdict.CLEAN, (5, 5, 0, 5, 0, 0))

    sim.append_token([erasure(1, digests[1])], ORIGIN)
    del sim.addenda[digests[1]]
    sim.erased[digests[1]] = by = sim.size - 2
    report = await check(sim)
    assert (report.verdict, counts(report)) == (Verdict.CLEAN, (5, 5, 1, 4, 0, 0))
    assert report.addenda.erasures == [ErasedMember(1, by)]
    assert report.as_json()["addenda"]["erasures"] == [{"entry": 1, "by": by}]

    del sim.addenda[digests[3]]  # in silence
    report = await check(sim)
    assert (report.verdict, found(report)) == (Verdict.UNVERIFIED, [("missing-addendum", 3)])
    assert digests[3] in report.findings[0].sentence
    assert "/request/context" in report.findings[0].sentence
    assert counts(report) == (5, 5, 1, 3, 0, 0)


async def test_a_log_that_says_that_one_is_damaged_has_not_what_it_promised() -> None:
    sim, digests = log_of(3)
    sim.damaged = {addendum_path(digests[1])}
    report = await check(sim)
    assert (report.verdict, found(report)) == (Verdict.UNVERIFIED, [("bad-addendum", 1)])


async def test_nothing_is_asked_unless_it_is_wanted_and_that_is_said() -> None:
    sim, digests = log_of(3)
    sim.addenda.clear()
    sim.append([erasure(1, digests[0], producer=GATEWAY)])
    report = await check(sim, asks=False)
    assert (report.verdict, counts(report)) == (Verdict.CLEAN, (3, 3, 1, 0, 0, 0))
    assert not [path for path in sim.reads if path.startswith("addenda/")]
    assert any("Not looked at" in one for one in describe(report.addenda))
    assert not describe((await check(LogSim(), asks=False)).addenda)


async def test_what_the_log_never_promised_is_not_missing() -> None:
    sim, _ = log_of(3, kept=False)
    sim.addenda.popitem()
    report = await check(sim)
    assert (report.verdict, counts(report)) == (Verdict.CLEAN, (3, 0, 0, 2, 1, 0))


async def test_what_an_outcome_commits_to_is_looked_at_when_it_says_that_the_log_keeps_it() -> None:
    digest = sha256(content(1)).hexdigest()
    outcome: dict[str, Any] = {
        "v": 1, "kind": "outcome", "id": "o-1", "time": NOW * 1000, "producer": GATEWAY,
        "execution": "run-1", "status": "completed", "outputs": {"result": f"sha256:{digest}"},
    }  # fmt: skip
    sim = LogSim()
    sim.append([encode_canonical(outcome)])
    assert counts(await check(sim)) == (0, 0, 0, 0, 0, 0)
    sim.append([encode_canonical(outcome | {"id": "o-2", "kept": "log"})])
    report = await check(sim)
    assert found(report) == [("missing-addendum", 2)]
    assert "/outputs/result" in report.findings[0].sentence
    sim.addenda[digest] = content(1)
    assert counts(await check(sim)) == (1, 1, 0, 1, 0, 0)


async def test_without_access_it_is_said_that_nothing_was_looked_at() -> None:
    sim, digests = log_of(20)
    sim.overrides = {f"addenda/{one[:2]}/{one[2:4]}/{one}": 403 for one in digests}
    report = await check(sim)
    assert found(report) == [("addenda-refused", None)]
    assert counts(report) == (20, 20, 0, 0, 0, 20)
    assert len([path for path in sim.reads if path.startswith("addenda/")]) < 20


async def test_an_erasure_counts_only_by_who_may_erase() -> None:
    sim, digests = log_of(3)
    sim.append_token([erasure(1, digests[0], producer=OTHER)], OTHER)
    stranger = sim.size - 2
    sim.append([erasure(2, digests[1], producer=GATEWAY)])
    for digest in digests[:2]:
        del sim.addenda[digest]
    report = await check(sim)
    assert found(report) == [("missing-addendum", 0)]
    assert [(one.kind, one.index) for one in report.warnings] == [("foreign-erasure", stranger)]
    assert report.addenda.erasures == [ErasedMember(1, sim.size - 2)]


def like(producer: str) -> str:
    """A name whose SHA-256 begins as that of another: whoever wants one finds it at once."""
    begin = sha256(producer.encode()).digest()[:2]
    names = (f"ground.example/{number}" for number in count())
    return next(name for name in names if sha256(name.encode()).digest()[:2] == begin)


@pytest.mark.parametrize("victim", [ORIGIN, GATEWAY])
async def test_no_name_is_found_that_erases_for_another(victim: str) -> None:
    sim, digests = log_of(3)
    stranger = like(victim)
    sim.append_token([erasure(1, *digests[:2], producer=stranger)], stranger)
    at = sim.size - 2
    del sim.addenda[digests[1]]
    report = await check(sim)
    assert found(report) == [("missing-addendum", 1)]  # and the log may give out the other
    assert [(one.kind, one.index) for one in report.warnings] == [("foreign-erasure", at)] * 2


async def test_what_is_served_after_its_erasure_or_is_something_else_is_a_finding() -> None:
    sim, digests = log_of(3)
    sim.append_token([erasure(1, digests[0])], ORIGIN)
    sim.addenda[digests[1]] = b"forged"
    report = await check(sim)
    assert found(report) == [("bad-addendum", 1), ("served-after-erasure", sim.size - 2)]
    again, _ = withholding(0)  # a decision that brings it again
    sim.append([again.replace(b"d-0", b"d-9")])
    sim.addenda[digests[1]] = content(1)
    assert (await check(sim)).verdict is Verdict.CLEAN


async def test_leaves_that_are_other_ones_when_they_are_read_again_excuse_no_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A log that has removed something in silence knows which leaves are read twice."""
    sim, digests = log_of(3)
    other, _ = log_of(3, kept=False)
    del sim.addenda[digests[1]]
    monkeypatch.setattr(sim, "tile", two_faced(sim, other, reading=2))
    report = await check(sim)
    assert found(report) == [("tile-mismatch", 1)]
    assert "are not shown again as they were" in report.findings[0].sentence


async def test_leaves_that_are_no_leaves_of_the_tree_at_first_are_a_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A log that shows others when they are audited, and the true ones when they are read again."""
    sim, (other, _) = LogSim(), log_of(3)
    sim.append([decision(number) for number in range(3)])
    monkeypatch.setattr(sim, "tile", two_faced(sim, other, reading=1))
    report = await check(sim)
    assert "root-mismatch" in [kind for kind, _ in found(report)]
    assert report.verdict is not Verdict.CLEAN


async def test_an_addendum_that_is_none_is_the_producer_s_doing() -> None:
    members = json.loads(withholding(0)[0])
    digest = members["addenda"]["/request/context"] = sha256(b"no addendum").hexdigest()
    sim = LogSim()
    sim.append([json.dumps(members, sort_keys=True, separators=(",", ":")).encode()])
    sim.addenda[digest] = b"no addendum"
    report = await check(sim)
    assert report.verdict is Verdict.CLEAN
    assert [one.kind for one in report.warnings] == ["odd-addendum"]


async def test_what_is_erased_during_the_audit_is_not_missing() -> None:
    sim, digests = log_of(300)
    size = sim.size
    del sim.addenda[digests[7]]
    old = sim.checkpoint(size)
    sim.append_token([erasure(1, digests[7])], ORIGIN)
    by = sim.erased[digests[7]] = sim.size - 2
    sim.frozen = old
    report = await _checked_while_it_moves(sim)
    assert report.verdict is Verdict.CLEAN, report.findings
    assert report.size == size
    assert report.addenda.erasures == [ErasedMember(7, by)]
    # A log that tells of an erasure that never comes is not believed.
    sim.erased[digests[7]] = 10_000
    del sim.addenda[digests[8]]
    sim.erased[digests[8]] = 10_000
    report = await _checked_while_it_moves(sim)
    assert found(report) == [("missing-addendum", 8)]
    assert "entry 10000" in report.findings[0].sentence


async def _checked_while_it_moves(sim: LogSim) -> Report:
    """Audits the frozen checkpoint of a log, which shows its newest one from the second on."""
    sim.frozen = sim.checkpoint(301)

    def thaw(_done: int, _total: int) -> None:
        sim.frozen = None

    return (await audit(sim, options=replace(OPTIONS, addenda=True), progress=thaw)).report


async def test_an_audit_that_goes_on_asks_for_what_the_new_part_names() -> None:
    sim, digests = log_of(3)
    state = (await audit(sim, options=replace(OPTIONS, addenda=True))).state
    sim.append_token([erasure(1, *digests[:2])], ORIGIN)
    del sim.addenda[digests[0]]
    report = await check(sim, state)
    assert found(report) == [("served-after-erasure", sim.size - 2)]
    assert report.addenda.erasures == [ErasedMember(-1, sim.size - 2)] * 2
    del sim.addenda[digests[1]], sim.addenda[digests[2]]
    assert (await check(sim, state)).verdict is Verdict.CLEAN
    assert found(await check(sim)) == [("missing-addendum", 2)]  # which the whole audit finds


PRODUCERS = (ORIGIN, GATEWAY, OTHER)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Named], dict[str, AddendumAnswer]]:
    """What leaves say of a few addenda, in their order, and what the log answers."""
    digests = [f"{number:064x}" for number in range(draw(st.integers(1, 4)))]
    named: list[Named] = []
    for index in range(draw(st.integers(0, 12))):
        producer = draw(st.sampled_from(PRODUCERS))
        erases = draw(st.booleans())
        kept = not erases and draw(st.booleans())
        named.append(Named(index, draw(st.sampled_from(digests)), producer, kept, erases))
    answers = st.builds(AddendumAnswer, st.sampled_from(AddendumState), st.integers(-1, 20))
    return named, {digest: draw(answers) for digest in digests}


@settings(max_examples=300, deadline=None)
@given(histories())
def test_each_addendum_is_in_one_of_the_three_states(
    history: tuple[list[Named], dict[str, AddendumAnswer]],
) -> None:
    named, said = history
    total = Addenda()
    for events in events_of(named, said):
        total.add(judge(events, is_whole=True, log=owner_of(ORIGIN)).addenda)
    missing: set[tuple[str, int]] = set()
    erased = withheld = 0
    for digest, answer in said.items():
        decisions = [one for one in named if one.digest == digest and not one.erases]
        if not decisions:
            continue
        withheld += 1
        may = {ORIGIN, *(one.producer for one in decisions)}
        erasures = [one for one in named if one.digest == digest and one.erases]
        if any(one.producer in may for one in erasures):
            erased += 1
        elif answer.answer in (AddendumState.ABSENT, AddendumState.ERASED):
            promised = [one.index for one in decisions if one.kept]
            if promised or answer.answer is AddendumState.ERASED:
                missing.add((digest, (promised or [decisions[0].index])[0]))
    assert (total.withheld, total.erased) == (withheld, erased)
    found = [one.index for one in total.suspects if one.kind == "missing-addendum"]
    assert sorted(found) == sorted(index for _, index in missing)
