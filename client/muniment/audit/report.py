"""What an audit says: counts, findings, and the verdict that becomes the exit code."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NamedTuple

from muniment.audit.addenda import Addenda
from muniment.audit.relations import Warned
from muniment.audit.trust import Misbehaviour
from muniment.tlog.encoding import format_base64

MAX_FINDINGS = 1000
"""Findings kept with their words; more are only counted, so that a rotten log fits in memory."""


MISMATCH: Final = "tile-mismatch"
"""The kind of a finding that a tile is not what the tiles or leaves below it, or before, say."""


class Weight(Enum):
    """What a finding is worth as proof."""

    UNVERIFIED = "unverified"
    """Something does not hold, but whoever sent the bytes may have spoiled them."""

    CONTENT = "content"
    """The tree's contents break a rule: proven once the tree is, else merely unverified."""

    PROVEN = "proven"
    """The log's own signatures prove it."""


class Verdict(Enum):
    """What an audit comes to."""

    CLEAN = "clean"
    UNVERIFIED = "unverified"
    MISBEHAVIOUR = "misbehaviour"


class Finding(NamedTuple):
    """One thing that is wrong: a stable slug such as ``stream-gap``, and what it is worth as proof.

    The sentence says what was expected and what was found, at the leaf index if there is one.
    """

    kind: str
    sentence: str
    weight: Weight
    index: int | None = None  # type: ignore[assignment]  # hides tuple.index, of no use here


@dataclass(slots=True)
class Report:
    """The outcome of one audit; grows while it runs.

    Attributes:
        origin: The log's origin; "" when not even the checkpoint could be verified.
        cosigners: (policy witness name, Unix seconds) of the cosignatures that were verified.
        time: The time for which a quorum of them vouches, Unix seconds; 0 for none.
        ahead: Those whose time is in the future, which does not count.
        since: Size of the tree that the last audit vouched for; 0 for a first one.
        is_first_use: Whether there was no state to compare with.
        entries: Leaves read and rehashed by this audit, ``[since, size)``.
        foreign: Leaves among them that are neither records nor manifests, nor meant to be.
        is_tree_only: Whether the tree alone was checked, and not what the leaves are.
        signatures: Manifest signatures verified.
        unknown_signers: Key names whose manifests could not be verified: vkey not given.
        streams: Streams known, those of earlier audits included.
        tiles: Hash tiles compared, all levels.
        is_tree_verified: Whether the root was recomputed from the leaves.
        findings: What is wrong, at most ``MAX_FINDINGS``; `omitted` counts those beyond.
        misbehaviour: The proof that the log's key signed two histories, when there is one.
        edges: Lineage edges among the records.
        runs: Runs that acted or ended.
        unresolved: Edges into the part of the log that an earlier audit has read.
        are_relations_whole: Whether the log was read from its first leaf on. If not, a missing
            decision may be in the older part, and only what the new part shows by itself is told.
        are_cycles_checked: False when there are too many edges to look for cycles.
        warnings: What gateways have logged and should not have, at most ``MAX_FINDINGS``. The log
            keeps its promises all the same: warnings do not touch the verdict.
        warned: Their number by kind, those beyond the limit included.
        addenda: What became of withheld members.
        promised: Decisions that promise the outcome of the run that they allow.
        unended: Those of them that are older than `outcome_age` seconds and have none.
        unended_entries: Their leaf indices, the first ``MAX_FINDINGS``.
        approved: Decisions that rest on a person's approval.
        knows_approvers: Whether approvals' signatures were verified, by keys that were given.
        indexed: Leaves of its index log that were compared; None when that was not asked for.
    """

    origin: str = ""
    size: int = 0
    root: bytes = b""
    cosigners: tuple[tuple[str, int], ...] = ()
    time: int = 0
    ahead: tuple[tuple[str, int], ...] = ()
    since: int = 0
    is_first_use: bool = False
    entries: int = 0
    records: int = 0
    manifests: int = 0
    foreign: int = 0
    is_tree_only: bool = False
    signatures: int = 0
    unknown_signers: set[str] = field(default_factory=set[str])
    streams: int = 0
    tiles: int = 0
    is_tree_verified: bool = False
    findings: list[Finding] = field(default_factory=list[Finding])
    omitted: int = 0
    misbehaviour: Misbehaviour | None = None
    edges: int = 0
    runs: int = 0
    unresolved: int = 0
    are_relations_whole: bool = False
    are_cycles_checked: bool = False
    warnings: list[Warned] = field(default_factory=list[Warned])
    warned: Counter[str] = field(default_factory=Counter[str])
    addenda: Addenda = field(default_factory=Addenda)
    promised: int = 0
    unended: int = 0
    unended_entries: list[int] = field(default_factory=list[int])
    outcome_age: int = 0
    approved: int = 0
    knows_approvers: bool = False
    indexed: int | None = None

    def warn(self, warnings: Iterable[Warned]) -> None:
        """Adds warnings; those over the limit are counted."""
        for warning in warnings:
            self.warned[warning.kind] += 1
            if len(self.warnings) < MAX_FINDINGS:
                self.warnings.append(warning)

    def add(self, findings: Iterable[Finding]) -> None:
        """Adds findings; those over the limit are counted."""
        for finding in findings:
            if len(self.findings) < MAX_FINDINGS:
                self.findings.append(finding)
            else:
                self.omitted += 1

    def found(self, kind: str, sentence: str, weight: Weight, index: int | None = None) -> None:
        """Adds one finding."""
        self.add([Finding(kind, sentence, weight, index)])

    def condemn(self, misbehaviour: Misbehaviour) -> None:
        """Adds the finding that the log signed two histories, with the proof."""
        self.misbehaviour = misbehaviour
        self.found(misbehaviour.kind, misbehaviour.sentence, Weight.PROVEN)

    def is_proven(self, finding: Finding) -> bool:
        """Whether a finding proves misbehaviour, now that the tree is verified or not."""
        # A log that others write to as well does not promise what a log of Muniment does.
        return finding.weight is Weight.PROVEN or (
            finding.weight is Weight.CONTENT and self.is_tree_verified and not self.foreign
        )

    @property
    def verdict(self) -> Verdict:
        """What the audit comes to."""
        if any(self.is_proven(finding) for finding in self.findings):
            return Verdict.MISBEHAVIOUR
        return Verdict.UNVERIFIED if self.findings else Verdict.CLEAN

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values, for scripts; member names are part of the interface."""
        proof = self.misbehaviour
        return {
            "verdict": self.verdict.value,
            "origin": self.origin,
            "size": self.size,
            "root": format_base64(self.root),
            "cosigners": [{"witness": name, "time": time} for name, time in self.cosigners],
            "time": self.time,
            "future": [{"witness": name, "time": time} for name, time in self.ahead],
            "since": self.since,
            "first_use": self.is_first_use,
            "counts": {
                "entries": self.entries,
                "records": self.records,
                "manifests": self.manifests,
                "foreign": self.foreign,
                "signatures": self.signatures,
                "streams": self.streams,
                "tiles": self.tiles,
                "runs": self.runs,
                "edges": self.edges,
            },
            "unknown_signers": sorted(self.unknown_signers),
            "tree_verified": self.is_tree_verified,
            "tree_only": self.is_tree_only,
            "findings": [
                {
                    "kind": finding.kind,
                    "index": finding.index,
                    "proven": self.is_proven(finding),
                    "sentence": finding.sentence,
                }
                for finding in self.findings
            ],
            "omitted": self.omitted,
            "relations": {
                "whole": self.are_relations_whole,
                "cycles_checked": self.are_cycles_checked,
                "unresolved": self.unresolved,
                "counts": dict(sorted(self.warned.items())),
            },
            "addenda": {
                "withheld": self.addenda.withheld,
                "kept_by_log": self.addenda.kept,
                "erased": self.addenda.erased,
                "asked": self.addenda.was_asked,
                "served": self.addenda.served,
                "not_promised": self.addenda.elsewhere,
                "refused": self.addenda.unread,
                "erasures": [
                    {"entry": None if entry < 0 else entry, "by": by}
                    for entry, by in self.addenda.erasures
                ],
            },
            "outcomes": {
                "promised": self.promised,
                "missing": self.unended,
                "age": self.outcome_age,
                "entries": self.unended_entries,
            },
            "approvals": {"decisions": self.approved, "verified": self.knows_approvers},
            "index": None if self.indexed is None else {"leaves": self.indexed},
            "warnings": [warning._asdict() for warning in self.warnings],
            "evidence": None
            if proof is None
            else {
                "kind": proof.kind,
                "notes": [note.decode() for note in proof.notes],
                "implied_root": None
                if proof.implied_root is None
                else format_base64(proof.implied_root),
                "proof": [format_base64(node) for node in proof.proof],
            },
        }
