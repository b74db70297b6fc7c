"""The rules for records that types alone cannot say.

`check_rules` is on the log's hot path: for a plain decision it costs under a microsecond.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from msgspec import UNSET, Struct, UnsetType, ValidationError, convert

from muniment.records.addenda import check_addenda
from muniment.records.approval import SignedApproval
from muniment.records.artifact import Artifact
from muniment.records.kinds import (
    Approval,
    Decision,
    Edge,
    Erasure,
    Outcome,
    Record,
    Relation,
    Revocation,
    Thing,
    ThingType,
    Verification,
)
from muniment.records.members import MAX_ID
from muniment.records.shape import PlainDecision, Shaped
from muniment.records.times import EARLIEST, LATEST, milliseconds_problem, seconds_problem
from muniment.tlog.encoding import FormatError, check_key_name, parse_base64

_NO_OBJECT: Final[dict[str, Any]] = {}

_MESSAGE: Final = re.compile(
    r"(?P<problem>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`)?", re.DOTALL
)

_FIRST: Final = EARLIEST * 1000
_LAST: Final = LATEST * 1000

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MOST: Final = 256  # characters of a decoder's message

_RULED: Final[frozenset[ThingType]] = frozenset({"policy", "grant"})

ENDPOINTS: Final[Mapping[Relation, tuple[frozenset[ThingType], frozenset[ThingType]]]] = {
    "authorized_by": (frozenset({"run"}), frozenset({"decision"})),
    "triggered_by": (frozenset({"run"}), frozenset({"run"})),
    "performed_by": (frozenset({"run"}), frozenset({"agent"})),
    "delegated_by": (frozenset({"agent"}), frozenset({"agent"})),
    "used": (frozenset({"run"}), frozenset({"artifact"})),
    "generated_by": (frozenset({"artifact"}), frozenset({"run"})),
    "derived_from": (_RULED, _RULED),
    "revoked_by": (frozenset({"decision"}), frozenset({"run"})),
}
"""For each relation, the types that its `from` and its `to` may have."""


class _Entity(Struct, frozen=True):
    type: str
    id: str
    properties: dict[str, Any] | UnsetType = UNSET


class _Action(Struct, frozen=True):
    name: str
    properties: dict[str, Any] | UnsetType = UNSET


class EvaluationRequest(Struct, frozen=True):
    """What AuthZEN wants a request to have; it may have more."""

    subject: _Entity
    action: _Action
    resource: _Entity
    context: dict[str, Any] | UnsetType = UNSET


class EvaluationResponse(Struct, frozen=True):
    """What AuthZEN wants a response to have; it may have more."""

    decision: bool
    context: dict[str, Any] | UnsetType = UNSET


def check_rules(record: Record | Shaped) -> None:
    """Checks what the types of a decoded record leave open; the producer's name excepted.

    Raises FormatError, which names the member that breaks a rule.
    """
    _check_id(record.id, "id")
    _RULES[record.__class__](record)


def check_producer(record: Record | Shaped) -> None:
    """Checks that the producer's name is a key name (C2SP signed-note), or raises FormatError."""
    check_key_name(record.producer, "producer")


def time_problem(record: Record | Shaped) -> str | None:
    """The member whose time is wrong, and what is wrong with it; None if nothing is.

    Records that are in a log already stay valid, whatever times they state; new ones are refused.
    """
    # Every new record comes by here: most of them state one time, and it is right.
    if not _FIRST <= record.time < _LAST:
        return f"time: {milliseconds_problem(record.time)}"
    if isinstance(record, Decision):
        if record.artifact is None:
            return None
        validity = record.artifact.validity
        for member, value in (
            ("artifact.validity.not_before", validity.not_before),
            ("artifact.validity.not_after", validity.not_after),
        ):
            if (problem := seconds_problem(value)) is not None:
                return f"{member}: {problem}"
    elif isinstance(record, Revocation):
        problem = seconds_problem(record.since)
        return None if problem is None else f"since: {problem}"
    elif isinstance(record, Approval):
        for member, value in (("at", record.approval.at), ("not_after", record.approval.not_after)):
            if (problem := seconds_problem(value)) is not None:
                return f"approval.{member}: {problem}"
    return None


def check_times(record: Record | Shaped) -> None:
    """Checks the times that a new record states; FormatError, see `time_problem`, names one."""
    if (problem := time_problem(record)) is not None:
        raise FormatError(problem)


def explain(error: ValidationError) -> str:
    """Turns a decoder's message into ours: the path of the member first, then what is wrong."""
    found = _MESSAGE.fullmatch(str(error))
    if found is None:
        raise AssertionError(f"unknown form of a decoder's message: {error}")
    # The name of an unknown member is the sender's: no control character of it reaches a terminal.
    problem = _CONTROL.sub("?", found["problem"]).replace("`", "")[:_MOST]
    problem, path = problem[:1].lower() + problem[1:], found["path"] or ""
    if found["key"]:
        problem += ", for a member's name"
    return f"{path.removeprefix('.')}: {problem}" if path else problem


def _check_id(text: str, member: str) -> None:
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise FormatError(f"{member}: expected visible ASCII characters only")


def _check_decision(record: Decision) -> None:
    request, response = record.request, record.response
    try:
        subject, action, resource = request["subject"], request["action"], request["resource"]
        decision = response["decision"]
        valid = (
            type(subject["type"]) is str
            and type(subject["id"]) is str
            and type(action["name"]) is str
            and type(resource["type"]) is str
            and type(resource["id"]) is str
            and type(decision) is bool
            and type(subject.get("properties", _NO_OBJECT)) is dict
            and type(action.get("properties", _NO_OBJECT)) is dict
            and type(resource.get("properties", _NO_OBJECT)) is dict
            and type(request.get("context", _NO_OBJECT)) is dict
            and type(response.get("context", _NO_OBJECT)) is dict
        )
    except (KeyError, TypeError):  # a member is missing, or is no object
        valid = False
    if not valid:
        _explain_evaluation(request, response)
    _check_authorization(record, allowed=response["decision"])


def _check_plain(record: PlainDecision) -> None:
    # Its shape has checked the evaluation already.
    _check_authorization(record, allowed=record.response.decision)


def _check_authorization(record: Decision, *, allowed: bool) -> None:
    """Checks what a decision has besides the evaluation."""
    if record.execution is not None:
        _check_id(record.execution, "execution")
    if record.denial is not None:
        if allowed:
            raise FormatError("denial: codes come only with a decision of false")
        _check_distinct(record.denial.codes, "denial.codes")
    if record.artifact is not None:
        _check_artifact(record.artifact)
    if record.signatures is not None:
        _check_distinct([one.key for one in record.signatures], "signatures: key")
        for number, one in enumerate(record.signatures):
            parse_base64(one.signature, f"signatures[{number}].signature")
    if record.addenda is not None:
        check_addenda(record)
    elif record.kept is not None:
        raise FormatError("kept: there are no addenda to keep")


def _explain_evaluation(request: dict[str, Any], response: dict[str, Any]) -> None:
    """Finds what is wrong with an AuthZEN pair that `_check_decision` has found wanting."""
    for member, value, type_ in (
        ("request", request, EvaluationRequest),
        ("response", response, EvaluationResponse),
    ):
        try:
            convert(value, type_)
        except ValidationError as error:
            separator = "" if str(error).find(" - at `$") < 0 else "."
            raise FormatError(f"{member}{separator or ': '}{explain(error)}") from None
    raise AssertionError("the quick check of a decision refuses what the thorough one accepts")


def _check_artifact(artifact: Artifact) -> None:
    _check_distinct(artifact.scope.actions, "artifact.scope.actions")
    binding, validity = artifact.binding, artifact.validity
    if binding is not None and binding.spiffe_id is None and binding.thumbprint is None:
        raise FormatError("artifact.binding: expected spiffe_id, thumbprint or both")
    if validity.not_after <= validity.not_before:
        raise FormatError("artifact.validity: not_after must be later than not_before")
    if artifact.approval is None:
        if artifact.further_approvals is not None:
            raise FormatError("artifact.further_approvals: there is no first one")
        return
    _check_allowing(artifact.approval, "artifact.approval")
    if artifact.further_approvals is not None:
        for number, one in enumerate(artifact.further_approvals):
            _check_allowing(one, f"artifact.further_approvals[{number}]")
        for member in ("id", "key"):
            if len({getattr(one, member) for one in artifact.approvals}) != len(artifact.approvals):
                raise FormatError(f"artifact.further_approvals: the same {member} twice")


def _check_allowing(approval: SignedApproval, member: str) -> None:
    _check_signed_approval(approval, member)
    if not approval.decision:
        raise FormatError(f"{member}.decision: nothing is authorised by a no")


def _check_edge(record: Edge) -> None:
    start, end = record.from_, record.to
    sources, targets = ENDPOINTS[record.relation]
    for member, thing, types in (("from", start, sources), ("to", end, targets)):
        if thing.type not in types:
            expected = " or ".join(sorted(types))
            raise FormatError(
                f"{member}.type: expected {expected} for {record.relation}, got {thing.type}"
            )
        if thing.type in ("run", "decision") and len(thing.id) > MAX_ID:
            raise FormatError(f"{member}.id: more than {MAX_ID} characters")
        if len({thing.origin is None, thing.index is None, thing.leaf is None}) != 1:
            raise FormatError(f"{member}: origin, index and leaf come together or not at all")
        if thing.origin is not None:
            check_key_name(thing.origin, f"{member}.origin")
    if _identity(start) == _identity(end):
        raise FormatError("to: an edge may not lead from a thing to itself")


def _identity(thing: Thing) -> tuple[str, str, str | None]:
    return thing.type, thing.id, thing.origin


def _check_verification(record: Verification) -> None:
    _check_id(record.execution, "execution")


def _check_outcome(record: Outcome) -> None:
    _check_id(record.execution, "execution")
    if record.denial is not None:
        if record.status != "aborted":
            raise FormatError(f"denial: a run that is {record.status} was not denied")
        if record.denial.reduced is not None:
            raise FormatError("denial.reduced: only of a decision")
        _check_distinct(record.denial.codes, "denial.codes")
    if record.unbound is not None:
        _check_distinct(record.unbound, "unbound")
    if record.kept is not None:
        digests = [*(record.inputs or {}).values(), *(record.outputs or {}).values()]
        if not digests:
            raise FormatError("kept: there are no addenda to keep")
        if not all(one.startswith("sha256:") for one in digests):
            raise FormatError("kept: an addendum is named by its SHA-256")


def _check_revocation(record: Revocation) -> None:
    target = record.target
    if [target.decision, target.execution, target.key].count(None) != 2:
        raise FormatError("target: expected exactly one of decision, execution and key")
    for member, value in (("decision", target.decision), ("execution", target.execution)):
        if value is not None:
            _check_id(value, f"target.{member}")


def _check_erasure(record: Erasure) -> None:
    digests = record.digests
    for number in range(1, len(digests)):
        if digests[number - 1] >= digests[number]:
            raise FormatError(f"digests[{number}]: expected in ascending order, each once")


def _check_approval(record: Approval) -> None:
    approval = record.approval
    _check_signed_approval(approval, "approval")
    if approval.id != record.id:
        raise FormatError("approval.id: expected the id of the record")
    if approval.gateway != record.producer:
        raise FormatError("approval.gateway: expected the producer of the record")


def _check_signed_approval(approval: SignedApproval, member: str) -> None:
    _check_id(approval.id, f"{member}.id")
    _check_id(approval.request, f"{member}.request")
    parse_base64(approval.signature, f"{member}.signature")
    if approval.not_after <= approval.at:
        raise FormatError(f"{member}.not_after: must be later than at")


def _check_distinct(values: tuple[str, ...] | list[str], member: str) -> None:
    if len(set(values)) != len(values):
        raise FormatError(f"{member}: a value comes twice")


_RULES: Final = cast(
    "Mapping[type, Callable[[Record], None]]",
    {
        Decision: _check_decision,
        PlainDecision: _check_plain,
        Edge: _check_edge,
        Verification: _check_verification,
        Outcome: _check_outcome,
        Revocation: _check_revocation,
        Erasure: _check_erasure,
        Approval: _check_approval,
    },
)
