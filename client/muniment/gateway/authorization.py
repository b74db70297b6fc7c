"""Turning what became of a decision into a permit or a denial.

Fail closed, in one place: whatever keeps a decision from being logged, cosigned and proven is a
``Denied`` with codes. The codes say which promise is missing:

- the decision itself is false: the codes that it states, or ``denied_by_policy``;
- log or witnesses did not answer in time, or mirrors, if they are required, do not hold the
  decision: ``governance_mesh_discontinuity``;
- what came back does not verify: ``invalid_signature``;
- the policy engine failed, or gave no answer: ``could_not_evaluate``;
- everything else, e.g. a refused record or a stream that has forked:
  ``authorization_discontinuity``: there is no authorization.

A decision that cannot be recorded is a denial on record all the same, see ``refusals``.

A decision that was made, and may be logged, although nobody got its permit, gets an outcome: the
run was ``aborted``, with these codes. Else it would look like one that ran.
"""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from muniment.errors import (
    BadAnswer,
    Denied,
    FormatError,
    NotPublished,
    Unreachable,
    VerificationError,
)
from muniment.gateway.mirrored import Require, check_require
from muniment.gateway.outcomes import PendingOutcome, unrun_outcome
from muniment.gateway.receipts import Receipt
from muniment.gateway.refusals import (
    denial_of_members,
    members_of,
    record_denial,
    record_reduced,
)
from muniment.gateway.submissions import Passage
from muniment.gateway.withholding import Prepared
from muniment.permit import Permit, Trust, Verdict
from muniment.permit.status import refresh_status
from muniment.records.codec import parse_record
from muniment.records.kinds import Decision
from muniment.records.members import DenialCode
from muniment.records.preparation import RecordInput

if TYPE_CHECKING:
    from muniment.gateway.gateway import Gateway

_PLAIN_NO: Final[tuple[DenialCode, ...]] = ("denied_by_policy",)


NeverBegan: TypeAlias = "Callable[[Sequence[DenialCode]], Coroutine[Any, Any, None]]"
"""Keeps the outcome of a run that was or may have been allowed, and never began."""


async def authorize(
    gateway: "Gateway",
    decision: RecordInput,
    edges: Iterable[RecordInput],
    timeout: float | None,  # noqa: ASYNC109 - the batch must outlive the caller's deadline
    addenda: Iterable[bytes] = (),
    *,
    require: Require | None = None,
    status: Trust | None = None,
) -> Permit:
    """Logs a decision and gives its permit; see ``Gateway.authorize``.

    With ``status``, whom to trust for it, the permit has its status.

    Raises:
        Denied: In every case but one.
        ValueError: If the gateway has no policy, or one without the mirrors that are required.
    """
    if gateway.policy is None:
        raise ValueError("a gateway without a policy verifies nothing and cannot authorize")
    required = gateway.require if require is None else require
    check_require(required, gateway.policy)
    ends = asyncio.get_running_loop().time() + (gateway.deadline if timeout is None else timeout)
    try:
        prepared = gateway.prepare_withheld([decision], addenda)
        record = parse_record(prepared.entries[0])
        if not isinstance(record, Decision):
            raise FormatError("kind: expected a decision")
    except Exception as error:
        # Not only the errors that we know: who cannot say why still may not run anything.
        denial = denial_of(error)
        if (members := members_of(decision)) is not None:
            denial = denial_of_members(members, denial)
            denial = await record_reduced(gateway, members, denial, timeout)
        raise denial from error

    async def never_began(codes: Sequence[DenialCode]) -> None:
        if record.execution is not None and gateway.has_spool:
            await gateway.spool.put([unrun_outcome({"execution": record.execution}, codes)])

    permit = await _permit_or_outcome(
        gateway, record, prepared, edges, timeout, never_began, require=required
    )
    if status is None:
        return permit
    try:
        async with asyncio.timeout_at(ends):
            now = int(time.time())
            return await refresh_status(permit, gateway.log.client, status, now=now)
    except BaseException as error:
        denial = denial_of_status(error, permit)
        work = partial(never_began, denial.codes)
        await note_failure(error, gateway.unfinished.finish(work, "the outcome"))
        if not isinstance(error, Exception):
            raise
        raise denial from error


def denial_of_status(error: BaseException, permit: Permit) -> Denied:
    """The denial of a permit whose status cannot be had: nobody could tell that it is in force."""
    reason = "no answer in time" if isinstance(error, TimeoutError) else str(error) or repr(error)
    return Denied(
        ("governance_mesh_discontinuity",),
        [f"the log gives no completeness proof of leaf {permit.index}: {reason}"],
        index=permit.index,
    )


async def authorize_call(
    gateway: "Gateway",
    decision: Decision,
    prepared: Prepared,
    edges: Iterable[RecordInput],
    outcome: PendingOutcome,
    timeout: float | None = None,  # noqa: ASYNC109 - see authorize
) -> Permit:
    """Authorises a governed call, whose outcome has its place already; it is over without a permit.

    Raises Denied in every case but one.
    """
    outcome.is_being_authorized = True
    try:
        permit = await _permit_or_outcome(
            gateway, decision, prepared, edges, timeout, outcome.keep_unrun, require=gateway.require
        )
    except BaseException:
        outcome.drop()
        raise
    outcome.has_permit = True
    if outcome.abandoned:  # nobody waits any more
        work = partial(outcome.keep_unrun, outcome.abandoned)
        await gateway.unfinished.finish(work, "the outcome")
    return permit


async def _permit_or_outcome(
    gateway: "Gateway",
    decision: Decision,
    prepared: Prepared,
    edges: Iterable[RecordInput],
    timeout: float | None,  # noqa: ASYNC109 - see authorize
    never_began: NeverBegan,
    *,
    require: Require,
) -> Permit:
    passage = Passage()
    [entry] = prepared.entries
    try:
        if not decision.allowed:
            index, trouble = await record_denial(gateway, decision, prepared, timeout)
            raise denial_of_decision(decision, index, trouble)
        try:
            entries = [entry, *gateway.prepare(edges)]
        except Exception as error:
            denial = denial_of(error)
            held = prepared.addenda.get(0, ())
            raise await record_reduced(gateway, json.loads(entry), denial, timeout, held) from error
        receipts = await gateway.submit_encoded(
            entries,
            published=True,
            mirrored=require == "mirrored",
            timeout=timeout,
            passage=passage,
            addenda=prepared.addenda,
        )
        return permit_of(receipts[0], decision, prepared.addenda.get(0, ()))
    except BaseException as error:
        denial = denial_of(error)
        if passage.has_left:
            work = partial(never_began, denial.codes)
            await note_failure(error, gateway.unfinished.finish(work, "the outcome"))
        if not isinstance(error, Exception) or denial is error:
            raise
        raise denial from error


async def note_failure(error: BaseException, keeping: Coroutine[Any, Any, None]) -> None:
    """Keeps an outcome; that this failed is a note on the error, which comes first."""
    try:
        await keeping
    except Exception as lost:  # noqa: BLE001 - see above
        error.add_note(f"the outcome is not kept: {lost}")


def denial_of_decision(decision: Decision, index: int | None, trouble: str = "") -> Denied:
    """The denial that a decision of false states; ``trouble`` says where it is without a leaf."""
    codes = decision.denial.codes if decision.denial is not None else _PLAIN_NO
    where = f", leaf {index}" if index is not None else ""
    reasons = [f"decision {decision.id} is false{where}", *_stated_reasons(decision)]
    if trouble:
        reasons.append(trouble)
    return Denied(codes, reasons, index=index)


def _stated_reasons(decision: Decision) -> list[str]:
    """What the policy engine says to the subject, in AuthZEN's ``reason_user``, in any language."""
    context = decision.response.get("context")
    reason = context.get("reason_user") if isinstance(context, dict) else None
    found = list(reason.values()) if isinstance(reason, dict) else [reason]
    return [text for text in found if isinstance(text, str) and text]


def denial_of(error: BaseException) -> Denied:
    """The denial that an exception means: itself if it is one; an unexpected one is one too."""
    if isinstance(error, Denied):
        return error
    code: DenialCode = "authorization_discontinuity"
    if isinstance(error, Unreachable | NotPublished):
        code = "governance_mesh_discontinuity"
    elif isinstance(error, VerificationError | BadAnswer):
        code = "invalid_signature"
    return Denied((code,), [str(error) or type(error).__name__])


def denial_of_verdict(verdict: Verdict) -> Denied:
    """The denial of a verdict that does not permit, with a reason for each finding."""
    return Denied(
        verdict.codes, [finding.sentence for finding in verdict.findings], index=verdict.index
    )


def permit_of(receipt: Receipt, decision: Decision, addenda: Iterable[bytes] = ()) -> Permit:
    """The permit of a decision whose inclusion was verified against a quorum's checkpoint.

    It can disclose the ``addenda``, and discloses none. Raises VerificationError if it was not:
    nobody may act on such a receipt.
    """
    published = receipt.batch.published
    if published is None or published.cosigned is None:
        raise VerificationError("the decision's inclusion is not verified by a policy")
    held = {sha256(one).hexdigest(): one for one in addenda}
    return Permit.of(receipt.entry, receipt.tlog_proof(), decision, held=held)
