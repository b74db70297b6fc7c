"""Turning what became of a decision into a permit or a denial (design sections 1 and 6).

Fail closed, in one place: whatever keeps a decision from being logged, cosigned and proven is a
``Denied`` with codes. The codes say which promise is missing:

- the decision itself is false: the codes that it states, or ``denied_by_policy``;
- log or witnesses did not answer in time: ``governance_mesh_discontinuity``;
- what came back does not verify: ``invalid_signature``;
- everything else, e.g. a refused record or a stream that has forked:
  ``authorization_discontinuity``: there is no authorization.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from muniment.errors import (
    BadAnswer,
    Denied,
    FormatError,
    MunimentError,
    NotPublished,
    Unreachable,
    VerificationError,
)
from muniment.formats.kinds import Decision
from muniment.formats.members import DenialCode
from muniment.formats.preparation import RecordInput
from muniment.formats.recordcodec import parse_record
from muniment.permit import Permit, Verdict
from muniment.receipts import Receipt

if TYPE_CHECKING:
    from muniment.gateway import Gateway

_PLAIN_NO: Final[tuple[DenialCode, ...]] = ("denied_by_policy",)


async def authorize(
    gateway: "Gateway",
    decision: RecordInput,
    edges: Iterable[RecordInput],
    timeout: float | None,  # noqa: ASYNC109 - the batch must outlive the caller's deadline
) -> Permit:
    """``Gateway.authorize``, of a gateway with a policy.

    Raises:
        Denied: In every case but one.
    """
    try:
        (entry,) = gateway.prepare([decision])
        record = parse_record(entry)
        if not isinstance(record, Decision):
            raise FormatError("kind: expected a decision")
        if not record.allowed:
            raise await _recorded_denial(gateway, record, entry, timeout)
        entries = [entry, *gateway.prepare(edges)]
        receipts = await gateway.submit_encoded(entries, published=True, timeout=timeout)
        return permit_of(receipts[0])
    except Denied:
        raise
    except Exception as error:
        # Not only the errors that we know: who cannot say why still may not run anything.
        raise denial_of_error(error) from error


async def _recorded_denial(
    gateway: "Gateway",
    decision: Decision,
    entry: bytes,
    timeout: float | None,  # noqa: ASYNC109 - see authorize
) -> Denied:
    try:
        (receipt,) = await gateway.submit_encoded([entry], timeout=timeout)
    except MunimentError as error:
        return denial_of_decision(decision, None, str(error))
    return denial_of_decision(decision, receipt.index)


def denial_of_decision(decision: Decision, index: int | None, trouble: str = "") -> Denied:
    """The denial that a decision of false states.

    Args:
        decision: The decision.
        index: Its leaf index; None when it could not be logged.
        trouble: Why it could not be logged.
    """
    codes = decision.denial.codes if decision.denial is not None else _PLAIN_NO
    where = f", leaf {index}" if index is not None else ""
    reasons = [f"decision {decision.id} is false{where}"]
    if trouble:
        reasons.append(f"the denial is not recorded: {trouble}")
    return Denied(codes, reasons, index=index)


def denial_of_error(error: Exception) -> Denied:
    """The denial that an error of the client means; an unexpected one is a denial too."""
    code: DenialCode = "authorization_discontinuity"
    if isinstance(error, Unreachable | NotPublished):
        code = "governance_mesh_discontinuity"
    elif isinstance(error, VerificationError | BadAnswer):
        code = "invalid_signature"
    return Denied((code,), [str(error) or type(error).__name__])


def denial_of_verdict(verdict: Verdict) -> Denied:
    """The denial of a verdict that does not permit."""
    return Denied(
        verdict.codes, [finding.sentence for finding in verdict.findings], index=verdict.index
    )


def permit_of(receipt: Receipt) -> Permit:
    """The permit of a decision whose inclusion was verified against a quorum's checkpoint.

    Raises:
        VerificationError: If it was not: nobody may act on such a receipt.
    """
    published = receipt.batch.published
    if published is None or published.cosigned is None:
        raise VerificationError("the decision's inclusion is not verified by a policy")
    return Permit.of(receipt.entry, receipt.tlog_proof())
