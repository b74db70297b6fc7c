"""The names of things in edges: any id has one, no two have the same, and it leads back."""

import re
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governed import World
from muniment.gateway.runs import run_edges
from muniment.lineage import MemoryFacts, render, trace
from muniment.records.members import MAX_NAME
from muniment.records.thingnames import ENCODED, HASHED, thing_id, thing_name
from muniment.tlog.encoding import FormatError
from signing import NOW

TABLE = {
    "planner": "planner",
    "spiffe://example.org/agent": "spiffe://example.org/agent",
    "50%": "50%",
    "a%20b": "a%20b",
    "a b": "UTF-8''a%20b",
    "": "UTF-8''",
    "Réseau": "UTF-8''R%C3%A9seau",
    "研究员": "UTF-8''%E7%A0%94%E7%A9%B6%E5%91%98",
    "é%": "UTF-8''%C3%A9%25",
    "UTF-8''a": "UTF-8''UTF-8''a",
    "SHA-256''a": "UTF-8''SHA-256''a",
    "line\nbreak": "UTF-8''line%0Abreak",
}


@pytest.mark.parametrize(("id_", "name"), TABLE.items())
def test_each_id_has_its_name(id_: str, name: str) -> None:
    assert thing_name(id_) == name
    assert thing_id(name) == id_


PIECES = st.sampled_from(
    ["UTF-8''", "SHA-256''", "%", "%25", "%20", " ", "a", "é", "e\u0301", "\0"]
)


@given(st.lists(PIECES, max_size=5).map("".join), st.lists(PIECES, max_size=5).map("".join))
def test_no_two_ids_have_one_name(one: str, other: str) -> None:
    assert (thing_name(one) == thing_name(other)) == (one == other)
    assert thing_id(thing_name(one)) == one
    assert re.fullmatch(rf"[!-~]{{1,{MAX_NAME}}}", thing_name(one))


@given(st.text(min_size=600, max_size=3000))
def test_an_id_of_any_length_has_a_name(id_: str) -> None:
    assert re.fullmatch(rf"[!-~]{{1,{MAX_NAME}}}", thing_name(id_))


def test_what_is_too_long_has_its_digest_for_a_name() -> None:
    long = ["a" * (MAX_NAME + 1), "é" * MAX_NAME, "é" * (MAX_NAME + 1)]
    names = [thing_name(one) for one in long]
    assert all(name.startswith(HASHED) for name in names)
    assert all(one != other for one, other in combinations(names, 2))
    assert thing_name("a" * MAX_NAME) == "a" * MAX_NAME
    assert [thing_id(name) for name in names] == names  # the decision has the id


@pytest.mark.parametrize("name", ["UTF-8''a", "UTF-8''%e9", "UTF-8''%zz", "UTF-8''%C3%a9", "x y"])
def test_what_is_no_name_of_an_id_stands_for_itself(name: str) -> None:
    assert thing_id(name) == name


def test_a_lone_surrogate_has_no_name() -> None:
    with pytest.raises(FormatError, match="lone surrogate"):
        thing_name("a\udcff")


def test_a_lineage_of_agents_of_any_name_is_whole_and_shows_them() -> None:
    world = World()
    world.decide("plan", id_="d-plan", subject="Travel Desk")
    [_, performed] = run_edges("plan", decision="d-plan", agent="Travel Desk")
    world.edge("performed_by", "run:plan", f"agent:{performed['to']['id']}")
    world.decide("call", id_="d-call", subject='研究员 "1"')
    edges = run_edges("call", agent='研究员 "1"', parent="plan", delegator="Travel Desk")
    for one in edges:
        ends = [f"{one[end]['type']}:{one[end]['id']}" for end in ("from", "to")]
        world.edge(one["relation"], *ends)
    found = trace("call", MemoryFacts(world.facts().head, list(enumerate(world.records))), NOW)
    assert found.continuous, found.breaks
    tree = render(found, "tree")
    assert "agent 'Travel Desk'" in tree
    assert r"""agent '\u7814\u7a76\u5458 "1"'""" in tree
    assert '"original": "Travel Desk"' in render(found, "json")
    assert ENCODED not in tree
