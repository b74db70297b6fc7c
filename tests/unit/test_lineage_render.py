"""Renderers: what they show, and hostile text in every one of them."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governed import GATEWAY, World, story
from muniment.lineage import FORMATS, Break, Head, Hop, Ref, Trace, escape, render, trace
from muniment.lineage.prov import KINDS, RELATIONS, prov_document
from muniment.records.check import ENDPOINTS
from muniment.records.kinds import Thing
from muniment.records.members import MAX_ID
from signing import NOW

LEAF = "A" * 43 + "="


def test_the_tree_shows_each_hop_with_its_index() -> None:
    world, _ = story()
    text = render(trace("call", world.facts(), NOW), "tree")
    assert text == (
        "run call: continuous, in log.example/one at size 7\n"
        "  ended: not told\n"
        f"  authorized_by decision d-call #4 by {GATEWAY} [allow #3 {GATEWAY}]\n"
        f"  performed_by agent sub #5 by {GATEWAY}\n"
        f"    delegated_by agent orch #2 by {GATEWAY}\n"
        f"  triggered_by run plan #6 by {GATEWAY} [ended: not told]\n"
        f"    authorized_by decision d-plan #0 by {GATEWAY} [allow #0 {GATEWAY}]\n"
        f"    performed_by agent orch #1 by {GATEWAY}\n"
    )


def test_breaks_stand_where_they_are() -> None:
    world, _ = story()
    world.revoke(execution="plan")
    text = render(trace("call", world.facts(), NOW), "tree")
    assert "1 break(s)" in text.splitlines()[0]
    at = text.index("triggered_by run plan #6")
    assert text[at:].splitlines()[1].strip().startswith("! revoked_execution: expected run plan")


def test_a_thing_that_comes_twice_is_expanded_once() -> None:
    world, _ = story()
    world.decide("other")
    world.edge("triggered_by", "run:call", "run:other")
    world.edge("triggered_by", "run:other", "run:plan")
    text = render(trace("call", world.facts(), NOW), "tree")
    assert text.count("d-plan") == 1
    assert text.count("(see above)") == 1


def test_long_chains_stay_linear() -> None:
    world = World()
    for number in range(400):
        world.decide(f"r{number}")
        if number:
            world.edge("triggered_by", f"run:r{number}", f"run:r{number - 1}")
    text = render(trace("r399", world.facts(), NOW), "tree")
    assert len(text) < 400 * 300
    assert "(399) authorized_by" in text


def test_links_into_other_logs_are_marked() -> None:
    world, _ = story()
    world.edge("triggered_by", "run:call", "run:far", origin="other/log", index=5, leaf=LEAF)
    found = trace("call", world.facts(), NOW)
    assert "run far in other/log #5 (not verified here) #7" in render(found, "tree")
    assert "dashed" in render(found, "dot")
    hop = next(one for one in json.loads(render(found, "json"))["hops"] if one["index"] == 7)
    assert hop["to"] == {
        "type": "run",
        "id": "far",
        "origin": "other/log",
        "index": 5,
        "leaf": LEAF,
    }
    assert "ext:other%2Flog.run.far" in prov_document(found)["activity"]


def test_json_says_what_the_trace_does() -> None:
    world, _ = story()
    world.revoke(decision="d-plan")
    found = json.loads(render(trace("call", world.facts(), NOW), "json"))
    assert found["continuous"] is False
    assert found["origins"] == ["plan"]
    assert [one["kind"] for one in found["breaks"]] == ["revoked_decision"]
    assert found["breaks"][0]["index"] == 7
    assert found["head"] == {"origin": "log.example/one", "size": 8, "time": NOW}


def test_prov_json_names_every_relation_and_thing() -> None:
    """PROV-JSON, member submission: each relation with its two ends declared as what PROV says."""
    assert set(RELATIONS) == set(ENDPOINTS)
    ends = {
        "prov:activity": "activity",
        "prov:informed": "activity",
        "prov:informant": "activity",
        "prov:entity": "entity",
        "prov:generatedEntity": "entity",
        "prov:usedEntity": "entity",
        "prov:agent": "agent",
        "prov:delegate": "agent",
        "prov:responsible": "agent",
    }
    for relation, (_, later, earlier) in RELATIONS.items():
        sources, targets = ENDPOINTS[relation]
        assert {KINDS[one] for one in sources} == {ends[later]}
        assert {KINDS[one] for one in targets} == {ends[earlier]}
    world, _ = story()
    document = prov_document(trace("call", world.facts(), NOW))
    assert document["wasInformedBy"] == {
        "_:leaf6": {
            "prov:informed": "run:call",
            "prov:informant": "run:plan",
            "prov:type": {"$": "muniment:triggered_by", "type": "prov:QUALIFIED_NAME"},
            "muniment:leaf": 6,
            "muniment:producer": GATEWAY,
        }
    }
    assert set(document["activity"]) == {"run:call", "run:plan"}
    assert set(document["agent"]) == {"agent:sub", "agent:orch"}
    assert document["entity"]["decision:d-call"]["muniment:allowed"] is True
    assert document["actedOnBehalfOf"]["_:leaf2"]["prov:responsible"] == "agent:orch"
    for member, names in document.items():
        for name in names if member != "prefix" else ():
            prefix = name.partition(":")[0]
            assert prefix == "_" or prefix in document["prefix"]


HOSTILE = [
    '"];evil[label="x',
    "\\",
    '\\"',
    "]-->|x|evil",
    "<script>alert(1)</script>",
    "`;#quot;",
    "%%{init:{}}%%",
    "\x1b[2J",
    "a\nb",
    "\u202eevil",
    "\x9b31m",
    "\u2028",
    "\ud800",
    "end",
]


def hostile(text: str) -> Trace:
    """A trace whose every name is hostile; more than records would let through."""
    start, target = Ref("run", text), Ref("decision", text, text)
    external = Thing(type="decision", id=text, origin=text, index=1, leaf=LEAF)
    return Trace(
        text,
        Head(text, 1, NOW),
        (
            Hop(0, 0, "authorized_by", start, target, external),
            Hop(0, 1, "triggered_by", start, Ref("run", text + "x")),
        ),
        (),
        (text,),
        (Break("cycle", start, 0, "ordinary", escape.terminal(text)),),
        {},
    )


def check_hostile(text: str) -> None:
    found = hostile(text)
    plain = hostile("plain")
    for format_ in ("tree", "dot", "mermaid"):
        shown = render(found, format_)  # type: ignore[arg-type]
        assert shown.isascii()
        assert all(line.isprintable() for line in shown.split("\n"))
        assert shown.count("\n") == render(plain, format_).count("\n")  # type: ignore[arg-type]
    string = r'"(?:[^"\\]|\\.)*"'
    skeleton = [re.sub(string, "S", render(one, "dot")) for one in (found, plain)]
    assert skeleton[0] == skeleton[1]
    skeleton = [re.sub(r'"[^"]*"', "S", render(one, "mermaid")) for one in (found, plain)]
    assert skeleton[0] == skeleton[1]
    for inside in re.findall(r'"([^"]*)"', render(found, "mermaid")):
        assert not set(re.sub(r"#\d+;", "", inside)) & set('<>[]{}()|`"\\%;#&:*')
    assert json.loads(render(found, "json"))["execution"] == text
    for section in ("activity", "entity"):
        for name in json.loads(render(found, "prov-json"))[section]:
            assert re.fullmatch(r"[a-z]+:[A-Za-z0-9%._~-]*", name)


@pytest.mark.parametrize("text", [one for one in HOSTILE if one != "\ud800"])
def test_hostile_names_do_not_break_out(text: str) -> None:
    check_hostile(text)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=MAX_ID))
def test_no_text_breaks_out(text: str) -> None:
    check_hostile(text)


def test_every_format_ends_with_a_newline() -> None:
    world, _ = story()
    for format_ in FORMATS:
        assert render(trace("call", world.facts(), NOW), format_).endswith("\n")
