"""What is wrong with the approval that a decision rests on, as far as the decision tells. Pure.

Whether the log had it before, and whether other decisions rest on it as well, `relations` sees.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from muniment.audit.relations import Warned
from muniment.records.approval import SignedApproval, call_digest, is_own, verify_approval
from muniment.records.authority import key_reference
from muniment.records.kinds import Approval, Decision
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.note import VKey, parse_vkey

MOST_APART = 60
"""Seconds that the clocks of a gateway and an approver may differ."""


def judge_approval(record: object, index: int, approvers: tuple[str, ...]) -> list[Warned]:
    """What is wrong with an approval, or with the one that a decision rests on.

    `approvers` are the vkeys of those whose word counts; signatures are not looked at without any.
    """
    if isinstance(record, Approval):
        return [*_author(record.approval, index, _keys(approvers))]
    if not isinstance(record, Decision) or record.artifact is None:
        return []
    if record.artifact.approval is None:
        return []
    request: Mapping[str, Any] = msgspec.to_builtins(record.request)
    call = call_digest(request, record.addenda)
    found: list[Warned] = []
    for approval in record.artifact.approvals:
        found += _author(approval, index, _keys(approvers))
        if approval.gateway != record.producer or approval.call != call:
            found.append(_warn("other-approval", index, "rests on the approval of another call"))
        if not approval.at - MOST_APART <= record.time // 1000 < approval.not_after:
            found.append(_warn("late-approval", index, "rests on an approval outside its time"))
        if is_own(approval, request):
            found.append(_warn("self-approval", index, "was approved by who asked for it"))
    return found


def _author(approval: SignedApproval, index: int, approvers: Sequence[VKey]) -> Iterator[Warned]:
    if not approvers:
        return
    if all(key_reference(vkey) != approval.key for vkey in approvers):
        yield _warn("unknown-approver", index, f"has an approval by {approval.key!a}")
        return
    try:
        verify_approval(approval, approvers)
    except (VerificationError, FormatError):
        text = f"has an approval that {approval.key!a} did not sign"
        yield _warn("forged-approval", index, text)


def _warn(kind: str, index: int, text: str) -> Warned:
    return Warned(kind, index, f"entry {index} {text}")


@lru_cache(maxsize=8)
def _keys(vkeys: tuple[str, ...]) -> tuple[VKey, ...]:
    return tuple(map(parse_vkey, vkeys))
