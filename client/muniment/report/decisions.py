"""Decisions in the window: how many, by whom, on whom, under which policy; denials by code."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from muniment.records.kinds import Decision, Entity
from muniment.report.queries import find_commands
from muniment.report.scope import ReportScope
from muniment.report.tally import LeafRanges, Tally, TallyRow

TOP: Final = 50
"""Rows of a table; the others are only counted."""

_BY: Final = "by"
_SUBJECT: Final = "subject"
_ACTION: Final = "action"
_RESOURCE: Final = "resource"
_PRODUCER: Final = "producer"

_Options = Mapping[str, str | None]


class Decisions:
    """Takes the decisions that a report is about, in the order of the log."""

    def __init__(self, scope: ReportScope, tally: Tally) -> None:
        """Counts by key in `tally`."""
        self._scope = scope
        self._tally = tally
        self._all, self._allowed, self._denied = LeafRanges(), LeafRanges(), LeafRanges()
        self._codes: dict[str, LeafRanges] = {}
        self._uncoded, self._approved = LeafRanges(), LeafRanges()
        self._bars = [[0, 0] for _ in range(scope.bars)]  # allowed, denied

    def add(self, index: int, decision: Decision) -> None:
        """Takes a decision of the window."""
        allowed, time = decision.allowed, decision.time
        self._all.add(index)
        (self._allowed if allowed else self._denied).add(index)
        self._bars[(time // 1000 - self._scope.start) // self._scope.step][not allowed] += 1
        artifact, add = decision.artifact, self._tally.add
        if artifact is None:
            by: tuple[str | None, ...] = (decision.producer, None, None, None, None)
        else:
            policy = artifact.policy
            authority = artifact.attribution.authority
            by = (decision.producer, authority, policy.id, policy.revision, policy.digest)
            if artifact.approval is not None:
                self._approved.add(index)
        add(_BY, by, index, time, allowed=allowed)
        add(_PRODUCER, (decision.producer,), index, time, allowed=allowed)
        add(_SUBJECT, decision.subject, index, time, allowed=allowed)
        add(_ACTION, (decision.action,), index, time, allowed=allowed)
        add(_RESOURCE, decision.resource, index, time, allowed=allowed)
        if not allowed:
            codes = () if decision.denial is None else decision.denial.codes
            for code in codes:
                self._codes.setdefault(code, LeafRanges()).add(index)
            if not codes:
                self._uncoded.add(index)

    @property
    def approved(self) -> dict[str, Any]:
        """The decisions that rest on a person's approval."""
        return figure(self._approved, [])

    def members(self) -> dict[str, Any]:
        """As JSON values."""
        find = self._find
        return {
            "all": figure(self._all, find(self._all.count)),
            "allowed": figure(self._allowed, find(self._allowed.count, {"--allowed": None})),
            "denied": figure(self._denied, find(self._denied.count, {"--denied": None})),
            "over_time": {
                "step": self._scope.step,
                "allowed": [bar[0] for bar in self._bars],
                "denied": [bar[1] for bar in self._bars],
            },
            "by_policy": self._table(_BY, _BY_NAMES, self._of_policy),
            "by_producer": self._table(
                _PRODUCER, ("producer",), lambda row: find(row.count, {"--producer": row.key[0]})
            ),
            "by_subject": self._table(_SUBJECT, ("type", "id"), self._of_subject),
            "by_action": self._table(
                _ACTION, ("action",), lambda row: find(row.count, {"--action": row.key[0]})
            ),
            "by_resource": self._table(_RESOURCE, ("type", "id"), self._of_resource),
        }

    def denials(self) -> dict[str, Any]:
        """Denials by code, as JSON values; a denial with two codes counts under both."""
        rows = sorted(self._codes.items(), key=lambda one: (-one[1].count, one[0]))
        return {
            "by_code": [
                {"code": code, **figure(found, self._find(found.count, {"--code": code}))}
                for code, found in rows
            ],
            "without_code": figure(self._uncoded, []),
        }

    def _find(self, count: int, options: _Options | None = None) -> list[str]:
        return find_commands(self._scope, count, options)

    def _of_policy(self, row: TallyRow) -> list[str]:
        producer, authority, policy, revision, digest = row.key
        if policy is None:
            return []
        options = {
            "--producer": producer,
            "--authority": authority,
            "--policy-id": policy,
            "--policy-revision": revision,
            "--policy-digest": digest,
        }
        return self._find(row.count, options)

    def _of_subject(self, row: TallyRow) -> list[str]:
        type_, id_ = row.key
        return find_commands(self._scope, row.count, subjects=[Entity(type_ or "", id_ or "")])

    def _of_resource(self, row: TallyRow) -> list[str]:
        type_, id_ = row.key
        if not type_ or ":" in type_ or not id_:
            return []
        return self._find(row.count, {"--resource": f"{type_}:{id_}"})

    def _table(
        self, dimension: str, names: tuple[str, ...], commands: Callable[[TallyRow], list[str]]
    ) -> dict[str, Any]:
        rows = list(self._rows(dimension, names, commands))
        return {
            "distinct": self._tally.distinct(dimension),
            "rows": rows,
            "others": {
                "allowed": self._allowed.count - sum(row["allowed"] for row in rows),
                "denied": self._denied.count - sum(row["denied"] for row in rows),
            },
        }

    def _rows(
        self, dimension: str, names: tuple[str, ...], commands: Callable[[TallyRow], list[str]]
    ) -> Iterator[dict[str, Any]]:
        for row in self._tally.top(dimension, TOP):
            yield {
                **dict(zip(names, row.key, strict=True)),
                "allowed": row.allowed,
                "denied": row.denied,
                "earliest": row.earliest,
                "latest": row.latest,
                "leaves": row.leaves,
                "queries": commands(row),
            }


_BY_NAMES: Final = ("producer", "authority", "policy", "revision", "digest")


def figure(found: LeafRanges, queries: list[str]) -> dict[str, Any]:
    """A figure as JSON values: the leaves behind it, and the commands that list them."""
    return {"leaves": found.members(), "queries": queries}
