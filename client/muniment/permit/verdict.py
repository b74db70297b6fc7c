"""What comes out of verifying a permit: permit, or denial with reasons.

The codes are the closed set of docs/formats.md, in its order.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self, get_args

from muniment.lineage.facts import FactsHead
from muniment.lineage.withholding import Withholding
from muniment.records.members import DenialCode
from muniment.tlog.policy import show

CODES: Final[tuple[DenialCode, ...]] = get_args(DenialCode)
"""The denial codes, in the order in which a verdict has them."""


class Finding(NamedTuple):
    """One check that failed: what would have passed and what was there, as printable text.

    `code` is the denial code, `check` the check's stable name.
    """

    code: DenialCode
    check: str
    expected: str
    found: str

    @property
    def sentence(self) -> str:
        """The finding as a sentence."""
        return f"{self.check}: expected {self.expected}, found {self.found}."


@dataclass(frozen=True, slots=True)
class Verdict:
    """Permit or denial. Made by `verify_permit`; deterministic.

    Attributes:
        findings: What failed: by code, then in the order of the checks. None failed: permitted.
        index: The decision's leaf index, when its inclusion was verified; else None.
        head: The state of the log that lineage and revocations were judged at; None without facts.
        ahead: (witness, Unix seconds) of cosignatures of a time in the future, which did not count.
        withholding: What the decision withholds; None if nothing, or its inclusion is not verified.
    """

    findings: tuple[Finding, ...]
    index: int | None = None
    head: FactsHead | None = None
    ahead: tuple[tuple[str, int], ...] = ()
    withholding: Withholding | None = None

    @classmethod
    def of(
        cls,
        findings: Iterable[Finding],
        *,
        index: int | None = None,
        head: FactsHead | None = None,
        ahead: tuple[tuple[str, int], ...] = (),
        withholding: Withholding | None = None,
    ) -> Self:
        """A verdict on findings in any order; repetitions are dropped."""
        distinct = dict.fromkeys(findings)
        ordered = tuple(sorted(distinct, key=lambda one: CODES.index(one.code)))
        return cls(ordered, index, head, ahead, withholding)

    @property
    def permitted(self) -> bool:
        """Whether the action may go ahead: no check failed."""
        return not self.findings

    @property
    def codes(self) -> tuple[DenialCode, ...]:
        """The denial codes, each once, in design order; none when permitted."""
        return tuple(dict.fromkeys(finding.code for finding in self.findings))

    def members(self) -> dict[str, Any]:
        """The verdict as JSON values; `addenda` only of a decision that withholds members."""
        found = self.withholding
        shown: dict[str, Any] = {}
        if found is not None:
            shown["addenda"] = found.members()
        return {
            "permitted": self.permitted,
            "codes": list(self.codes),
            "findings": [
                {**finding._asdict(), "sentence": finding.sentence} for finding in self.findings
            ],
            "index": self.index,
            "head": None if self.head is None else self.head._asdict(),
            "future": [{"witness": show(name), "time": time} for name, time in self.ahead],
            **shown,
        }
