"""What a decision is made of: the call that it answers, its record, and what it authorises."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from secrets import token_hex
from typing import Any

import msgspec

from muniment.gateway.withholding import new_nonce
from muniment.records.addenda import Patterns, copied_json
from muniment.records.approval import SignedApproval, call_digest
from muniment.records.artifact import Binding, PolicyRef
from muniment.records.canonical import encode_canonical
from muniment.records.members import MAX_LABEL, DenialCode
from muniment_gateway.config import GatewayConfig
from muniment_gateway.core.anyjson import recordable
from muniment_gateway.core.authzen import OWN, own_context
from muniment_gateway.core.quorum import AuthorityAnswer, Combined
from muniment_gateway.engines.port import PassedOn


@dataclass(frozen=True, slots=True)
class RequestDetails:
    """What came with a request.

    Attributes:
        client: Who asks, by its token; empty when nobody has to show one.
        surface: What was asked: `authzen`, `opa`.
        asked: What is passed on to the engines beside the request.
        traceparent: The request's W3C trace context.
        is_exact: Whether a record can surely hold the request as it is.
        withheld: JSON pointers of what the record has only a digest of; the permit discloses it.
        patience: Seconds that the caller waits for a person, if one has to decide; with any, people
            are asked at once, without an access request.
        allowed: Called when the engines have allowed it, before the log is told: what has to be on
            disk as well can be written together with the record.
    """

    client: str = ""
    surface: str = "authzen"
    asked: PassedOn = field(default_factory=lambda: PassedOn({}))
    traceparent: str | None = None
    is_exact: bool = False
    withheld: tuple[str, ...] = ()
    patience: float | None = None
    allowed: Callable[[], object] = lambda: None


@dataclass(frozen=True, slots=True)
class Decided:
    """What a request comes to.

    Attributes:
        decision: The answer.
        response: The response of the engine that speaks for it; None when none does.
        own: What the gateway says of it: the member `muniment` of the response's context.
        answers: What the authorities answered.
        context: Other members of the response's context: those of AuthZEN's access requests.
    """

    decision: bool
    response: dict[str, Any] | None
    own: dict[str, Any]
    answers: Sequence[AuthorityAnswer] = ()
    context: Mapping[str, Any] = field(default_factory=dict)

    def authzen(self) -> dict[str, Any]:
        """It as an AuthZEN response: the engine's, with ours in its context."""
        said = self.response or {}
        context = {**said.get("context", {}), **self.context, OWN: self.own}
        return {**said, "decision": self.decision, "context": context}


def counted_ids(kind: str) -> Callable[[], str]:
    """Makes ids of one process: unique by a random prefix, then counted."""
    prefix, numbers = token_hex(8), count(1)
    return lambda: f"{kind}-{prefix}-{next(numbers)}"


def joint_policy(answers: Sequence[AuthorityAnswer]) -> PolicyRef | None:
    """The policy by which those that allowed have decided; of several, one that names them all.

    Then the id is ``quorum:<authority>,…``, and the digest that of the canonical JSON of the
    policies, each with its authority, which are in the record one by one.
    """
    known = [(one.authority, one.policy) for one in answers if one.allows and one.policy]
    if not known:
        return None
    if len({policy for _, policy in known}) == 1:
        return known[0][1]
    listed = [{"authority": name, **msgspec.to_builtins(policy)} for name, policy in sorted(known)]
    digest = sha256(encode_canonical(listed)).hexdigest()
    names = ",".join(name for name, _ in known)
    return PolicyRef(id=f"quorum:{names}"[:2048], revision=digest[:12], digest=f"sha256:{digest}")


def denial_of(record: Mapping[str, Any], codes: Sequence[DenialCode]) -> dict[str, Any]:
    """A decision made one of false, with other codes; nothing is authorised by it."""
    kept = {k: v for k, v in record.items() if k not in {"artifact", "signatures", "denial"}}
    response = {**kept["response"], "decision": False}
    return {**kept, "response": response, "denial": {"codes": list(codes)}}


def members_of(
    id_: str,
    execution: str,
    request: Mapping[str, Any],
    call: RequestDetails,
    told: Mapping[str, Any],
    combined: Combined | None = None,
) -> dict[str, Any]:
    """The members of a decision's record; of false when nothing was combined."""
    decision = combined is not None and combined.decision
    said = combined.speaker.response if combined is not None and combined.speaker else None
    context: dict[str, Any] = {OWN: dict(told)}
    others: dict[str, Any] = {}
    if said is not None:
        given = recordable(said.get("context", {}))
        context = {**given, OWN: dict(told)}
        others = {k: recordable(v) for k, v in said.items() if k not in {"decision", "context"}}
    record: dict[str, Any] = {
        "kind": "decision",
        "id": id_,
        "execution": execution,
        "request": request,
        "response": {**others, "decision": decision, "context": context},
    }
    if call.traceparent is not None:
        record["traceparent"] = call.traceparent
    if combined is not None and combined.codes:
        record["denial"] = {"codes": list(combined.codes)}
    return record


def withhold(
    record: dict[str, Any], call: RequestDetails, nonce: Callable[[str], str] = new_nonce
) -> tuple[dict[str, Any], list[bytes]]:
    """A record without what it withholds, and the addenda, which the log keeps.

    Raises FormatError if a member is too long, or has no canonical JSON.
    """
    if not call.withheld:
        return record, []
    members = {**record, "request": copied_json(record["request"])}
    addenda = Patterns(call.withheld).take_out(members, nonce)
    if addenda:
        return {**members, "kept": "log"}, [*addenda.values()]
    return record, []


def binding_of(request: Mapping[str, Any]) -> Binding | None:
    """The runtime that a request names; None for none, or what is no binding."""
    own = own_context(request)
    found = {name: own[name] for name in ("spiffe_id", "thumbprint") if name in own}
    if not found:
        return None
    try:
        return msgspec.convert(found, Binding)
    except msgspec.ValidationError:
        return None


def denied(id_: str, codes: Sequence[DenialCode], reasons: Sequence[str]) -> Decided:
    """A denial of which there is no record."""
    own = {"evaluation_id": id_, "codes": list(codes), "reasons": list(reasons)}
    return Decided(decision=False, response=None, own=own)


def artifact_of(
    config: GatewayConfig,
    request: Mapping[str, Any],
    answers: Sequence[AuthorityAnswer],
    word: AuthorityAnswer | None = None,
) -> dict[str, Any] | None:
    """What is authorised; None when nobody tells a policy.

    Its policy is that of the engines; where they tell none, that of the people who were asked.
    """
    policy = joint_policy(answers) or (None if word is None else joint_policy([word]))
    name, resource = request["action"]["name"], request["resource"]
    if policy is None or not 0 < len(name) <= MAX_LABEL or not resource["id"]:
        return None
    file, now = config.file, int(time.time())
    artifact: dict[str, Any] = {
        "scope": {
            "actions": [name],
            "resources": [{"type": resource["type"], "id": resource["id"]}],
        },
        "policy": msgspec.to_builtins(policy),
        "validity": {"not_before": now, "not_after": now + file.permit.seconds},
        "attribution": {"authority": file.name},
    }
    binding = binding_of(request) or config.binding
    if binding is not None:
        artifact["binding"] = msgspec.to_builtins(binding)
    if file.permit.governance:
        artifact["governance"] = dict(file.permit.governance)
    return artifact


def with_approvals(artifact: dict[str, Any], approvals: Sequence[SignedApproval]) -> dict[str, Any]:
    """An artifact that rests on approvals, and is good for no longer than any of them."""
    if not approvals:
        return artifact
    validity = artifact["validity"]
    until = max(
        min(validity["not_after"], *(one.not_after for one in approvals)),
        validity["not_before"] + 1,
    )
    first, *others = msgspec.to_builtins(approvals)
    further = {"further_approvals": others} if others else {}
    return {
        **artifact,
        "validity": {**validity, "not_after": until},
        "approval": first,
        **further,
    }


def unapproved(record: Mapping[str, Any], approvals: Sequence[SignedApproval]) -> str:
    """Why approvals do not carry the record of a decision; empty when they do."""
    if not approvals:
        return ""
    if "artifact" not in record:
        return "the approval cannot be recorded: the request has no name of an artifact's form"
    call = call_digest(record["request"], record.get("addenda"))
    if any(one.call != call for one in approvals):
        return "another call was approved"
    return ""
