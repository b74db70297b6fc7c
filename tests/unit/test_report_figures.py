"""The figures of a report, held against a naive recount over random records."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import index_tools
import logsim
from index_tools import NOW, ORIGIN, PRODUCERS
from muniment.records.api import (
    Approval,
    Decision,
    Edge,
    Erasure,
    Outcome,
    Record,
    Revocation,
    Verification,
    encode_record,
)
from muniment.records.canonical import encode_canonical
from muniment.records.kinds import Entity
from muniment.report.relating import UNAUTHORIZED
from muniment.report.scope import ReportScope, scope_of
from reports import count, entries_of, replica, report_of


def listed(leaves: dict[str, Any]) -> list[int]:
    return [index for first, end in leaves["ranges"] for index in range(first, end)]


def is_figure(leaves: dict[str, Any], indices: Sequence[int]) -> bool:
    """Whether leaves are said to be those of some indices, in order."""
    told = listed(leaves)
    return (
        leaves["count"] == len(indices)
        and told == list(indices)[: len(told)]
        and leaves["whole"] == (len(told) == len(indices))
        and leaves["last"] == (indices[-1] if indices else None)
    )


class Recount:
    """The figures again, the simple way: everything in memory, one thing after the other."""

    def __init__(self, entries: Sequence[bytes], scope: ReportScope) -> None:
        self.records = dict(index_tools.known_records(entries))
        self.scope = scope
        self.window = {
            index: record
            for index, record in self.records.items()
            if scope.start * 1000 <= record.time < scope.end * 1000
        }
        self.decisions = {
            index: record
            for index, record in self.window.items()
            if isinstance(record, Decision) and self.wants(record)
        }

    def wants(self, record: Decision) -> bool:
        return not self.scope.subjects or record.subject in self.scope.subjects

    def where(self, kind: type[Any]) -> list[int]:
        return [index for index, one in self.window.items() if isinstance(one, kind)]

    def runs(self) -> set[str]:
        """The runs that are the subjects'."""
        named = {("agent", one.id) for one in self.scope.subjects if one.type == "agent"}
        return {
            one.execution
            for one in self.records.values()
            if isinstance(one, Decision) and one.execution is not None and self.wants(one)
        } | {
            one.from_.id
            for one in self.records.values()
            if isinstance(one, Edge)
            and one.relation == "performed_by"
            and one.from_.type == "run"
            and one.from_.origin in (None, ORIGIN)
            and (one.to.type, one.to.id) in named
        }

    def counts(self, record: Record) -> bool:
        run = self.run_of(record)
        return not self.scope.subjects or run in self.runs()

    @staticmethod
    def run_of(record: Record) -> str | None:
        if isinstance(record, Outcome | Verification):
            return record.execution
        if isinstance(record, Edge) and record.from_.type == "run":
            return record.from_.id
        return None

    def acts(self, record: Record) -> str | None:
        """The run of this log that a record says to have acted or ended."""
        if isinstance(record, Outcome):
            told = record.status in ("unknown", "not_run") or record.denial is not None
            return None if told else record.execution
        if isinstance(record, Verification):
            return record.execution
        if isinstance(record, Edge) and record.from_.type == "run":
            ours = record.from_.origin in (None, ORIGIN)
            return record.from_.id if ours and record.relation != "authorized_by" else None
        return None

    def acted(self) -> set[str]:
        return {
            run
            for record in self.window.values()
            if (run := self.acts(record)) is not None and self.counts(record)
        }

    def unauthorized(self) -> set[int]:
        """Leaves in the window at which a run of the log without any allowance acted first."""
        allowed = {
            one.execution
            for one in self.records.values()
            if isinstance(one, Decision) and one.allowed
        } | {
            one.from_.id
            for one in self.records.values()
            if isinstance(one, Edge)
            and one.relation == "authorized_by"
            and one.from_.type == "run"
            and one.from_.origin in (None, ORIGIN)
        }
        refused = {
            one.execution
            for one in self.records.values()
            if isinstance(one, Decision) and not one.allowed
        }
        acted: defaultdict[str, list[int]] = defaultdict(list)
        ended: dict[str, int] = {}
        for index, record in self.records.items():
            if (run := self.acts(record)) is not None and run not in allowed:
                acted[run].append(index)
                if isinstance(record, Outcome):
                    ended.setdefault(run, index)
        told = {
            ended[run] if run in ended and run not in refused else leaves[0]
            for run, leaves in acted.items()
        }
        return {index for index in told if index in self.window and self.counts(self.window[index])}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report") / "replica"


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 700), narrow=st.booleans())
def test_figures_are_those_of_a_naive_recount(
    place: Path, seed: int, size: int, narrow: bool
) -> None:
    random = Random(seed)
    entries = entries_of(random, size)
    subjects = [Entity("agent", f"agent {random.randrange(5)}")] if narrow else []
    scope = scope_of(NOW, NOW + 1000, subjects, 60)
    naive = Recount(entries, scope)
    with replica(place, entries) as reader:
        found = report_of(reader, scope)
    decisions, denials = found["decisions"], found["denials"]
    made = naive.decisions
    assert is_figure(decisions["all"]["leaves"], list(made))
    for name, allowed in (("allowed", True), ("denied", False)):
        indices = [index for index, one in made.items() if one.allowed is allowed]
        assert is_figure(decisions[name]["leaves"], indices)
        bars = Counter(
            (one.time // 1000 - NOW) // 60 for one in made.values() if one.allowed is allowed
        )
        assert decisions["over_time"][name] == [bars[at] for at in range(17)]

    tables: list[tuple[str, Any]] = [
        ("by_producer", lambda one: (one.producer,)),
        ("by_subject", lambda one: one.subject),
        ("by_action", lambda one: (one.action,)),
        ("by_resource", lambda one: one.resource),
        ("by_policy", policy_of),
    ]
    for name, key_of in tables:
        table = decisions[name]
        groups: defaultdict[Any, list[int]] = defaultdict(list)
        for index, one in made.items():
            groups[key_of(one)].append(index)
        assert table["distinct"] == len(groups) == len(table["rows"])
        for row in table["rows"]:
            indices = groups.pop(tuple(row.values())[: len(row) - 6])
            assert is_figure(row["leaves"], indices)
            assert row["allowed"] == sum(made[index].allowed for index in indices)
            assert row["earliest"] == min(made[index].time for index in indices)
            assert row["latest"] == max(made[index].time for index in indices)

    codes: defaultdict[str, list[int]] = defaultdict(list)
    for index, one in made.items():
        for code in one.denial.codes if one.denial is not None else ():
            codes[code].append(index)
    assert {row["code"] for row in denials["by_code"]} == codes.keys()
    assert all(is_figure(row["leaves"], codes[row["code"]]) for row in denials["by_code"])
    uncoded = [index for index, one in made.items() if not one.allowed and one.denial is None]
    assert is_figure(denials["without_code"]["leaves"], uncoded)

    others = [one for one in naive.where(Outcome) if naive.counts(naive.window[one])]
    assert is_figure(found["runs"]["outcomes"]["leaves"], others)
    assert found["runs"]["acted"] == len(naive.acted())
    unauthorized = found["runs"]["without_authorization"]
    assert is_figure(unauthorized["leaves"], sorted(naive.unauthorized()))
    assert unauthorized["by_kind"].keys() <= UNAUTHORIZED

    revoking = [
        index
        for index, one in naive.window.items()
        if isinstance(one, Revocation) or (isinstance(one, Edge) and one.relation == "revoked_by")
    ]
    assert is_figure(found["revocations"]["leaves"], revoking)
    approvals = naive.where(Approval)
    said = [index for index in approvals if naive.window[index].approval.decision]  # type: ignore[union-attr]
    assert is_figure(found["approvals"]["approved"]["leaves"], said)
    assert count(found["approvals"]["declined"]) == len(approvals) - len(said)
    assert is_figure(found["erasures"]["leaves"], naive.where(Erasure))
    withheld = {digest for one in made.values() for digest in (one.addenda or {}).values()}
    assert found["erasures"]["withheld"] == len(withheld)
    assert found["erasures"]["erased"] == len(erased(naive, withheld))


def policy_of(one: Decision) -> tuple[str | None, ...]:
    if one.artifact is None:
        return (one.producer, None, None, None, None)
    policy = one.artifact.policy
    authority = one.artifact.attribution.authority
    return (one.producer, authority, policy.id, policy.revision, policy.digest)


def erased(naive: Recount, withheld: set[str]) -> set[str]:
    """Those that the log erased, or a producer of a decision that names them."""
    owners = defaultdict(set)
    for one in naive.records.values():
        if isinstance(one, Decision):
            for digest in (one.addenda or {}).values():
                owners[digest].add(one.producer)
    return {
        digest
        for one in naive.records.values()
        if isinstance(one, Erasure)
        for digest in one.digests
        if digest in withheld and one.producer in owners[digest] | {ORIGIN}
    }


@pytest.mark.parametrize(("eraser", "erased"), [(ORIGIN, 1), (PRODUCERS[0], 1), (PRODUCERS[1], 0)])
def test_a_member_is_erased_by_the_log_or_its_own_producer(
    tmp_path: Path, eraser: str, erased: int
) -> None:
    value = json.loads(logsim.decision(0, producer=PRODUCERS[0]))
    value["addenda"] = {"/request/context": index_tools.ADDENDA[0]}
    erasure = Erasure(
        v=1,
        id="e",
        time=NOW * 1000,
        producer=eraser,
        digests=(index_tools.ADDENDA[0],),
        by="operator",
    )
    entries = [encode_canonical(value), encode_record(erasure)]
    with replica(tmp_path / "replica", entries) as reader:
        found = report_of(reader, scope_of(NOW, NOW + 60))["erasures"]
    assert (found["withheld"], found["erased"]) == (1, erased)
    assert count(found) == count(found["withholding"]) == 1
