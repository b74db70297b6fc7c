"""Tracing by completeness proofs: the trace of a replica, and no further edge beside it."""

import asyncio
from collections.abc import Sequence

from complete_tools import Indexed
from governed import World, policy, story
from muniment.complete.keys import Key
from muniment.complete.prooffile import CompleteProof, verify_complete
from muniment.complete.tracing import CompleteTrace, trace_complete
from muniment.lineage import trace
from muniment.lineage.facts import Ref
from signing import NOW


def traced(world: World, execution: str) -> CompleteTrace:
    async def ask(
        keys: Sequence[Key], *, size: int, records: bool, limit: int | None = None
    ) -> CompleteProof:
        assert records
        assert size <= len(world.records)
        return Indexed.of(world).prove(keys, records=records, limit=limit or 0)

    work = trace_complete(execution, ask, lambda one: verify_complete(one, policy()), NOW)
    return asyncio.run(work)


def test_each_thing_has_all_its_edges() -> None:
    world, _ = story()
    world.revoke(execution="plan")
    found = traced(world, "call")
    assert found.trace == trace("call", world.facts(), NOW)
    assert not found.trace.continuous
    edges = {one.thing: one.indices for one in found.onward}
    assert edges == {
        Ref("run", "call"): (4, 5, 6),
        Ref("decision", "d-call"): (),
        Ref("agent", "sub"): (2,),
        Ref("run", "plan"): (1,),
        Ref("decision", "d-plan"): (),
        Ref("agent", "orch"): (),
    }
    assert all(one.is_whole for one in found.onward)
    words = {one.thing: one.sentence(8) for one in found.onward}
    assert words[Ref("run", "plan")] == "run plan: no further edge exists beside #1 as of size 8"
    assert words[Ref("agent", "orch")] == "agent orch: no edge leads on from it as of size 8"


def test_of_a_busy_agent_it_says_that_there_are_more() -> None:
    world, _ = story()
    for _ in range(300):
        world.edge("delegated_by", "agent:sub", "agent:orch")
    [agent] = [one for one in traced(world, "call").onward if one.thing == Ref("agent", "sub")]
    assert not agent.is_whole
    assert agent.sentence(307).endswith("more edges than 256 may exist as of size 307")


def test_a_run_that_nobody_knows_is_proven_to_be_unknown() -> None:
    world, _ = story()
    found = traced(world, "nobody")
    assert [one.kind for one in found.trace.breaks] == ["unknown_run"]
    assert dict(found.proof.lists)[Key("execution", ("nobody",))].count == 0
