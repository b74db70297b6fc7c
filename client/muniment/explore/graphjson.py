"""The graph of a run as JSON values: bounded, and every text made visible.

Things are numbered by their place in ``nodes``, the traced run being 0; edges, breaks and
revocations name them by these numbers. An edge leads from the later thing to the earlier one.
"""

from collections.abc import Mapping
from typing import Any, Final

from muniment.explore.escaping import visible
from muniment.lineage import Graph, Ref
from muniment.lineage.graph import GraphNode
from muniment.records.thingnames import thing_id

MOST: Final = 20
"""Phrases, breaks and times told of one thing; ``left_out`` says how many more there are."""

LONGEST: Final = 512
"""Characters of one text; a longer one is cut, and says so."""


def members(graph: Graph) -> dict[str, Any]:
    """The graph as JSON values."""
    numbers = {ref: number for number, ref in enumerate(graph.nodes)}
    return {
        "run": text(graph.traced.execution),
        "size": graph.traced.head.size,
        "continuous": graph.traced.continuous,
        "nodes": [_node(node, numbers) for node in graph.nodes.values()],
        "edges": [
            {
                "from": numbers[link.source],
                "to": numbers[link.target],
                "relation": link.relation,
                "leaf": link.index,
                "producer": text(link.producer),
                "time": link.time,
            }
            for link in graph.links
        ],
        "breaks": [
            {
                "kind": one.kind,
                "node": numbers.get(one.subject),
                "leaf": one.index,
                "sentence": text(one.sentence),
            }
            for one in graph.breaks
        ],
        "revocations": [
            {
                "node": numbers.get(one.subject),
                "leaf": one.index,
                "producer": text(one.producer),
                "since": one.since,
                "reason": text(one.reason),
            }
            for one in graph.revoked
        ],
        "left_out": graph.left_out,
        "is_cut_short": graph.is_cut_short,
        "unheard": len(graph.unheard),
    }


def text(value: str) -> str:
    """A text of the log, visible and of bounded length."""
    shown = visible(value[: LONGEST + 1])
    return shown if len(value) <= LONGEST else f"{shown[:LONGEST]}… ({len(value)} characters)"


def _node(node: GraphNode, numbers: Mapping[Ref, int]) -> dict[str, Any]:
    ref = node.ref
    told = {
        "said": [text(words) for words in node.said[:MOST]],
        "breaks": [
            {"kind": one.kind, "leaf": one.index, "sentence": text(one.sentence)}
            for one in node.breaks[:MOST]
        ],
        "warnings": [text(words) for words in node.warnings[:MOST]],
        "moments": [
            {
                "what": text(one.what),
                "time": one.time,
                "leaf": one.index,
                "producer": text(one.producer),
            }
            for one in node.moments[:MOST]
        ],
    }
    all_of = (node.said, node.breaks, node.warnings, node.moments)
    return {
        "n": numbers[ref],
        "type": ref.type,
        "id": text(thing_id(ref.id)),
        "name": ref.id if len(ref.id) <= LONGEST else None,
        "origin": None if ref.origin is None else text(ref.origin),
        "owner": numbers.get(node.owner) if node.owner is not None else None,
        "side": node.side,
        "answer": node.answer,
        "ended": node.ended,
        "revoked": node.is_revoked,
        "cut": node.is_cut,
        **told,
        "left_out": sum(max(0, len(one) - MOST) for one in all_of),
    }
