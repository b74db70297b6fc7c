"""What a trace is made of: hops, breaks, and the verdict.

The types only; `trace` says how they come about.
"""

from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

from muniment.lineage.facts import FactsHead, Found, Ref
from muniment.records.kinds import Decision, Outcome, Record, Relation, Thing, Verification

BreakKind: TypeAlias = Literal[
    "unknown_run",
    "dangling_parent",
    "dangling_decision",
    "unauthorized_run",
    "contested_run",
    "misbound_decision",
    "conflicting_decision",
    "later_record",
    "late_authorization",
    "expired_authorization",
    "revoked_decision",
    "revoked_execution",
    "revoked_key",
    "unauthorized_delegation",
    "cycle",
    "truncated",
]
"""Why a lineage is not continuous. Stable: programs compare them.

- `unknown_run`: the log says nothing of the traced run;
- `dangling_parent`: a run was triggered by one that the log says nothing of;
- `dangling_decision`: a run was authorised by a decision that is not in the log;
- `unauthorized_run`: no allowing decision is bound to a run;
- `contested_run`: a run is both allowed and denied, or two producers whose word counts decide on
  it;
- `misbound_decision`: a run claims a decision that authorises another run;
- `conflicting_decision`: one producer has logged two decisions with one id;
- `later_record`: an edge leads to something that the log learnt of only after it;
- `late_authorization`: a run ended, or triggered another, before its decision was logged;
- `expired_authorization`: a run ended, or triggered another, outside its decision's validity, or at
  a time that the witnesses refute and that may have been outside it;
- `revoked_decision`, `revoked_execution`, `revoked_key`: a revocation is in force;
- `unauthorized_delegation`: an agent acts for one that no allowing decision of the lineage names;
- `cycle`: a thing is its own ancestor;
- `truncated`: a bound was reached, so something may be missing.
"""

BREAK_KINDS: Final[tuple[BreakKind, ...]] = get_args(BreakKind)

REVOKED: Final[frozenset[BreakKind]] = frozenset(
    {"revoked_decision", "revoked_execution", "revoked_key"}
)
"""The kinds that are a revocation's work."""


class Break(NamedTuple):
    """One reason why a lineage is not continuous.

    `index` is the leaf of the record concerned; None when the point is that there is none. In
    `expected` and `found`, ids are visible ASCII, and whatever else strangers wrote is escaped.
    """

    kind: BreakKind
    subject: Ref
    index: int | None  # type: ignore[assignment]  # hides tuple.index, which a break never uses
    expected: str
    found: str

    @property
    def sentence(self) -> str:
        """The reason as a sentence."""
        return f"expected {self.expected}, found {self.found}"


class Hop(NamedTuple):
    """One link of a lineage: how the later thing, `source`, depends on the earlier `target`.

    Attributes:
        depth: Runs between the traced one and this link: 0 for its own links.
        index: Leaf index of the record that states it: an edge, or the decision itself.
        relation: How the one depends on the other.
        source: The later thing.
        target: The earlier thing; with an origin, a thing of another log.
        external: For a thing of another log, where it is recorded there; else None.
        producer: Who states it.
    """

    depth: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which a hop has no use for
    relation: Relation
    source: Ref
    target: Ref
    external: Thing | None = None
    producer: str = ""


NOT_TOLD: Final = "not told"
"""How a run ended on which no outcome that counts is logged."""


class RunState(NamedTuple):
    """What became of one run of a lineage, `depth` runs from the traced one.

    `issuers` are those whose word counts for it, sorted; none when nobody has decided on it.
    `ended` is the status of its first outcome that tells how it ended (``completed``, ``failed``,
    ``aborted``), else ``unknown`` or NOT_TOLD.
    """

    id: str
    depth: int
    issuers: tuple[str, ...]
    ended: str
    outcomes: tuple[Found[Outcome], ...]
    verifications: tuple[Found[Verification], ...]


class Unheard(NamedTuple):
    """What a stranger said, whose word does not count for the thing. It decides nothing."""

    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    subject: Ref
    producer: str
    said: str


WarningKind: TypeAlias = Literal["implausible_time"]
"""What is no break, and worth knowing. Stable: programs compare them.

- `implausible_time`: a producer states a time at which the log cannot have taken the record, by
  what its witnesses' cosignatures attest.
"""


class TraceWarning(NamedTuple):
    """Something worth knowing that breaks nothing by itself: what `producer` made at a leaf."""

    kind: WarningKind
    subject: Ref
    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    producer: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Trace:
    """The lineage of a run back to the origin of its authorization.

    Attributes:
        execution: The traced run.
        head: The state of the log that the answer reflects.
        hops: Links by depth, then in the order of the log.
        decisions: The decisions bound to the runs of the lineage, in the order of the log.
        origins: The runs at which the lineage begins: not triggered by another.
        breaks: Why it is not continuous, in the order of the runs, then of `BreakKind`.
        records: Every record that was consulted, by leaf index, ascending: what a bundle holds.
        runs: What became of each run, nearest first.
        unheard: What strangers said of the lineage, in the order of the log; it decides nothing.
        warnings: What is remarkable and breaks nothing, in the order of the log.
        manifests: Leaf indices of the manifests that were consulted for who signed a record.
    """

    execution: str
    head: FactsHead
    hops: tuple[Hop, ...]
    decisions: tuple[Found[Decision], ...]
    origins: tuple[str, ...]
    breaks: tuple[Break, ...]
    records: dict[int, Record] = field(repr=False)
    runs: tuple[RunState, ...] = ()
    unheard: tuple[Unheard, ...] = ()
    warnings: tuple[TraceWarning, ...] = ()
    manifests: tuple[int, ...] = ()

    @property
    def continuous(self) -> bool:
        """Whether the authorization is unbroken from the origin to the traced run."""
        return not self.breaks

    @property
    def external(self) -> tuple[Hop, ...]:
        """The links into other logs: kept, and verified by nobody here."""
        return tuple(hop for hop in self.hops if hop.external is not None)
