"""Lineage: who allowed what, through every delegation.

Pure: all that is known of a log comes in through `facts.Facts`. `trace` goes from a run to the
origin of its authorization and names every break, `walk` follows all edges either way, `render`
shows a trace, `bundle` carries the proof of one; `graph` adds what followed from the run.
"""

from muniment.lineage.bundle import (
    Bundle,
    VerifiedBundle,
    build_bundle,
    parse_bundle,
    verify_bundle,
)
from muniment.lineage.facts import (
    Facts,
    FactsError,
    FactsHead,
    Found,
    Interval,
    MemoryFacts,
    Page,
    Ref,
    TargetRef,
    head_of,
    ref_of,
    targets_of,
)
from muniment.lineage.graph import Graph, graph_of
from muniment.lineage.model import (
    BREAK_KINDS,
    NOT_TOLD,
    REVOKED,
    Break,
    BreakKind,
    Hop,
    RunState,
    Trace,
    TraceWarning,
    Unheard,
)
from muniment.lineage.multiproof import plan_multiproof, root_from_multiproof
from muniment.lineage.render import FORMATS, Format, render
from muniment.lineage.trace import trace
from muniment.lineage.walk import Direction, Step, Walk, descending_runs, walk
from muniment.records.manifest import Signed

Head = FactsHead  # its public name since 0.1

__all__ = [
    "BREAK_KINDS",
    "FORMATS",
    "NOT_TOLD",
    "REVOKED",
    "Break",
    "BreakKind",
    "Bundle",
    "Direction",
    "Facts",
    "FactsError",
    "FactsHead",
    "Format",
    "Found",
    "Graph",
    "Head",
    "Hop",
    "Interval",
    "MemoryFacts",
    "Page",
    "Ref",
    "RunState",
    "Signed",
    "Step",
    "TargetRef",
    "Trace",
    "TraceWarning",
    "Unheard",
    "VerifiedBundle",
    "Walk",
    "build_bundle",
    "descending_runs",
    "graph_of",
    "head_of",
    "parse_bundle",
    "plan_multiproof",
    "ref_of",
    "render",
    "root_from_multiproof",
    "targets_of",
    "trace",
    "verify_bundle",
    "walk",
]
