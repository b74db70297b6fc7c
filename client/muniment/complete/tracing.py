"""Tracing a run by completeness proofs: every edge that leads on from each thing on the way."""

from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from muniment.complete.asking import Ask, explore
from muniment.complete.facts import CompleteFacts
from muniment.complete.keys import Key
from muniment.complete.prooffile import CompleteProof, VerifiedComplete
from muniment.lineage.escape import terminal
from muniment.lineage.facts import PAGE, Facts, Ref
from muniment.lineage.model import Trace
from muniment.lineage.moments import TOLERANCE
from muniment.lineage.trace import trace
from muniment.tlog.note import VKey


class Onward(NamedTuple):
    """The edges from a thing of a lineage, to what came before it.

    `indices` are their leaves, `is_whole` whether these are all there are at the size of the log.
    """

    thing: Ref
    indices: tuple[int, ...]
    is_whole: bool

    def sentence(self, size: int) -> str:
        """What is proven of the thing."""
        name = f"{self.thing.type} {terminal(self.thing.id)}"
        if not self.is_whole:
            return f"{name}: more edges than {len(self.indices)} may exist as of size {size}"
        if not self.indices:
            return f"{name}: no edge leads on from it as of size {size}"
        leaves = ", ".join(f"#{index}" for index in self.indices)
        return f"{name}: no further edge exists beside {leaves} as of size {size}"

    def members(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "thing": {"type": self.thing.type, "id": self.thing.id},
            "edges": list(self.indices),
            "whole": self.is_whole,
        }


class CompleteTrace(NamedTuple):
    """A trace, the proof that it rests on, and the edges from each thing of it."""

    trace: Trace
    proof: CompleteProof
    onward: tuple[Onward, ...]


async def trace_complete(
    execution: str,
    ask: Ask,
    verify: Callable[[CompleteProof], VerifiedComplete],
    now: int,
    *,
    gateways: Collection[VKey] | None = None,
    tolerance: int = TOLERANCE,
    leeway: int = 0,
    at: int | None = None,
) -> CompleteTrace:
    """Traces a run, and proves of each thing on the way that no further edge leads on from it.

    Args:
        execution: The run.
        ask: How to ask the log.
        verify: Verifies a proof; see `prooffile.verify_complete`.
        now: Unix seconds.
        gateways: See `lineage.trace.trace`.
        tolerance: The same.
        leeway: The same.
        at: Count the revocations in force then, Unix seconds, instead of now.

    Raises:
        VerificationError: If a proof does not verify, or lacks what it names.
        MunimentError: What `ask` raises.
    """

    def traced(facts: Facts) -> Trace:
        return trace(
            execution,
            facts,
            now if at is None else at,
            gateways=gateways,
            tolerance=tolerance,
            leeway=leeway,
        )

    def look(facts: CompleteFacts) -> None:
        facts.edges_from(_things(traced(facts)))

    first = Key("execution", (execution,))
    proof, verified = await explore([first], ask, look, verify, size=0, now=now)
    facts = CompleteFacts(verified, now=now)
    found = traced(facts)
    return CompleteTrace(found, proof, tuple(_onward(_things(found), facts)))


def _things(found: Trace) -> list[Ref]:
    """The things of a trace that are of this log, the run first."""
    ends = [end for hop in found.hops for end in (hop.source, hop.target)]
    things = dict.fromkeys((Ref("run", found.execution), *ends))
    return [thing for thing in things if thing.origin is None]


def _onward(things: list[Ref], facts: CompleteFacts) -> Iterable[Onward]:
    for thing, page in zip(things, facts.edges_from(things, limit=PAGE), strict=True):
        yield Onward(thing, tuple(one.index for one in page.entries), not page.more)
