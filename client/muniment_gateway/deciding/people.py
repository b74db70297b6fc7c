"""People beside the engines: what a call comes to that needs a person's word.

The engines come first. What they deny nobody is asked about; what they allow is held, for as long
as its caller waits, and then they are asked again: an approval is one more condition, and never a
reason to allow what the policy forbids by now.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from muniment.records.approval import SignedApproval
from muniment.tlog.encoding import FormatError
from muniment_gateway.core.accessrequests import timestamp
from muniment_gateway.core.approvals import ApprovalRefusedError, People
from muniment_gateway.core.quorum import AuthorityAnswer, Combined
from muniment_gateway.deciding.approvals import Approvals, Want, policy_of
from muniment_gateway.deciding.decisions import RequestDetails
from muniment_gateway.store.held import TooManyError

NO_ANSWER: Final = Combined(decision=False, codes=("could_not_evaluate",), speaker=None)
A_NO: Final = Combined(decision=False, codes=("denied_by_policy",), speaker=None)

Engines = tuple[list[AuthorityAnswer], Combined]
"""What the engines have answered, and what that comes to."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What engines and people say of a request.

    Attributes:
        engines: What the engines have answered.
        combined: What it all comes to.
        word: What people have answered; None when nobody had to be asked.
        want: The call as it waits or was decided on.
        approvals: What the decision rests on.
        reason: Why people's answer is no yes.
    """

    engines: list[AuthorityAnswer]
    combined: Combined
    word: AuthorityAnswer | None = None
    want: Want | None = None
    approvals: tuple[SignedApproval, ...] = ()
    reason: str = ""

    @property
    def answers(self) -> list[AuthorityAnswer]:
        """All answers, people's last."""
        return self.engines if self.word is None else [*self.engines, self.word]


async def settle(
    approvals: Approvals | None,
    request: dict[str, Any],
    call: RequestDetails,
    decision: str,
    ask: Callable[[], Awaitable[Engines]],
    away: Callable[[], str],
) -> Settled:
    """Asks engines, and then people, whose word a request may need.

    Args:
        approvals: The calls that wait; None when nobody is asked.
        request: The request, which has canonical JSON.
        call: What came with it.
        decision: The id of the decision that is being made.
        ask: Asks the engines.
        away: Tells why nothing can be logged now; empty when it can.
    """
    engines, combined = await ask()
    people = approvals.deciding_on(request) if approvals is not None else None
    if approvals is None or people is None or not combined.decision:
        return Settled(engines, combined)
    until = time.monotonic() + min(call.patience or 0.0, people.hold_seconds)
    try:
        want = await _want(approvals, people, request, call, decision)
        while want.status == "pending" and time.monotonic() < until:
            await approvals.wait(want, until)
            want = await _want(approvals, people, request, call, decision)
            engines, combined = await ask()
            if not combined.decision:
                return Settled(engines, combined)
        return await _judge(approvals, want, request, decision, (engines, combined), away())
    except (ApprovalRefusedError, TooManyError, FormatError) as error:
        word = AuthorityAnswer(people.name, error=str(error), policy=policy_of(people))
        return Settled(engines, NO_ANSWER, word, reason=str(error))


async def _want(
    approvals: Approvals,
    people: People,
    request: dict[str, Any],
    call: RequestDetails,
    decision: str,
) -> Want:
    return await approvals.want(
        people,
        request,
        client=call.client,
        evaluation=decision,
        withheld=call.withheld,
        asks=call.patience is not None,
    )


async def _judge(
    approvals: Approvals,
    want: Want,
    request: Mapping[str, Any],
    decision: str,
    engines: Engines,
    away: str,
) -> Settled:
    people, held = want.people, want.held
    policy = policy_of(people)
    given, combined = engines
    if want.status == "denied" and held.approval is not None:
        word = AuthorityAnswer(people.name, _said(want, decision=False), policy=policy)
        reason = f"{held.approval.approver} has denied it"
        if held.approval.reason is not None:
            reason = f"{reason}: {held.approval.reason}"
        return Settled(given, A_NO, word, want, reason=reason)
    if want.status != "approved" or held.approval is None:
        text = f"waits for a person: {held.id}"
        if want.status == "requestable":
            text = f"waits until an access request asks for one: {held.id}"
        elif people.required > 1:
            so_far = len(held.in_time(want.now))
            text = f"waits for people, {so_far} of {people.required} have approved: {held.id}"
        word = AuthorityAnswer(people.name, error=text, policy=policy)
        return Settled(given, NO_ANSWER, word, want, reason=f"an approval is needed; it {text}")
    named = presented(request)
    if named is not None and all(named != one.id for one in held.approvals):
        raise ApprovalRefusedError(
            "unverifiable", "the approval that was presented is not of this call"
        )
    if away:
        raise ApprovalRefusedError(
            "log-away", f"the approval is kept, for nothing can be logged: {away}"
        )
    used = await approvals.use(want, decision, request)
    return Settled(
        given, combined, AuthorityAnswer(people.name, _said(want, decision=True), policy=policy),
        want, used,
    )  # fmt: skip


def presented(request: Mapping[str, Any]) -> str | None:
    """The id of the approval that a request presents, at `context.approval`; None for none."""
    context = request.get("context")
    approval = context.get("approval") if isinstance(context, Mapping) else None
    id_ = approval.get("id") if isinstance(approval, Mapping) else None
    return id_ if isinstance(id_, str) else None


def _said(want: Want, *, decision: bool) -> dict[str, Any]:
    approval = want.held.approval
    assert approval is not None  # noqa: S101 - it was decided on
    told: dict[str, Any] = {
        "request": want.held.id,
        "approval": approval.id,
        "approver": approval.approver,
        "leaf": want.held.leaf,
    }
    if len(want.held.approvals) > 1:
        told["approvers"] = [one.approver for one in want.held.approvals]
    return {"decision": decision, "context": told}


def described(
    settled: Settled, request: Mapping[str, Any], evaluation: str, *, allowed: bool
) -> dict[str, Any]:
    """The members of a response's context that the access request profile has.

    https://openid.github.io/authzen/: requestable denials, and re-evaluation after an approval.
    """
    want, word = settled.want, settled.word
    if word is None:
        return {}
    is_again = presented(request) is not None
    if want is None:
        reason = "approval_unverifiable" if is_again else "approval_unavailable"
        return {"evaluation_id": evaluation, "reason": reason, "next_action": "none"}
    shown: dict[str, Any] = {"evaluation_id": evaluation, "evaluated_at": timestamp(want.now)}
    approval = want.held.approval
    if allowed and settled.approvals:
        until = timestamp(want.held.not_after)
        return shown | {"approval": {"id": settled.approvals[-1].id, "approved_until": until}}
    if want.status == "denied" and approval is not None:
        return shown | {"reason": "policy_denied", "next_action": "none"}
    if settled.approvals:  # they were used, and the decision is not on record
        return shown | {"reason": "approval_expired", "next_action": "request"}
    return shown | {
        "reason": "approval_expired" if is_again else "approval_required",
        **({"next_action": "request"} if is_again else {}),
        "access_request": {
            "template": want.people.name,
            "expires_at": timestamp(want.held.expires),
            "display": {"title": "An approval is needed"},
        },
    }


def told_of(want: Want) -> dict[str, Any]:
    """What the gateway itself says of a call that people decide on."""
    return {
        "request": want.held.id,
        "status": want.status,
        "expires_at": timestamp(want.held.expires),
    }
