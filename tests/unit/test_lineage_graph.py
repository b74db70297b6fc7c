"""The graph of a run: its lineage, what followed from it, and what a revocation cuts."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

import index_tools
from governed import GATEWAY, World, story
from muniment.lineage import Ref, descending_runs, graph_of, trace
from muniment.lineage.graph import Graph, GraphNode
from signing import NOW


def run(id_: str) -> Ref:
    return Ref("run", id_)


def node(graph: Graph, id_: str) -> GraphNode:
    return graph.nodes[run(id_)]


def test_a_run_has_before_it_what_led_to_it_and_after_it_what_followed() -> None:
    world, _ = story()
    world.decide("after")
    world.edge("triggered_by", "run:after", "run:call")
    world.decide("aside")
    world.edge("triggered_by", "run:after", "run:aside")
    graph = graph_of("call", world.facts(), NOW)
    assert {one.ref.id: one.side for one in graph.runs} == {
        "call": "traced",
        "plan": "before",
        "after": "after",
        "aside": "beside",
    }
    assert graph.breaks == ()
    assert graph.runs[0].ref.id == "call"
    agent = graph.nodes[Ref("agent", "orch")]
    assert (agent.side, agent.owner) == ("before", run("plan"))
    assert node(graph, "call").said == [f"allow by {GATEWAY}", "performed by sub"]
    assert node(graph, "call").answer == "allow"


def test_the_verdict_is_that_of_the_run_alone() -> None:
    world, _ = story()
    world.edge("triggered_by", "run:unallowed", "run:call")
    graph = graph_of("call", world.facts(), NOW)
    assert graph.traced == trace("call", world.facts(), NOW)
    assert graph.traced.continuous
    assert [one.kind for one in node(graph, "unallowed").breaks] == ["unauthorized_run"]


def test_a_revoked_run_cuts_what_descends_from_it_and_nothing_else() -> None:
    world, _ = story()
    for child, parent in (("b", "call"), ("c", "b"), ("other", "plan")):
        world.decide(child)
        world.edge("triggered_by", f"run:{child}", f"run:{parent}")
    index = world.revoke(execution="call")
    graph = graph_of("plan", world.facts(), NOW)
    marks = {one.ref.id: (one.is_revoked, one.is_cut) for one in graph.runs}
    assert marks == {
        "plan": (False, False),
        "call": (True, False),
        "b": (False, True),
        "c": (False, True),
        "other": (False, False),
    }
    assert [(one.index, one.producer, one.reason) for one in graph.revoked] == [
        (index, GATEWAY, "because")
    ]
    before = graph_of("plan", world.facts(), NOW - 11)
    assert before.revoked == ()


def test_a_revoked_decision_cuts_what_its_run_led_to() -> None:
    world, _ = story()
    world.revoke(decision="d-plan")
    graph = graph_of("call", world.facts(), NOW)
    assert graph.nodes[Ref("decision", "d-plan")].is_revoked
    assert node(graph, "call").is_cut
    assert not node(graph, "plan").is_cut


def test_a_stranger_cannot_make_a_run_descend_from_another() -> None:
    world, _ = story()
    world.decide("mine")
    with world.speaking_as("stranger.example"):
        world.edge("triggered_by", "run:mine", "run:call")
    graph = graph_of("call", world.facts(), NOW)
    assert run("mine") not in graph.nodes
    assert graph.breaks == ()


def test_a_decision_that_is_left_out_leaves_its_break_at_its_run() -> None:
    world, _ = story()
    world.revoke(decision="d-plan")
    graph = graph_of("call", world.facts(), NOW, edges=1)
    assert len(graph.links) == 1
    assert graph.left_out == 5
    assert [one.kind for one in node(graph, "plan").breaks] == ["revoked_decision"]
    assert node(graph, "call").said[0] == f"allow by {GATEWAY}"


def test_of_too_many_that_followed_the_nearest_are_shown_and_it_is_said() -> None:
    world = World()
    world.decide("root")
    for number in range(30):
        world.decide(f"r{number}")
        world.edge("triggered_by", f"run:r{number}", "run:root" if number < 10 else "run:r0")
    graph = graph_of("root", world.facts(), NOW, edges=12)
    assert graph.is_cut_short
    assert {f"r{number}" for number in range(10)} <= {one.ref.id for one in graph.runs}
    assert not graph_of("root", world.facts(), NOW).is_cut_short


def test_ten_thousand_runs_and_a_chain_of_thousands() -> None:
    world = World()
    world.decide("r0")
    for number in range(1, 10_001):
        world.edge("triggered_by", f"run:r{number}", f"run:r{(number - 1) // 3}")
        world.decide(f"r{number}")
    graph = graph_of("r0", world.facts(), NOW)
    assert len(graph.links) == 10_000
    assert len(graph.runs) == 10_001
    assert graph.left_out == 10_001  # the decisions, which their runs tell of
    assert all(one.answer == "allow" for one in graph.runs)


@given(st.integers(0, 1 << 32))
@settings(max_examples=60)
def test_any_records_make_a_graph_whose_ends_are_its_own(seed: int) -> None:
    random = Random(seed)
    entries = index_tools.make_entries(random, 60)
    facts = index_tools.naive_facts(entries, len(entries))
    name = str(random.randrange(12))
    graph = graph_of(name, facts, NOW, edges=random.choice((1, 5, 1000)))
    assert graph.nodes[run(name)].side == "traced"
    for link in graph.links:
        assert {link.source, link.target} <= graph.nodes.keys()
    alone = trace(name, facts, NOW)
    assert set(alone.breaks) <= set(graph.breaks)
    assert all(one.owner is None or one.owner.type == "run" for one in graph.nodes.values())
    claimed, _ = descending_runs(name, facts)
    after = {one.ref.id for one in graph.runs if one.side == "after"}
    assert after <= set(claimed)


def test_runs_of_three_runtimes_are_one_lineage() -> None:
    """Each run has a gateway of its own, which says by which run it was triggered."""
    world = World()
    parent = None
    for name in ("mcp", "proxy", "sdk"):
        with world.speaking_as(f"gw.example/{name}"):
            world.decide(name)
            world.edge("performed_by", f"run:{name}", f"agent:{name}")
            if parent is not None:
                world.edge("triggered_by", f"run:{name}", f"run:{parent}")
        parent = name
    graph = graph_of("proxy", world.facts(), NOW)
    assert graph.breaks == ()
    assert {one.ref.id: (one.side, one.said[0]) for one in graph.runs} == {
        "mcp": ("before", "allow by gw.example/mcp"),
        "proxy": ("traced", "allow by gw.example/proxy"),
        "sdk": ("after", "allow by gw.example/sdk"),
    }
