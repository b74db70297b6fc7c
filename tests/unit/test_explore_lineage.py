"""The lineage pages of the explorer, without a browser: the list, and the JSON of the graph."""

import json
from pathlib import Path
from urllib.parse import quote

from explore_tools import explored, read, sim_of
from governed import World, artifact, story
from logsim import NOW, ORIGIN
from muniment.explore.graphjson import LONGEST, MOST, members, text
from muniment.lineage import graph_of
from muniment.records.thingnames import thing_name

HOSTILE = "</text><script>alert(1)</script>\u202e\u2066" + "x" * 900


def branching() -> World:
    """A plan whose run leads to others; one of these is revoked, and one that nobody allowed."""
    world = World(ORIGIN)
    world.decide("plan", id_="d-plan", subject="orch")
    world.edge("performed_by", "run:plan", "agent:orch")
    world.edge("delegated_by", "agent:sub", "agent:orch")
    world.decide("call", id_="d-call", artifact=artifact())
    world.edge("performed_by", "run:call", "agent:sub")
    world.edge("triggered_by", "run:call", "run:plan")
    for child, parent in (("write", "call"), ("mail", "write")):
        world.decide(child)
        world.edge("triggered_by", f"run:{child}", f"run:{parent}")
    world.edge("triggered_by", "run:sneaked", "run:call")
    world.outcome("call")
    world.revoke(execution="write")
    return world


async def test_the_list_says_all_without_a_script(tmp_path: Path) -> None:
    async with explored(sim_of(branching()), tmp_path) as explorer:
        page = await read(explorer, "lineage?run=plan")
        for words in (
            "Continuous",
            "followed from it or led to that: 2 breaks",
            "revoked_execution",
            "unauthorized_run",
            "cut by a revocation",
            "because",
            "acts for",
            "completed",
        ):
            assert words in page
        by_path = await read(explorer, "lineage/plan")
        assert by_path == page
        broken = await read(explorer, "lineage?run=mail")
        assert "Not continuous" in broken
        earlier = await read(explorer, f"lineage?run=mail&at={NOW - 11}")
        assert "Not continuous" not in earlier
        assert "plan" in await read(explorer, "lineage")


async def test_what_is_asked_for_wrongly_is_named(tmp_path: Path) -> None:
    async with explored(sim_of(branching()), tmp_path) as explorer:
        assert "2027-01-31T00:00:00Z" in await read(
            explorer, "lineage?run=plan&at=soon", status=400
        )
        assert "?run=ID" in await read(explorer, "lineage.json", status=400)
        await read(explorer, "lineage?run=" + "x" * 3000, status=400)
        assert "unknown_run" in await read(explorer, "lineage?run=nobody")


async def test_the_json_is_the_graph(tmp_path: Path) -> None:
    async with explored(sim_of(branching()), tmp_path) as explorer:
        for at in ("", f"&at={NOW - 11}", "&at=2026-09-21T14:13:00Z"):
            graph = json.loads(await read(explorer, f"lineage.json?run=plan{at}"))
            assert {one["id"] for one in graph["nodes"] if one["type"] == "run"} == {
                "plan",
                "call",
                "write",
                "mail",
                "sneaked",
            }
            marked = {one["id"] for one in graph["nodes"] if one["revoked"] or one["cut"]}
            assert marked == (set() if at else {"write", "mail"})
            assert len(graph["revocations"]) == (0 if at else 1)
            for edge in graph["edges"]:
                assert {edge["from"], edge["to"]} <= set(range(len(graph["nodes"])))


async def test_ids_of_any_kind_are_text(tmp_path: Path) -> None:
    world = World(ORIGIN)
    run = "<img/src=x>&'\"%2F..//?#"
    world.decide(run, subject=HOSTILE)
    world.edge("performed_by", f"run:{run}", f"agent:{thing_name(HOSTILE)}")
    async with explored(sim_of(world), tmp_path) as explorer:
        page = await read(explorer, f"lineage?run={quote(run, safe='')}")
        assert "<img/src" not in page
        assert "&lt;img/src=x&gt;" in page
        assert "\u202e" not in page
        assert "Continuous" in page
        assert await read(explorer, f"lineage/{quote(run, safe='')}") == page
        graph = json.loads(await read(explorer, f"lineage.json?run={quote(run, safe='')}"))
        [agent] = [one for one in graph["nodes"] if one["type"] == "agent"]
        assert "\\u202e" in agent["id"]
        assert agent["id"].endswith(f"({len(HOSTILE)} characters)")


async def test_ten_thousand_edges_are_listed_page_by_page(tmp_path: Path) -> None:
    world = World(ORIGIN)
    world.decide("root")
    for number in range(10_050):
        world.edge("triggered_by", "run:root", f"run:parent-{number}")
    async with explored(sim_of(world), tmp_path) as explorer:
        page = await read(explorer, "lineage?run=root")
        assert "50 relations are left out" in page or "51 relations are left out" in page
        assert page.count("<tr id=") == 100
        assert "from=100" in page
        last = await read(explorer, "lineage?run=root&from=10000")
        assert 0 < last.count("<tr id=") < 100
        graph = json.loads(await read(explorer, "lineage.json?run=root"))
        assert len(graph["edges"]) == 10_000
        assert len(graph["nodes"][0]["breaks"]) <= MOST


def test_what_is_told_of_one_thing_is_bounded() -> None:
    world, _ = story()
    for _ in range(50):
        world.decide("call")
    told = members(graph_of("call", world.facts(), NOW))
    assert len(told["nodes"][0]["said"]) == MOST
    assert told["nodes"][0]["left_out"] > 30
    assert len(text("y" * 5000)) < LONGEST + 30
