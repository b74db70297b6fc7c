"""What an audit says of records that do not fit together: each warning alone, and none too many."""

import json
import os
import subprocess
import sys
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import logsim
from auditing import PLAIN, audit
from commands import online
from decisions import decisions
from governed import World, artifact, plain_decision, story
from logsim import GATEWAY, NOW, LogSim
from muniment.audit import relations, relationstore
from muniment.audit.events import EVENT, INDEX_BITS, PARTITIONS, EventRole, extract
from muniment.audit.relations import judge
from muniment.audit.relationstore import Judgement, RelationStore
from muniment.audit.report import Report, Verdict
from muniment.audit.thingkeys import NameKey, name_key, probe, thing_key
from muniment.records.api import Denial, Outcome, encode_record
from muniment.records.artifact import Validity
from muniment.records.forms import Forms
from muniment.records.quick import _read_shaped, read_plain
from muniment.tlog.merkle import leaf_hashes

FORMS = Forms()


def judged(world: World, *, since: int = 0, key: NameKey | None = None) -> Report:
    report = Report()
    with RelationStore() as store:
        entries = world.entries()
        for start in range(since, len(entries), 7):
            part = entries[start : start + 7]
            plain = read_plain(part, FORMS) or [None] * len(part)
            store.add(extract(part, plain, leaf_hashes(part), start, world.origin, key=key))
        judgement = Judgement()
        for events in store.partitions():
            judgement.add(judge(events, is_whole=since == 0))
        judgement.conclude(report, store.partitions, is_whole=since == 0)
    return report


def warned(world: World, *, since: int = 0) -> list[tuple[str, int]]:
    return [(one.kind, one.index) for one in judged(world, since=since).warnings]


def test_a_continuous_story_has_no_warnings() -> None:
    world, _ = story()
    world.outcome("call")
    world.outcome("plan")
    report = judged(world)
    assert report.warnings == []
    assert (report.runs, report.edges) == (2, 5)
    assert report.are_relations_whole
    assert report.are_cycles_checked


def test_an_id_used_again_with_other_content() -> None:
    world, index = story()
    world.add(world.records[index])  # the same once more is no other content
    assert warned(world) == []
    again = world.decide("call", id_="d-call", subject="other")
    assert warned(world) == [("id-reuse", again)]
    world.producer = "gateway.example/two"
    world.decide("call", id_="d-call", subject="other")  # another producer has ids of its own
    assert warned(world) == [("id-reuse", again)]


@pytest.mark.parametrize(
    ("relation", "target"), [("triggered_by", "run:nowhere"), ("authorized_by", "decision:none")]
)
def test_an_edge_that_leads_nowhere(relation: str, target: str) -> None:
    world, _ = story()
    index = world.edge(relation, "run:call", target)
    assert warned(world) == [("dangling-lineage", index)]
    # Only the whole log can show that nothing is there.
    assert warned(world, since=index) == []
    assert judged(world, since=index).unresolved == 1


def test_things_of_other_logs_and_agents_need_no_record() -> None:
    world, _ = story()
    leaf = {"origin": "log.example/other", "index": 5, "leaf": "A" * 43 + "="}
    world.edge("triggered_by", "run:call", "run:there", **leaf)
    world.edge("used", "run:call", "artifact:sha256:00")
    assert warned(world) == []


def test_an_edge_to_what_came_later() -> None:
    world, _ = story()
    index = world.edge("triggered_by", "run:call", "run:late")
    world.decide("late")
    assert ("later-lineage", index) in warned(world)


def test_cycles_of_runs_and_of_agents() -> None:
    world, _ = story()
    closing = world.edge("triggered_by", "run:plan", "run:call")
    assert [kind for kind, _ in warned(world)] == ["cyclic-lineage"]
    world, _ = story()
    closing = world.edge("delegated_by", "agent:orch", "agent:sub")
    [(kind, index)] = warned(world)
    assert kind == "cyclic-lineage"
    assert index <= closing
    # The log alone says in which order: the cycle shows in the new part only with both edges.
    assert warned(world, since=closing) == []


def test_runs_without_an_allowing_decision() -> None:
    world, _ = story()
    lone = world.outcome("alone")
    assert warned(world) == [("outcome-without-decision", lone)]
    world, _ = story()
    world.decide("denied", allow=False, codes=["denied_by_policy"])
    edge = world.edge("performed_by", "run:denied", "agent:sub")
    world.outcome("denied")
    assert warned(world) == [("unauthorized-execution", edge)]
    assert warned(world, since=edge) == []


def test_an_outcome_of_what_nobody_saw_run_is_no_run() -> None:
    world, _ = story()
    denial = Denial(codes=("governance_mesh_discontinuity",))
    world.add(Outcome(**world.common("o"), execution="never", status="aborted", denial=denial))
    world.add(Outcome(**world.common("o"), execution="killed", status="unknown"))
    assert warned(world) == []
    stopped = world.add(Outcome(**world.common("o"), execution="stopped", status="aborted"))
    assert warned(world) == [("outcome-without-decision", stopped)]


def test_a_denied_decision_alone_is_no_run() -> None:
    world = World()
    world.decide("never", allow=False, codes=["denied_by_policy"])
    assert warned(world) == []


@settings(max_examples=60, deadline=None)
@given(
    edges=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=25),
    since=st.just(0),
)
def test_cycles_are_found_exactly_where_a_search_finds_them(
    edges: list[tuple[int, int]], since: int
) -> None:
    world = World()
    for number in range(8):
        world.decide(f"r{number}")
    edges = [(a, b) for a, b in edges if a != b]
    for a, b in edges:
        world.edge("triggered_by", f"run:r{a}", f"run:r{b}")
    reach = {a: {b for x, b in edges if x == a} for a in range(8)}
    for _ in range(8):
        for ahead in reach.values():
            ahead |= {c for b in set(ahead) for c in reach[b]}
    found = [kind for kind, _ in warned(world, since=since)]
    assert ("cyclic-lineage" in found) == any(a in ahead for a, ahead in reach.items())
    assert set(found) <= {"cyclic-lineage"}


@settings(max_examples=200)
@given(
    said=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(EventRole), st.integers(0, 2))),
    is_whole=st.booleans(),
)
def test_what_is_left_out_as_telling_nothing_changes_no_judgement(
    said: list[tuple[int, EventRole, int]], is_whole: bool
) -> None:
    events = [(key, role << INDEX_BITS | at, extra) for at, (key, role, extra) in enumerate(said)]
    data = b"".join([EVENT.pack(*event) for event in events])
    found = judge(data, is_whole=is_whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relations, "_telling", lambda _: sorted(events))
        assert found == judge(data, is_whole=is_whole)


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(0, 40))
def test_a_record_says_the_same_however_it_was_read(cut: int) -> None:
    """Told by the pattern, read into its type, or read just as far as the events need it."""
    world, _ = story()
    entries = [*world.entries(), *decisions(30)]
    plain = [*(read_plain(entries[:cut], FORMS) or [None] * cut), *[None] * (len(entries) - cut)]
    hashes = leaf_hashes(entries)
    fresh = _read_shaped(entries[cut:]) or [None] * (len(entries) - cut)
    slow = extract(entries, [None] * len(entries), hashes, 5, world.origin)
    for how in (plain, [*plain[:cut], *fresh]):
        found = extract(entries, how, hashes, 5, world.origin)
        for part, expected in zip(found, slow, strict=True):
            assert sorted(EVENT.iter_unpack(part)) == sorted(EVENT.iter_unpack(expected))


def keyed(salt: bytes) -> NameKey:
    return lambda name: int.from_bytes(sha256(salt + name).digest()[:8], "big", signed=True)


def test_what_is_told_does_not_rest_on_the_keys() -> None:
    """Also of a cycle, where any edge could be called the one that closes it."""
    world, index = story()
    world.edge("triggered_by", "run:plan", "run:call")
    world.edge("triggered_by", "run:plan", "run:call")
    world.edge("triggered_by", "run:call", "run:nowhere")
    world.outcome("alone")
    world.decide("call", id_="d-call", subject="other")
    keys = [keyed(bytes([salt])) for salt in range(8)]
    told = [judged(world, key=one).as_json() for one in (name_key(probe()), name_key(0), *keys)]
    assert len(told[0]["warnings"]) > 3, index
    assert all(one == told[0] for one in told[1:])


def test_no_two_kinds_can_be_found_whose_things_have_one_key() -> None:
    """Neither with a hash that has a secret nor with one that is salted."""
    kinds = ["decision", "run", "agent", "file"]
    keys = [keyed(b"1"), keyed(b"2"), name_key(1), name_key(2)]
    told = [[thing_key(f"{kind}\0x", key) for kind in kinds] for key in keys]
    assert len({one for row in told for one in row}) == 16
    assert len({row[2] ^ row[3] for row in told}) == 4


@pytest.mark.parametrize(("seed", "is_own"), [(None, True), ("random", True), ("5", False)])
def test_which_hash_makes_the_keys(seed: str | None, is_own: bool) -> None:
    """The process's own only when its secret is one, and that of the process that asks for it."""
    program = (
        "from muniment.audit.thingkeys import name_key, probe;"
        "print(probe(), name_key(probe())(b'x') == hash(b'x'), name_key(5)(b'x'))"
    )
    others = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    environment = others | ({} if seed is None else {"PYTHONHASHSEED": seed})
    told = [
        subprocess.check_output([sys.executable, "-c", program], env=environment, text=True).split()
        for _ in range(2)
    ]
    digest = int.from_bytes(sha256(bytes(7) + b"\5x").digest()[:8], "big", signed=True)
    assert (told[0][0] != told[1][0]) == is_own
    assert [one[1:] for one in told] == [[str(is_own), str(digest)]] * 2


def test_an_id_that_comes_again_hides_no_missed_outcome() -> None:
    again = [(1, at, at) for at in (3, 5)]
    promised = (2, EventRole.PROMISED << INDEX_BITS | 7, 500)
    found = judge(
        b"".join([EVENT.pack(*event) for event in (*again, promised)]), is_whole=True, before=1000
    )
    assert [one.index for one in found.reuses] == [5]
    assert found.unended == [7]


def test_partitions_go_to_disk_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    world, _ = story()
    for number in range(200):
        world.outcome(f"alone-{number}")
    before = warned(world)
    monkeypatch.setattr(relationstore, "BUFFER", 1)
    assert warned(world) == before
    assert len(before) == 200
    assert len(extract([], [], [], 0, world.origin)) == PARTITIONS


def test_too_many_edges_are_not_searched_for_cycles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relationstore, "MAX_EDGES", 3)
    world, _ = story()
    world.edge("triggered_by", "run:plan", "run:call")
    assert not judged(world).are_cycles_checked


def test_bytes_that_are_no_record_make_no_event() -> None:
    junk = [b"", b"{", b"[]", b'{"kind":"edge"}', b"\xff", b"muniment/manifest/v1\n"]
    assert b"".join(extract(junk, [None] * len(junk), leaf_hashes(junk), 0, "o")) == b""


def troubled() -> LogSim:
    world, _ = story()
    world.producer = GATEWAY
    world.outcome("alone")
    sim = LogSim()
    sim.append([encode_record(one) for one in world.records if one.producer == GATEWAY])
    return sim


async def test_warnings_do_not_touch_the_verdict_and_are_in_the_json() -> None:
    sim = troubled()
    outcome = await audit(sim, options=PLAIN)
    report = outcome.report
    assert report.verdict is Verdict.CLEAN
    shown: dict[str, Any] = json.loads(json.dumps(report.as_json()))
    assert shown["relations"] == {
        "whole": True,
        "cycles_checked": True,
        "unresolved": 0,
        "counts": {"outcome-without-decision": 1},
    }
    assert shown["warnings"][0]["index"] == 0
    again = (await audit(sim, outcome.state, options=PLAIN)).report
    assert not again.warnings
    assert not again.are_relations_whole


async def test_times_that_a_log_would_not_take_any_more_are_warned_of() -> None:
    sim = LogSim()
    world = World()
    world.producer = GATEWAY
    sim.append(
        [
            plain_decision("d-1", NOW),
            plain_decision("d-2", NOW * 1000),
            plain_decision("d-3", 2**53 - 1),
        ]
    )
    world.decide("call", artifact=artifact(validity=Validity(not_before=NOW, not_after=2**33)))
    sim.append([encode_record(one) for one in world.records if one.producer == GATEWAY])
    report = (await audit(sim, options=PLAIN)).report
    assert report.verdict is Verdict.CLEAN
    assert [(one.kind, one.index) for one in report.warnings] == [
        ("implausible-time", 0),
        ("implausible-time", 2),
        ("implausible-time", 4),
    ]
    assert "can only be seconds" in report.warnings[0].sentence
    assert "artifact.validity.not_after" in report.warnings[2].sentence


async def test_the_command_prints_warnings(tmp_path: Any) -> None:
    (tmp_path / "trust.policy").write_text(logsim.POLICY_TEXT)
    async with troubled().serve() as url:
        done = await online("audit", "--log", url, "--policy", str(tmp_path / "trust.policy"))
    assert "outcome-without-decision" in done.output
