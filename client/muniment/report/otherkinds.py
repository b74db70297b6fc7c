"""Approvals, erasures and outcomes of the window; withheld members of its records."""

from typing import Any, Final

from muniment.records.addenda import named_digests
from muniment.records.kinds import Approval, Erasure, Outcome, Record
from muniment.report.queries import AUDIT, kind_command
from muniment.report.relating import MAX_ROWS
from muniment.report.tally import LeafRanges, Tally

_APPROVER: Final = "approver"


class OtherKinds:
    """Takes those records of the window, in the order of the log."""

    def __init__(self, tally: Tally) -> None:
        """Counts approvers in `tally`."""
        self._tally = tally
        self._approved, self._declined = LeafRanges(), LeafRanges()
        self._erasures = LeafRanges()
        self._rows: list[dict[str, Any]] = []
        self._outcomes = LeafRanges()
        self._statuses: dict[str, LeafRanges] = {}
        self._withholding = LeafRanges()

    def add(self, index: int, record: Record) -> None:
        """Takes a record; of other kinds only what it withholds counts."""
        match record:
            case Approval():
                said = record.approval
                (self._approved if said.decision else self._declined).add(index)
                self._tally.add(
                    _APPROVER,
                    (said.approver, said.key),
                    index,
                    record.time,
                    allowed=said.decision,
                )
            case Erasure():
                self._erase(index, record)
            case Outcome():
                self._outcomes.add(index)
                self._statuses.setdefault(record.status, LeafRanges()).add(index)
            case _:
                pass
        if named_digests(record):
            self._withholding.add(index)

    def _erase(self, index: int, record: Erasure) -> None:
        self._erasures.add(index)
        if len(self._rows) < MAX_ROWS:
            self._rows.append(
                {
                    "index": index,
                    "time": record.time,
                    "producer": record.producer,
                    "by": record.by,
                    "reason": record.reason,
                    "addenda": len(record.digests),
                }
            )

    def approvals(self) -> dict[str, Any]:
        """Approvals, as JSON values."""
        return {
            "approved": {"leaves": self._approved.members(), "queries": kind_command("approval")},
            "declined": {"leaves": self._declined.members(), "queries": kind_command("approval")},
            "distinct": self._tally.distinct(_APPROVER),
            "by_approver": [
                {
                    "approver": row.key[0],
                    "key": row.key[1],
                    "approved": row.allowed,
                    "declined": row.denied,
                    "leaves": row.leaves,
                }
                for row in self._tally.top(_APPROVER, MAX_ROWS)
            ],
        }

    def erasures(self) -> dict[str, Any]:
        """Erasures, as JSON values."""
        return {
            "leaves": self._erasures.members(),
            "queries": kind_command("erasure"),
            "rows": self._rows,
            "withholding": {"leaves": self._withholding.members(), "queries": [AUDIT]},
        }

    def outcomes(self) -> dict[str, Any]:
        """Outcomes by status, as JSON values."""
        return {
            "leaves": self._outcomes.members(),
            "queries": kind_command("outcome"),
            "by_status": [
                {"status": status, "leaves": found.members()}
                for status, found in sorted(self._statuses.items())
            ],
        }
