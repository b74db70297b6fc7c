"""Who takes part in the mesh: read in any pieces, it comes to the same."""

import json
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import logsim
from governed import World, artifact
from muniment.explore.members import MOST, TURNS, Members, drifting, join, members_of
from muniment.records.artifact import Binding, PolicyRef
from muniment.records.codec import encode_record
from muniment.records.kinds import Decision

DIGESTS = ["sha256:" + digit * 64 for digit in "abc"]


def deciding(world: World, revision: int, *, by: str = "gw.example/a", **members: Any) -> int:
    policy = PolicyRef(id="main", revision=str(revision), digest=DIGESTS[revision % 3])
    with world.speaking_as(by):
        return world.decide(None, artifact=artifact(policy=policy, **members))


def changed(world: World, kind: str, now: str, *, by: str = "gw.example/a") -> int:
    """A gateway's record about itself, as `muniment_gateway.deciding.changes` makes it."""
    with world.speaking_as(by):
        return world.add(
            Decision(
                **world.common("c"),
                request={
                    "subject": {"type": "gateway", "id": by},
                    "action": {"name": "muniment.change"},
                    "resource": {"type": f"muniment.{kind}", "id": "x"},
                    "context": {"subject": kind, "now": now},
                },
                response={"decision": True},
            )
        )


def in_pieces(entries: list[bytes], cuts: list[int]) -> Members:
    """Newest first, as pages read."""
    bounds = sorted({0, len(entries), *(cut % (len(entries) + 1) for cut in cuts)})
    found = members_of([], len(entries))
    for first, end in reversed(list(pairwise(bounds))):
        found = join(members_of(entries[first:end], first), found)
    return found


def test_a_gateway_decides_by_a_policy_since_its_first_decision_by_it() -> None:
    world = World()
    deciding(world, 1)
    second = deciding(world, 2)
    deciding(world, 2)
    deciding(world, 1, by="gw.example/b")
    members = members_of(world.entries(), 0)
    turns = members.gateways["gw.example/a"].policies["acme", "main"]
    assert (turns.now.index, turns.count) == (second, 2)
    assert turns.now.value == f'revision "2", {DIGESTS[2]}'
    [(key, revisions)] = drifting(members.gateways.items()).items()
    assert key == ("acme", "main")
    assert sorted(revisions.values()) == [["gw.example/a"], ["gw.example/b"]]


def test_gateways_that_decide_by_one_revision_do_not_drift() -> None:
    world = World()
    for number in range(4):
        deciding(world, 1, by=f"gw.example/{number}")
    assert drifting(members_of(world.entries(), 0).gateways.items()) == {}


def test_what_a_gateway_says_of_itself_and_what_others_say_of_it() -> None:
    world = World()
    changed(world, "mode", "observe")
    index = changed(world, "mode", "enforce")
    policy = {"id": "p", "revision": "7", "digest": DIGESTS[0]}
    changed(world, "policy of acme", json.dumps(policy))
    with world.speaking_as("stranger.example"):
        world.add(
            Decision(
                **world.common("c"),
                request=world.records[0].request,  # type: ignore[union-attr]
                response={"decision": True},
            )
        )
    members = members_of(world.entries(), 0)
    told = members.gateways["gw.example/a"].told
    assert (told["mode"].now.value, told["mode"].now.index) == ("enforce", index)
    assert told["policy of acme"].now.value == f'p revision "7", {DIGESTS[0]}'
    assert members.gateways["stranger.example"].told == {}


def test_silences_runtimes_and_keys() -> None:
    world = World()
    deciding(world, 1, binding=Binding(spiffe_id="spiffe://example.org/one"))
    world.time += 60_000
    deciding(world, 1, binding=Binding(thumbprint=DIGESTS[0]))
    world.outcome("run")
    members = members_of(world.entries(), 0)
    assert 60_000 <= members.gateways["gw.example/a"].longest < 60_010
    assert set(members.runtimes) == {"spiffe://example.org/one", DIGESTS[0]}
    assert members.gateways[world.producer].outcomes == 1
    sim = logsim.LogSim()
    sim.append([logsim.decision(0), logsim.decision(1)])
    [(name, gateway)] = members_of(sim.entries, 0).gateways.items()
    [key] = gateway.keys
    assert key.startswith(f"{name}+")


def test_many_names_take_bounded_memory() -> None:
    world = World()
    for number in range(3 * MOST):
        deciding(
            world,
            number,
            by=f"gw.example/{number}",
            binding=Binding(spiffe_id=f"spiffe://example.org/{number}"),
        )
    for number in range(20):
        deciding(world, number)
    members = in_pieces(world.entries(), list(range(0, 3 * MOST, 100)))
    assert len(members.gateways) <= 2 * MOST
    assert len(members.runtimes) <= 2 * MOST
    assert f"gw.example/{3 * MOST - 1}" in members.gateways
    assert len(members.gateways["gw.example/a"].policies["acme", "main"].kept) <= TURNS


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab"), st.integers(-3, 9)), max_size=60),
    st.lists(st.integers(0, 100), max_size=6),
)
@settings(max_examples=80, deadline=None)
def test_pieces_come_to_the_same_as_the_whole(
    records: list[tuple[int, str, int]], cuts: list[int]
) -> None:
    world = World()
    for revision, name, pause in records:
        world.time += pause
        if revision == 3:
            changed(world, "mode", str(pause % 2), by=f"gw.example/{name}")
        else:
            deciding(world, revision, by=f"gw.example/{name}")
    entries = [encode_record(record) for record in world.records]
    assert in_pieces(entries, cuts) == members_of(entries, 0)
