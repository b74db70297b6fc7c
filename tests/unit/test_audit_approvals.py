"""What an audit says of approvals, and of decisions whose promised outcome is missing."""

from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditing import audit
from governed import World, approved, artifact
from logsim import GATEWAY, NOW, POLICY, LogSim
from muniment.audit.auditor import AuditOptions
from muniment.audit.events import promises
from muniment.audit.report import Report, Verdict
from muniment.records.api import Approval, SignedApproval, approver_vkey
from muniment.records.kinds import Denial, RunStatus
from signing import ed25519

CAROL = approver_vkey("people.example/carol", ed25519("carol"))
DAVE = approver_vkey("people.example/dave", ed25519("dave"))
AT = NOW - 600
RUN = "run-" + "0a" * 12
approval = partial(approved, GATEWAY)


class Log(World):
    """A world whose decisions rest on approvals, by the gateway of a log in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.producer = GATEWAY
        self.time = AT * 1000 + 1000

    def approve(self, approval: SignedApproval) -> int:
        common: dict[str, Any] = {**self.common("x"), "id": approval.id}
        return self.add(Approval(**common, approval=approval))

    def use(self, approval: SignedApproval | None, *further: SignedApproval, **more: Any) -> int:
        rests_on = artifact(approval=approval, further_approvals=further or None)
        return self.decide("call", artifact=rests_on, **more)


async def audited(world: World, *, now: int = NOW, **options: Any) -> Report:
    sim = LogSim()
    sim.append(world.entries())
    outcome = await audit(sim, options=AuditOptions(POLICY, **options), now=now)
    assert outcome.report.verdict is Verdict.CLEAN
    return outcome.report


async def warned(world: World, **options: Any) -> list[tuple[str, int]]:
    return [(one.kind, one.index) for one in (await audited(world, **options)).warnings]


async def test_an_approval_that_was_logged_and_used_once_has_no_warning() -> None:
    log = Log()
    log.approve(approval())
    log.use(approval())
    report = await audited(log, approvers=(CAROL,))
    assert report.warnings == []
    assert (report.approved, report.knows_approvers) == (1, True)
    assert report.as_json()["approvals"] == {"decisions": 1, "verified": True}


async def test_an_approval_that_is_used_twice() -> None:
    log = Log()
    log.approve(approval())
    first = log.use(approval())
    log.add(log.records[first])  # the same decision, logged once more, is no other one
    again = log.use(approval())
    assert await warned(log) == [("approval-reuse", again)]


async def test_an_approval_that_the_log_did_not_have() -> None:
    log = Log()
    early = log.use(approval())
    log.approve(approval())
    never = log.use(approval(id_="apr-2"))
    assert await warned(log) == [("unlogged-approval", early), ("unlogged-approval", never)]


async def test_an_approval_outside_of_its_time() -> None:
    log = Log()
    log.approve(approval())
    log.time = (AT + 300) * 1000
    late = log.use(approval())
    assert await warned(log) == [("late-approval", late)]


@pytest.mark.parametrize(
    "changes", [{"call": "sha256:" + "0a" * 32}, {"gateway": "gw.example/other"}]
)
async def test_an_approval_of_another_call(changes: dict[str, Any]) -> None:
    log = Log()
    other = log.use(approval(**changes))
    assert ("other-approval", other) in await warned(log)


async def test_an_approval_by_who_asks() -> None:
    log = Log()
    log.approve(approval(approver="sub"))
    own = log.use(approval(approver="sub"))
    assert await warned(log) == [("self-approval", own)]


async def test_approvers_are_those_who_are_named_and_their_signatures_hold() -> None:
    log = Log()
    forged = msgspec.structs.replace(approval("dave", id_="apr-2"), key=approval().key)
    said = [log.approve(approval()), log.approve(forged)]
    used = [log.use(approval()), log.use(forged)]
    assert await warned(log) == []
    assert (await audited(log)).knows_approvers is False
    both = sorted([said[1], used[1]])
    assert await warned(log, approvers=(CAROL,)) == [("forged-approval", at) for at in both]
    assert await warned(log, approvers=(DAVE,)) == [
        ("unknown-approver", at) for at in sorted([*said, *used])
    ]


async def test_each_of_several_approvals_is_looked_at() -> None:
    log, dave = Log(), approval("dave", id_="apr-2")
    log.approve(approval())
    log.approve(dave)
    first = log.use(approval(), dave)
    report = await audited(log, approvers=(CAROL, DAVE))
    assert report.warnings == []
    assert report.approved == 1
    assert await warned(log, approvers=(CAROL,)) == [("unknown-approver", 1),
                                                     ("unknown-approver", first)]  # fmt: skip
    again = log.use(dave)
    assert await warned(log) == [("approval-reuse", again)]
    other = Log()
    other.approve(approval())
    unlogged = other.use(approval(), dave)
    assert await warned(other) == [("unlogged-approval", unlogged)]
    own = Log()
    own.approve(approval())
    mine = approval("dave", id_="apr-2", approver="sub")
    own.approve(mine)
    asked = own.use(approval(), mine)
    assert await warned(own) == [("self-approval", asked)]


@pytest.mark.parametrize("status", [None, "completed", "failed", "aborted", "not_run", "unknown"])
async def test_a_decision_that_promised_an_outcome_is_missed_without_one(
    status: RunStatus | None,
) -> None:
    log = Log()
    promised = log.decide(RUN)
    log.decide("run-of-others")
    log.decide("run-" + "0b" * 12, allow=False)
    if status is not None:
        log.outcome(RUN, status)
    report = await audited(log, outcome_age=300)
    missing = [promised] if status is None else []
    assert (report.promised, report.unended, report.unended_entries) == (1, len(missing), missing)
    assert report.as_json()["outcomes"] == {
        "promised": 1, "missing": len(missing), "age": 300, "entries": missing,
    }  # fmt: skip
    young = await audited(log, outcome_age=3600)
    assert (young.promised, young.unended) == (1, 0)
    kinds = [one.kind for one in report.warnings]
    assert kinds == []


async def test_a_run_that_was_not_let_begin_has_an_outcome() -> None:
    log = Log()
    log.decide(RUN)
    log.outcome(RUN, "aborted", denial=Denial(codes=("could_not_evaluate",)))
    assert (await audited(log, outcome_age=300)).unended == 0


@given(st.sampled_from(["run-", "run-x", "", "RUN-"]), st.text("0123456789abcdefg", max_size=26))
def test_only_runs_of_that_name_promise(prefix: str, rest: str) -> None:
    named = f"{prefix}{rest}"
    expected = prefix == "run-" and len(rest) == 24 and "g" not in rest
    assert promises(named.encode()) is expected
