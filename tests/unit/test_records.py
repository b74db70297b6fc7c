"""Records: every rule with the member that breaks it, and the fast path against the slow one."""

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from decisions import decisions
from muniment.records import codec as recordcodec
from muniment.records.api import (
    ENDPOINTS,
    Actor,
    Artifact,
    Attribution,
    Binding,
    Check,
    Decision,
    Denial,
    Edge,
    Entity,
    Erasure,
    Outcome,
    PolicyRef,
    Record,
    RecordError,
    ResourceScope,
    Revocation,
    Scope,
    Signature,
    Target,
    Thing,
    Validity,
    Verification,
    authority_vkey,
    check_records,
    complete_record,
    decision_of_evaluation,
    encode_record,
    key_reference,
    parse_record,
    sign_decision,
    signing_input,
    verify_signatures,
)
from muniment.records.canonical import MAX_RECORD, MAX_SAFE_INTEGER, encode_canonical
from muniment.records.forms import Forms
from muniment.records.quick import read_plain
from muniment.records.submission import split_ndjson, split_records
from muniment.tlog.encoding import FormatError, VerificationError, parse_base64
from muniment.tlog.keys.keyfile import PrivateKey
from muniment.tlog.note import COSIGNATURE_ED25519, VKey

PRODUCER = "gw.example/edge"
DATA = Path(__file__).parents[2].parent / "shared" / "data"
DIGEST = "sha256:" + "0a" * 32
LEAF = "A" * 43 + "="

REQUEST: dict[str, Any] = {
    "subject": {"type": "user", "id": "alice@acmecorp.com", "properties": {"department": "Sales"}},
    "action": {"name": "can_read", "properties": {"method": "GET"}},
    "resource": {"type": "account", "id": "123", "properties": {"tags": ["a", 1, None, 0.5]}},
    "context": {"time": "1985-10-26T01:22-07:00"},
}
ARTIFACT: dict[str, Any] = {
    "scope": {
        "actions": ["can_read"],
        "resources": [{"type": "account", "id": "123"}, {"type": "todo"}],
    },
    "binding": {"spiffe_id": "spiffe://example.org/agent/7", "thumbprint": DIGEST},
    "environment": {"image": DIGEST, "kernel": "sha384:" + "0b" * 48},
    "policy": {"id": "accounts", "revision": "42", "digest": "sha512:" + "0c" * 64},
    "validity": {"not_before": 1_790_000_000, "not_after": 1_790_000_600},
    "attribution": {
        "authority": "authority.example/ops",
        "act": {"sub": "agent-2", "act": {"sub": "agent-1", "iss": "https://id.example"}},
    },
    "governance": {"mesh": "eu-production", "owner": "Zoë"},
}
COMMON: dict[str, Any] = {"v": 1, "id": "r-1", "time": 1_790_000_000_000, "producer": PRODUCER}
DECISION: dict[str, Any] = COMMON | {
    "kind": "decision",
    "request": REQUEST,
    "response": {"decision": True, "context": {"reason": "ok"}},
    "execution": "run-1",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "artifact": ARTIFACT,
    "signatures": [{"key": "authority.example/ops+530d903a", "signature": "AAAA"}],
}
DENIED: dict[str, Any] = COMMON | {
    "kind": "decision",
    "request": REQUEST,
    "response": {"decision": False},
    "denial": {"codes": ["policy_mismatch", "denied_by_policy"]},
}
EDGE: dict[str, Any] = COMMON | {
    "kind": "edge",
    "relation": "triggered_by",
    "from": {"type": "run", "id": "run-2"},
    "to": {"type": "run", "id": "run-1", "origin": "log.example/b", "index": 7, "leaf": LEAF},
}
VERIFICATION: dict[str, Any] = COMMON | {
    "kind": "verification",
    "execution": "run-1",
    "state": "failed",
    "checks": [
        {"name": "inclusion", "result": "verified"},
        {"name": "image", "result": "failed", "evidence": DIGEST},
    ],
}
OUTCOME: dict[str, Any] = COMMON | {
    "kind": "outcome",
    "execution": "run-1",
    "status": "completed",
    "inputs": {"prompt": DIGEST},
    "outputs": {"report": DIGEST},
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
}
NEVER_BEGAN: dict[str, Any] = COMMON | {
    "kind": "outcome",
    "execution": "run-1",
    "status": "aborted",
    "denial": {"codes": ["runtime_identity_mismatch"]},
}
UNKNOWN: dict[str, Any] = COMMON | {"kind": "outcome", "execution": "run-1", "status": "unknown"}
REVOCATION: dict[str, Any] = COMMON | {
    "kind": "revocation",
    "target": {"execution": "run-1"},
    "since": 1_790_000_000,
    "reason": "the agent's key was stolen",
}
ERASURE: dict[str, Any] = COMMON | {
    "kind": "erasure",
    "digests": ["0a" * 32, "0b" * 32],
    "by": "retention of domain=hr",
    "reason": "180 days are over",
}
APPROVAL: dict[str, Any] = COMMON | {
    "kind": "approval",
    "approval": {
        "id": COMMON["id"],
        "request": "arq-1",
        "gateway": COMMON["producer"],
        "call": DIGEST,
        "decision": True,
        "approver": "alice@example.com",
        "at": 1_790_000_000,
        "not_after": 1_790_000_300,
        "reason": "it is the ticket of the customer",
        "key": "people.example/alice+01234567",
        "signature": "AA" * 42 + "AA==",
    },
}
APPROVED: dict[str, Any] = DECISION | {
    "artifact": DECISION["artifact"] | {"approval": APPROVAL["approval"]}
}
SIGNED: dict[str, Any] = APPROVAL["approval"]
FURTHER: dict[str, Any] = SIGNED | {"id": "apr-2", "key": "people.example/bob+01234568"}
BY_TWO: dict[str, Any] = DECISION | {
    "artifact": DECISION["artifact"] | {"approval": SIGNED, "further_approvals": [FURTHER]}
}
EXAMPLES = {
    "decision": DECISION,
    "denied": DENIED,
    "edge": EDGE,
    "verification": VERIFICATION,
    "outcome": OUTCOME,
    "never began": NEVER_BEGAN,
    "unknown": UNKNOWN,
    "revocation": REVOCATION,
    "erasure": ERASURE,
    "approval": APPROVAL,
    "approved": APPROVED,
    "approved by two": BY_TWO,
}
ABSENT = object()


def changed(record: dict[str, Any], path: str, value: Any) -> bytes:
    """The canonical bytes of a record with one member replaced, added or (ABSENT) removed."""
    copy = json.loads(json.dumps(record))
    *parents, last = path.split("/")
    inner = copy
    for name in parents:
        inner = inner[int(name)] if isinstance(inner, list) else inner[name]
    if value is ABSENT:
        del inner[last]
    else:
        inner[int(last) if isinstance(inner, list) else last] = value
    return encode_canonical(copy)


def timed(value: bytes) -> bytes:
    """A denied decision whose context has this for a time."""
    return encode_canonical(DENIED).replace(b'"1985-10-26T01:22-07:00"', value)


def outcome_of_fast(data: bytes) -> str | None:
    """What the batch check says of one record; None when it accepts."""
    try:
        check_records([data], PRODUCER)
    except RecordError as error:
        return str(error).removeprefix("record 0: ")
    return None


def outcome_of_slow(data: bytes) -> str | None:
    """What the complete check alone says."""
    try:
        record = recordcodec.examine(data)
    except FormatError as error:
        return str(error).removeprefix("record: ")
    if record.producer != PRODUCER:
        return f"producer: expected {PRODUCER!a}, got {record.producer!a}"
    return None


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_kind_comes_back(name: str) -> None:
    data = encode_canonical(EXAMPLES[name])
    record = parse_record(data)
    assert encode_record(record) == data
    assert record == recordcodec.examine(data)
    check_records([data] * 3, PRODUCER)


def test_records_made_in_python() -> None:
    decision = Decision(
        **COMMON,
        request=REQUEST,
        response={"decision": True, "context": {"reason": "ok"}},
        execution="run-1",
        traceparent=DECISION["traceparent"],
        artifact=Artifact(
            scope=Scope(
                actions=("can_read",),
                resources=(ResourceScope(type="account", id="123"), ResourceScope(type="todo")),
            ),
            binding=Binding(spiffe_id="spiffe://example.org/agent/7", thumbprint=DIGEST),
            environment=ARTIFACT["environment"],
            policy=PolicyRef(id="accounts", revision="42", digest="sha512:" + "0c" * 64),
            validity=Validity(not_before=1_790_000_000, not_after=1_790_000_600),
            attribution=Attribution(
                authority="authority.example/ops",
                act=Actor(sub="agent-2", act=Actor(sub="agent-1", iss="https://id.example")),
            ),
            governance=ARTIFACT["governance"],
        ),
        signatures=(Signature(key="authority.example/ops+530d903a", signature="AAAA"),),
    )
    assert encode_record(decision) == encode_canonical(DECISION)
    assert decision.allowed
    assert decision.subject == Entity("user", "alice@acmecorp.com")
    assert decision.action == "can_read"
    assert decision.resource == Entity("account", "123")
    artifact = decision.artifact
    assert [actor.sub for actor in artifact.attribution.chain()] == ["agent-2", "agent-1"]
    assert artifact.scope.allows("can_read", "todo", "any")
    assert artifact.scope.allows("can_read", "account", "123")
    assert not artifact.scope.allows("can_read", "account", "124")
    assert not artifact.scope.allows("can_write", "todo", "any")
    for seconds, is_covered in ((-1, False), (0, True), (599, True), (600, False)):
        assert artifact.validity.covers(1_790_000_000 + seconds) is is_covered
    others: list[tuple[Record, dict[str, Any]]] = [
        (
            Edge(
                **COMMON,
                relation="triggered_by",
                from_=Thing(type="run", id="run-2"),
                to=Thing(type="run", id="run-1", origin="log.example/b", index=7, leaf=LEAF),
            ),
            EDGE,
        ),
        (
            Verification(
                **COMMON,
                execution="run-1",
                state="failed",
                checks=(
                    Check(name="inclusion", result="verified"),
                    Check(name="image", result="failed", evidence=DIGEST),
                ),
            ),
            VERIFICATION,
        ),
        (
            Outcome(
                **COMMON,
                execution="run-1",
                status="completed",
                inputs={"prompt": DIGEST},
                outputs={"report": DIGEST},
                traceparent=OUTCOME["traceparent"],
            ),
            OUTCOME,
        ),
        (
            Revocation(
                **COMMON,
                target=Target(execution="run-1"),
                since=1_790_000_000,
                reason="the agent's key was stolen",
            ),
            REVOCATION,
        ),
        (
            Erasure(
                **COMMON,
                digests=("0a" * 32, "0b" * 32),
                by="retention of domain=hr",
                reason="180 days are over",
            ),
            ERASURE,
        ),
    ]
    for record, members in others:
        assert encode_record(record) == encode_canonical(members)


BAD = [
    # common members
    (DECISION, "v", 2, "v: invalid enum value 2"),
    (DECISION, "v", 1.5, "v: expected int, got float"),
    (DECISION, "id", ABSENT, "object missing required field id"),
    (DECISION, "id", "", "id: expected str of length >= 1"),
    (DECISION, "id", "x" * 129, "id: expected str of length <= 128"),
    (DECISION, "id", "a b", "id: expected visible ASCII"),
    (DECISION, "id", "é", "id: expected visible ASCII"),
    (DECISION, "id", "\x7f", "id: expected visible ASCII"),
    (DECISION, "id", 7, "id: expected str, got int"),
    (DECISION, "time", -1, "time: expected int >= 0"),
    (DECISION, "time", True, "time: expected int, got bool"),
    (DECISION, "producer", "gw example", "producer: "),
    (DECISION, "producer", "gw+example", "producer: "),
    (DECISION, "producer", "gw.example/other", "producer: expected 'gw.example/edge', got"),
    (DECISION, "kind", "decisions", "kind: invalid value 'decisions'"),
    (DECISION, "kind", ABSENT, "object missing required field kind"),
    (DECISION, "extra", 1, "object contains unknown field extra"),
    (DECISION, "a\x1b\n`b", 1, "object contains unknown field a??b"),
    (DECISION, "x" * 999, 1, "object contains unknown field xxx"),
    (DECISION, "artifact", None, "artifact: null; leave the member out"),
    (DECISION, "artifact/binding", None, "artifact.binding: null; leave the member out"),
    (DECISION, "artifact/scope/resources/1/id", None, "artifact.scope.resources[1].id: null"),
    # AuthZEN
    (DECISION, "request", [], "request: expected object, got array"),
    (DECISION, "request/subject", ABSENT, "request: object missing required field subject"),
    (DECISION, "request/subject", "alice", "request.subject: expected object, got str"),
    (DECISION, "request/subject/id", 7, "request.subject.id: expected str, got int"),
    (DECISION, "request/subject/type", None, "request.subject.type: expected str, got null"),
    (DECISION, "request/action", {}, "request.action: object missing required field name"),
    (DECISION, "request/action/properties", [], "request.action.properties: expected object"),
    (DECISION, "request/resource", ["type", "id"], "request.resource: expected object, got array"),
    (DECISION, "request/resource/properties", None, "request.resource.properties: expected"),
    (DECISION, "request/context", "x", "request.context: expected object, got str"),
    (DECISION, "response/decision", 1, "response.decision: expected bool, got int"),
    (DECISION, "response/decision", ABSENT, "response: object missing required field decision"),
    (DECISION, "response/context", [], "response.context: expected object, got array"),
    # decision
    (DECISION, "execution", "run 1", "execution: expected visible ASCII"),
    (DECISION, "traceparent", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", "traceparent: "),
    (DECISION, "traceparent", "ff" + DECISION["traceparent"][2:], "traceparent: "),
    (DECISION, "traceparent", DECISION["traceparent"] + "\n", "traceparent: "),
    (DECISION, "denial", {"codes": ["denied_by_policy"]}, "denial: codes come only with"),
    (DENIED, "denial/codes", [], "denial.codes: expected array of length >= 1"),
    (DENIED, "denial/codes", ["no"], "denial.codes[0]: invalid enum value 'no'"),
    (DENIED, "denial/codes", ["policy_mismatch"] * 2, "denial.codes: a value comes twice"),
    (DENIED, "denial/reason", "x", "denial: object contains unknown field reason"),
    (DECISION, "signatures", [], "signatures: expected array of length >= 1"),
    (DECISION, "signatures", DECISION["signatures"] * 2, "signatures: key: a value comes twice"),
    (DECISION, "signatures", DECISION["signatures"] * 17, "signatures: expected array of length"),
    (DECISION, "signatures/0/signature", "AB==", "signatures[0].signature: not canonical"),
    (DECISION, "signatures/0/key", "authority.example/ops", "signatures[0].key: "),
    (DECISION, "signatures/0/key", "authority.example/ops+530D903A", "signatures[0].key: "),
    # artifact
    (DECISION, "artifact/scope", ABSENT, "artifact: object missing required field scope"),
    (DECISION, "artifact/scope/actions", [], "artifact.scope.actions: expected array of length"),
    (DECISION, "artifact/scope/actions", ["a", "a"], "artifact.scope.actions: a value comes"),
    (DECISION, "artifact/scope/resources/0/type", ABSENT, "artifact.scope.resources[0]: object"),
    (DECISION, "artifact/binding", {}, "artifact.binding: expected spiffe_id, thumbprint"),
    (DECISION, "artifact/binding/spiffe_id", "https://x", "artifact.binding.spiffe_id: "),
    (DECISION, "artifact/binding/spiffe_id", "spiffe://x/../y", "artifact.binding.spiffe_id: "),
    (DECISION, "artifact/binding/spiffe_id", "spiffe://x/", "artifact.binding.spiffe_id: "),
    (DECISION, "artifact/binding/thumbprint", "0a" * 32, "artifact.binding.thumbprint: "),
    (DECISION, "artifact/environment", {}, "artifact.environment: expected object of length"),
    (DECISION, "artifact/environment/image", DIGEST + "\n", "artifact.environment[...]: "),
    (DECISION, "artifact/environment/image", DIGEST.upper(), "artifact.environment[...]: "),
    (DECISION, "artifact/environment/image", "sha384:" + "0a" * 32, "artifact.environment[...]"),
    (DECISION, "artifact/environment/a b", DIGEST, "artifact.environment: expected str matching"),
    (DECISION, "artifact/policy/digest", ABSENT, "artifact.policy: object missing"),
    (DECISION, "artifact/validity/not_after", 1_790_000_000, "artifact.validity: not_after must"),
    (DECISION, "artifact/validity/not_before", -1, "artifact.validity.not_before: expected int"),
    (DECISION, "artifact/attribution/act/act/name", "x", "artifact.attribution.act.act: object"),
    (DECISION, "artifact/governance/mesh", 7, "artifact.governance[...]: expected str, got int"),
    # edge
    (EDGE, "relation", "caused_by", "relation: invalid enum value 'caused_by'"),
    (EDGE, "from", ABSENT, "object missing required field from"),
    (EDGE, "from/type", "agent", "from.type: expected run for triggered_by, got agent"),
    (EDGE, "to/type", "decision", "to.type: expected run for triggered_by, got decision"),
    (EDGE, "to/type", "tool", "to.type: invalid enum value 'tool'"),
    (EDGE, "to", {"type": "run", "id": "run-2"}, "to: an edge may not lead from a thing to itself"),
    (EDGE, "to/id", "x" * 129, "to.id: more than 128 characters"),
    (EDGE, "to/index", ABSENT, "to: origin, index and leaf come together"),
    (EDGE, "to/leaf", ABSENT, "to: origin, index and leaf come together"),
    (EDGE, "to/origin", ABSENT, "to: origin, index and leaf come together"),
    (EDGE, "to/origin", "log example", "to.origin: "),
    (EDGE, "to/leaf", "A" * 42 + "B=", "to.leaf: "),
    # verification, outcome, revocation
    (VERIFICATION, "state", "ok", "state: invalid enum value 'ok'"),
    (VERIFICATION, "checks", {}, "checks: expected array, got object"),
    (VERIFICATION, "checks/0/evidence", "x", "checks[0].evidence: expected str matching"),
    (VERIFICATION, "execution", "é", "execution: expected visible ASCII"),
    (OUTCOME, "status", "done", "status: invalid enum value 'done'"),
    (OUTCOME, "outputs", {}, "outputs: expected object of length >= 1"),
    (OUTCOME, "execution", ABSENT, "object missing required field execution"),
    (OUTCOME, "denial", {"codes": ["denied_by_policy"]}, "denial: a run that is completed was not"),
    (UNKNOWN, "denial", {"codes": ["denied_by_policy"]}, "denial: a run that is unknown was not"),
    (NEVER_BEGAN, "denial", {"codes": []}, "denial.codes: expected array of length >= 1"),
    (NEVER_BEGAN, "denial", {"codes": ["denied_by_policy"] * 2}, "denial.codes: a value comes"),
    (NEVER_BEGAN, "status", "failed", "denial: a run that is failed was not denied"),
    (REVOCATION, "target", {}, "target: expected exactly one of"),
    (REVOCATION, "target/decision", "r-1", "target: expected exactly one of"),
    (REVOCATION, "target", {"decision": "r 1"}, "target.decision: expected visible ASCII"),
    (REVOCATION, "target", {"key": "gw.example/edge"}, "target.key: expected str matching"),
    (REVOCATION, "since", 1.5, "since: expected int, got float"),
    (REVOCATION, "reason", "", "reason: expected str of length >= 1"),
    (ERASURE, "digests", [], "digests: expected array of length >= 1"),
    (ERASURE, "digests", [f"{n:064x}" for n in range(501)], "digests: expected array of length <="),
    (ERASURE, "digests/1", "0A" * 32, "digests[1]: expected str matching"),
    (ERASURE, "digests/1", DIGEST, "digests[1]: expected str matching"),
    (ERASURE, "digests/1", "0a" * 32, "digests[1]: expected in ascending order, each once"),
    (ERASURE, "digests/1", "09" * 32, "digests[1]: expected in ascending order, each once"),
    (ERASURE, "by", ABSENT, "object missing required field by"),
    (ERASURE, "by", "", "by: expected str of length >= 1"),
    (ERASURE, "reason", "x" * 1025, "reason: expected str of length <= 1024"),
    (ERASURE, "execution", "run-1", "object contains unknown field execution"),
    (APPROVAL, "approval", ABSENT, "object missing required field approval"),
    (APPROVAL, "approval/id", "other", "approval.id: expected the id of the record"),
    (APPROVAL, "approval/gateway", "gw.example/b", "approval.gateway: expected the producer"),
    (APPROVAL, "approval/call", "x", "approval.call: expected str matching"),
    (APPROVAL, "approval/decision", "yes", "approval.decision: expected bool"),
    (APPROVAL, "approval/approver", "", "approval.approver: expected str of length >= 1"),
    (APPROVAL, "approval/not_after", 1_790_000_000, "approval.not_after: must be later"),
    (APPROVAL, "approval/reason", None, "approval.reason: null; leave"),
    (APPROVAL, "approval/key", "people.example/alice", "approval.key: expected str matching"),
    (APPROVAL, "approval/signature", "AB==", "approval.signature: "),
    (APPROVAL, "approval/request", "a b", "approval.request: expected visible ASCII"),
    (APPROVAL, "approval/more", 1, "approval: object contains unknown field more"),
    (APPROVED, "artifact/approval/decision", False, "artifact.approval.decision: nothing is"),
    (APPROVED, "artifact/approval/not_after", 1, "artifact.approval.not_after: must be later"),
    (APPROVED, "artifact/approval", None, "artifact.approval: null; leave"),
    (
        APPROVED,
        "artifact/further_approvals",
        [APPROVED["artifact"]["approval"]],
        "artifact.further_approvals: the same id twice",
    ),
    (APPROVED, "artifact/further_approvals", [], "artifact.further_approvals: expected array of"),
    (APPROVED, "artifact/further_approvals", [1], "artifact.further_approvals[0]: expected object"),
    (
        BY_TWO,
        "artifact/further_approvals/0/key",
        SIGNED["key"],
        "artifact.further_approvals: the same key twice",
    ),
    (
        BY_TWO,
        "artifact/further_approvals/0/decision",
        False,
        "artifact.further_approvals[0].decision: nothing is authorised by a no",
    ),
    (BY_TWO, "artifact/approval", ABSENT, "artifact.further_approvals: there is no first one"),
]


@pytest.mark.parametrize(
    ("record", "path", "value", "message"), BAD, ids=[f"{r['kind']}-{p}" for r, p, _, _ in BAD]
)
def test_what_breaks_a_rule_is_named(
    record: dict[str, Any], path: str, value: Any, message: str
) -> None:
    data = changed(record, path, value)
    fast = outcome_of_fast(data)
    assert fast.startswith(message)
    slow = outcome_of_slow(data)
    assert slow == fast
    if "producer: expected" not in message:
        with pytest.raises(FormatError) as caught:
            parse_record(data)
        assert str(caught.value) == f"record: {slow}"


@pytest.mark.parametrize(
    ("record", "path", "value"),
    [
        (DECISION, "id", "x" * 128),
        (DECISION, "time", MAX_SAFE_INTEGER),
        (DECISION, "time", 0),
        (DECISION, "request/purpose", {"x": [1, None]}),
        (DECISION, "request/subject/extra", None),
        (DECISION, "request/context/inner", {"subject": 1}),
        (DECISION, "request/subject/id", "李 any text\u2028"),
        (DECISION, "response/obligations", ["log"]),
        (DECISION, "artifact", ABSENT),
        (DECISION, "artifact/binding/spiffe_id", ABSENT),
        (DECISION, "artifact/binding/spiffe_id", "spiffe://example.org"),
        (DECISION, "artifact/attribution/act", ABSENT),
        (DENIED, "denial", ABSENT),
        (EDGE, "to", {"type": "run", "id": "run-1"}),
        (EDGE, "to/id", "run-2"),  # in another log, so another thing
        (VERIFICATION, "checks", []),
        (REVOCATION, "target", {"key": "gw.example/edge+530d903a"}),
        (REVOCATION, "target", {"key": DIGEST}),
        (ERASURE, "digests", [f"{n:064x}" for n in range(500)]),
        (ERASURE, "reason", ABSENT),
        (APPROVAL, "approval/reason", ABSENT),
        (APPROVAL, "approval/decision", False),
    ],
)
def test_what_is_allowed(record: dict[str, Any], path: str, value: Any) -> None:
    data = changed(record, path, value)
    assert outcome_of_fast(data) is None
    assert outcome_of_slow(data) is None
    assert encode_record(parse_record(data)) == data


@pytest.mark.parametrize("relation", ENDPOINTS)
def test_ends_of_each_relation(relation: str) -> None:
    types = ("run", "decision", "agent", "artifact", "policy", "grant")
    sources, targets = ENDPOINTS[relation]  # type: ignore[index]  # a parametrised string
    for source in types:
        for target in types:
            edge = EDGE | {
                "relation": relation,
                "from": {"type": source, "id": "a"},
                "to": {"type": target, "id": "b"},
            }
            refused = outcome_of_fast(encode_canonical(edge))
            assert (refused is None) == (source in sources and target in targets)


def test_agents_may_have_long_names() -> None:
    name = "spiffe://example.org/" + "a" * 500
    edge = EDGE | {"relation": "performed_by", "to": {"type": "agent", "id": name}}
    assert outcome_of_fast(encode_canonical(edge)) is None


def test_the_entry_is_numbered() -> None:
    entries = decisions(20)
    entries[17] = entries[17].replace(b'"type":"agent"', b'"type":1')
    with pytest.raises(RecordError) as caught:
        check_records(entries, PRODUCER)
    assert str(caught.value) == "record 17: request.subject.type: expected str, got int"
    assert caught.value.entry == 17
    check_records([], PRODUCER)
    with pytest.raises(FormatError):
        check_records([], "no key name")


@pytest.mark.parametrize(
    "value",
    [
        "1.0",
        "1e2",
        "-0",
        "-0.0",
        "0.10",
        "9007199254740992",
        "1e400",
        "NaN",
        '"\\ud800"',
        '"\\/"',
        "1.50",
        "123456789012345678901234567890",
        "0.0000001",
        "1E5",
        '{"b":1,"a":1}',
        "[1, 2]",
        '{"a":1,"a":1}',
        '{"a":1,"a":2}',
        "1.00000000000000000001",
        "10000000000000000000.5",
        "-9007199254740992",
        "[9007199254740993]",
        '"\\u001F"',
        '"\x7f\\u007f"',
    ],
)
def test_numbers_and_strings_that_are_not_canonical(value: str) -> None:
    """RFC 8785: what a quick decoder and encoder would let pass."""
    text = timed(value.encode())
    assert outcome_of_slow(text) is not None
    assert outcome_of_fast(text) == outcome_of_slow(text)


@pytest.mark.parametrize(
    "value",
    [
        "0.5",
        "-12.25",
        "0.000001",
        "1e-7",
        "1e+21",
        "123456789012.345",
        "0.1234567890123456",
        "9007199254740991",
        "-9007199254740991",
        "333333333.3333333",
        "5e-324",
        '{"é":1,"\ue000":2}',
        '"9007199254740993000"',
        '":9007199254740993000"',
        '"\x7f"',
        '{"😀":1,"\ufb33":2}',
        '{"😀\\":":1,"\ufb33":2}',
    ],
)
def test_numbers_and_names_that_need_the_slow_path(value: str) -> None:
    text = timed(value.encode())
    assert outcome_of_slow(text) is None
    assert outcome_of_fast(text) is None
    check_records([*decisions(3), text, *decisions(3)], PRODUCER)
    assert encode_record(parse_record(text)) == text


def test_names_are_sorted_by_utf16() -> None:
    """RFC 8785 section 3.2.3: not by code points, as the quick encoder does."""
    for rest in ("", '\\":', "\\\\", "é😀"):
        by_code_point = timed(f'{{"\ufb33":1,"😀{rest}":2}}'.encode())
        refused = outcome_of_slow(by_code_point)
        assert refused.startswith("not canonical")
        assert outcome_of_fast(by_code_point) == refused


@pytest.mark.parametrize("end", ['"', "\\", ""])
def test_long_strings_take_time_in_proportion(end: str) -> None:
    """A batch of strings of characters beyond U+FFFF; time in their square would be an hour."""
    text = changed(DENIED, "request/context/time", "😀" * 15_000)
    assert 60_000 < len(text) <= MAX_RECORD
    if end == '"':
        check_records([text] * 120, PRODUCER)
    else:  # cut off within the string
        broken = text[: text.rindex("😀".encode())] + end.encode()
        with pytest.raises(RecordError, match=r"^record 119: "):
            check_records([*[text] * 119, broken], PRODUCER)


def test_depth_is_bounded() -> None:
    def nested(levels: int) -> bytes:
        return timed(b"[" * levels + b"]" * levels)

    assert outcome_of_fast(nested(61)) is None
    assert outcome_of_slow(nested(61)) is None
    for levels in (62, 100, 900, 30_000):
        assert outcome_of_fast(nested(levels)) == outcome_of_slow(nested(levels))
        assert "levels deep" in str(outcome_of_fast(nested(levels)))
    wide = timed(b"[" + b"[]," * 99 + b"1]")
    assert outcome_of_fast(wide) is None


def test_size_is_bounded() -> None:
    def padded(size: int) -> bytes:
        plain = len(changed(DENIED, "request/context/time", ""))
        return changed(DENIED, "request/context/time", "x" * (size - plain))

    assert len(padded(MAX_RECORD)) == MAX_RECORD
    check_records([padded(MAX_RECORD)], PRODUCER)
    with pytest.raises(RecordError, match="more than 65535 bytes"):
        check_records([padded(MAX_RECORD), padded(MAX_RECORD + 1)], PRODUCER)


@pytest.mark.parametrize("data", [b"", b"1", b"null", b"[]", b"{}", b'"decision"', b"\xff", b"{"])
def test_what_is_no_record(data: bytes) -> None:
    assert outcome_of_fast(data) is not None
    assert outcome_of_fast(data) == outcome_of_slow(data)


# Fast and slow path against each other.

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
NUMBERS = (
    st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(-1000, 1000, places=3, allow_nan=False).map(float)
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
# A likely and an unlikely spelling of whatever JSON value lands in a record.
SPELL = (
    encode_canonical,
    lambda value: msgspec.json.encode(value, order="sorted"),
    lambda value: json.dumps(value, separators=(",", ":"), sort_keys=True).encode(),
    lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(),
)
PIECES = [b"null", b"1.0", b"-0", b"1e2", b"0.5", b"{", b"[", b",", b'"', b" ", b"\\u00e9", b"\n"]
PIECES += [b"9007199254740993", b'"v":1,', b'"x":1,', b"\xf0\x9f\x98\x80", b"\xee\x80\x80", b"\xff"]


@st.composite
def spelled(draw: st.DrawFn) -> bytes:
    """A record with an arbitrary value somewhere in it, canonical or nearly so."""
    record = json.loads(json.dumps(EXAMPLES[draw(st.sampled_from(list(EXAMPLES)))]))
    spots: list[tuple[Any, Any]] = []

    def collect(value: Any) -> None:
        items: Any = ()
        if isinstance(value, dict):
            items = value.items()
            spots.append((value, draw(TEXT)))
        elif isinstance(value, list):
            items = enumerate(value)
        for name, inner in items:
            spots.append((value, name))
            collect(inner)

    collect(record)
    inside = [spot for spot in spots if draw(st.booleans()) or "context" in spot[0]]
    holder, name = draw(st.sampled_from(inside or spots))
    holder[name] = draw(JSON)
    try:
        return draw(st.sampled_from(SPELL))(record)
    except (FormatError, UnicodeEncodeError):
        return json.dumps(record, separators=(",", ":")).encode()


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(data=spelled())
def test_fast_and_slow_agree_on_values(data: bytes) -> None:
    agree(data)


@settings(max_examples=500)
@given(
    name=st.sampled_from(list(EXAMPLES)),
    at=st.integers(0, 2000),
    piece=st.sampled_from(PIECES) | st.binary(max_size=2),
    cut=st.integers(0, 3),
)
@example(name="decision", at=0, piece=b"\xef\xbb\xbf", cut=0)
@example(name="decision", at=1_000_000, piece=b" ", cut=0)
def test_fast_and_slow_agree_on_mutations(name: str, at: int, piece: bytes, cut: int) -> None:
    data = encode_canonical(EXAMPLES[name])
    at = min(at, at % (len(data) + 1)) if at < 1_000_000 else len(data)
    agree(data[:at] + piece + data[at + cut :])


def agree(data: bytes) -> None:
    """Both paths accept or refuse for the same reason; what they accept comes back."""
    slow = outcome_of_slow(data)
    assert outcome_of_fast(data) == slow
    if slow is None:
        record = parse_record(data)
        assert record == recordcodec.examine(data)
        assert encode_record(record) == data


RECORDS = [encode_canonical(example) for example in EXAMPLES.values()]


@settings(max_examples=300)
@given(
    pieces=st.lists(
        st.sampled_from([*RECORDS, *decisions(3), b"\n", b"", b"{}", b"[", b" "]), max_size=6
    ),
    cuts=st.lists(st.integers(0, 9999), max_size=3),
)
def test_what_is_read_at_once_is_what_is_read_one_by_one(
    pieces: list[bytes], cuts: list[int]
) -> None:
    """However entries are cut, also within a record and at newlines: all are good, or no answer."""
    text = b"".join(piece + b"\0" for piece in pieces)
    for cut in cuts:
        cut %= len(text) + 1
        text = text[:cut] + b"\0" + text[cut:]
    for joint in (b"\0", b"\n\0"):
        entries = text.replace(b"\0", joint).split(b"\0")[:-1]
        plain = read_plain(entries, Forms())
        if plain is None:
            continue
        slow = [recordcodec.examine(entry) for entry in entries]
        found = [
            (one[1].decode(), one[2].decode()) if isinstance(one, tuple) else (one.id, one.producer)
            for one in plain
        ]
        assert found == [(one.id, one.producer) for one in slow]


def test_usual_batches_are_read_at_once() -> None:
    assert len(read_plain([*decisions(500), *RECORDS], Forms()) or ()) == 500 + len(RECORDS)


@pytest.mark.parametrize(
    "value",
    ["0.25", "0.1234567890123456", "1790000000000000", '"' + "😀" * 100 + '"', '{"é":"🏳️"}', '":1"'],
)
def test_usual_values_take_the_fast_path(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = timed(value.encode())
    assert outcome_of_slow(text) is None
    monkeypatch.setattr(recordcodec, "examine", None)
    check_records([*decisions(3), text, changed(DENIED, "request/extra", [1])], PRODUCER)


def test_usual_decisions_take_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordcodec, "examine", None)
    entries = decisions(500)
    check_records(entries, PRODUCER)
    assert [encode_record(parse_record(entry)) for entry in entries] == entries
    assert entries == decisions(500)
    assert 540 < sum(map(len, entries)) / 500 < 620


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**53, 10**30, "\ud800", {1: 2}, b"", {1}])
def test_values_that_are_not_json_are_not_encoded(value: Any) -> None:
    record = parse_record(encode_canonical(DENIED))
    assert isinstance(record, Decision)
    request = REQUEST | {"context": {"x": value}}
    broken = msgspec.structs.replace(record, request=request)
    with pytest.raises(FormatError, match="record: "):
        encode_record(broken)


def test_wrong_types_in_python_are_not_encoded() -> None:
    record = parse_record(encode_canonical(DENIED))
    for change in ({"time": "now"}, {"id": ""}, {"v": 2}, {"request": {}}, {"execution": 7}):
        with pytest.raises(FormatError, match="record: "):
            encode_record(msgspec.structs.replace(record, **change))


def test_python_floats_and_tuples_are_written_canonically() -> None:
    record = parse_record(encode_canonical(DENIED))
    request = REQUEST | {"context": {"whole": 1.0, "small": 1e-7, "pair": (1, 2)}}
    data = encode_record(msgspec.structs.replace(record, request=request))
    assert b'"context":{"pair":[1,2],"small":1e-7,"whole":1}' in data


# Plain JSON made into records.


def complete(value: Any, **options: Any) -> dict[str, Any]:
    data = value if isinstance(value, bytes) else json.dumps(value, indent=1).encode()
    done = complete_record(data, producer=PRODUCER, now_ms=5, new_id=lambda: "new", **options)
    check_records([done], PRODUCER)
    return json.loads(done)


def test_missing_members_are_filled_in() -> None:
    plain = {"kind": "decision", "request": REQUEST, "response": {"decision": True}}
    filled = {"v": 1, "id": "new", "time": 5, "producer": PRODUCER}
    assert complete(plain) == plain | filled
    assert complete(plain | {"id": "mine", "time": 9}) == plain | filled | {"id": "mine", "time": 9}
    for example_ in EXAMPLES.values():
        assert complete(example_) == example_


def test_authzen_pairs_become_decisions() -> None:
    done = complete({"request": REQUEST, "response": {"decision": True}, "execution": "run-1"})
    assert (done["kind"], done["request"], done["execution"]) == ("decision", REQUEST, "run-1")
    assert "denial" not in done
    denied = complete({"request": REQUEST, "expected": False})
    assert denied["response"] == {"decision": False}
    assert denied["denial"] == {"codes": ["denied_by_policy"]}
    given_ = complete(
        {
            "request": REQUEST,
            "response": {"decision": False},
            "denial": {"codes": ["policy_mismatch"]},
        }
    )
    assert given_["denial"] == {"codes": ["policy_mismatch"]}


def test_floats_of_plain_json_become_canonical() -> None:
    text = json.dumps({"request": REQUEST | {"context": {"x": "?"}}, "expected": True})
    done = complete(text.replace('"?"', "[1.0, 2e3, 1e-7, 0.10]").encode())
    assert done["request"]["context"]["x"] == [1, 2000, 1e-7, 0.1]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "record: expected an object"),
        ({}, "record: kind: missing"),
        ({"request": REQUEST}, "record: kind: missing"),
        ({"request": [], "response": {}}, "record: kind: missing"),
        ({"request": REQUEST, "response": True}, "record: kind: missing"),
        (
            {"request": REQUEST, "response": {"decision": True}, "expected": True},
            "record: expected",
        ),
        ({"request": REQUEST, "expected": 1}, "record: response.decision: expected bool"),
        (
            {"request": REQUEST, "expected": True, "note": 1},
            "record: object contains unknown field",
        ),
        ({"request": {}, "expected": True}, "record: request: object missing"),
        (DENIED | {"producer": "gw.example/x"}, "record: producer: expected 'gw.example/edge'"),
        (DENIED | {"producer": 1}, "record: producer: expected"),
        (DENIED | {"id": 1}, "record: id: expected str, got int"),
        (DECISION | {"artifact": {**DECISION["artifact"], "binding": None}}, "record: artifact."),
        (REVOCATION | {"target": {"execution": None}}, "record: target: "),
        (REVOCATION | {"reason": None}, "record: reason: "),
        (b"{", "record: not JSON at byte 1"),
        (b'{"kind":"edge","kind":"edge"}', "record: member 'kind' comes twice"),
    ],
)
def test_what_cannot_be_completed(value: Any, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        complete(value)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("kind", "paths"),
    [
        ("denied", "v kind id time producer execution traceparent artifact signatures"),
        ("denied", "request/context request/subject/properties response/context"),
        ("outcome", "v id time producer denial inputs outputs traceparent"),
        ("edge", "id from/origin from/index from/leaf to/origin to/index to/leaf"),
        ("revocation", "id target/decision target/key"),
        ("erasure", "id time reason"),
    ],
)
def test_null_in_a_member_that_may_be_absent_is_absence(kind: str, paths: str) -> None:
    spelled = absent = EXAMPLES[kind]
    for path in paths.split():
        spelled = json.loads(changed(spelled, path, None))
        absent = json.loads(changed(json.loads(changed(absent, path, None)), path, ABSENT))
    assert complete(spelled) == complete(absent)


def test_arrays_are_cut_into_the_texts_of_their_objects() -> None:
    for texts in (['{"a":"}]\\\\"}', '{ "b" : [ 1, {} ] }', "{}"], ["{}"], ['{"😀":"[,"}'] * 3):
        for between in (",", " ,\n\t"):
            array = "[ " + between.join(texts) + " ]\r\n"
            assert list(split_records(array.encode())) == [text.encode() for text in texts]
    assert list(split_records(b' {"a":1} ')) == [b' {"a":1} ']  # whatever it holds
    assert list(split_ndjson(b'\n {"a":1}\n\r\n\t\n{}\nx')) == [b'{"a":1}', b"{}", b"x"]
    assert list(split_ndjson(b"\n" * 8_000_000)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "records: not JSON at byte 0"),
        (b" " * 8_000_000, "records: not JSON at byte 8000000"),
        (b"7", "records: expected an array or an object"),
        (b"[]", "records: an empty array"),
        (b"[", "records: not JSON at byte 1"),
        (b"[{}", "records: not JSON at byte 3"),
        (b"[{},", "records: not JSON at byte 4"),
        (b"[{}{}]", "records: not JSON at byte 3"),
        (b"[{}] x", "records: not JSON at byte 4: extra data"),
        (b"[{},]", "record 1: expected an object"),
        (b"[" + b"0," * 4_000_000 + b"0]", "record 0: expected an object"),
        (b'[{"a":"' + b"x" * 8_000_000, "record 0: more than"),
        (b'[{},{"a":[' + b"[]," * 2_000_000 + b"[]]}]", "record 1: more than"),
        (b'[{"a":' + b"[" * 4_000_000, "record 0: more than 64 levels deep"),
        (b"[{" + b" " * 8_000_000 + b"}]", "record 0: more than"),
    ],
)
def test_arrays_that_cannot_be_cut(text: bytes, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        list(split_records(text))
    assert str(caught.value).startswith(message)


@given(
    st.lists(
        st.dictionaries(
            st.text(max_size=3),
            st.recursive(
                st.text(max_size=4) | st.integers() | st.none(),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(max_size=2), inner, max_size=2)
                ),
            ),
            max_size=3,
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([None, 1]),
)
def test_cutting_and_parsing_is_parsing(values: list[dict[str, Any]], indent: int | None) -> None:
    text = json.dumps(values, indent=indent).encode()
    assert [json.loads(part) for part in split_records(text)] == values


@given(st.binary(max_size=30) | st.text('[]{}", \\n0:', max_size=30).map(str.encode))
def test_cutting_anything_raises_the_declared_error(data: bytes) -> None:
    try:
        parts = list(split_records(data))
    except FormatError:
        return
    assert b"".join(parts) in data or len(parts) > 1


def test_the_interop_decisions_are_accepted_as_they_are() -> None:
    """OpenID AuthZEN 1.0 interop: the suite's decisions, and its schemas for what we log."""
    path = DATA / "authzen-todo-decisions.json"
    if not path.exists():
        pytest.skip("the AuthZEN interop decisions are not on this machine")
    jsonschema = pytest.importorskip("jsonschema")
    schemas = [
        json.loads((DATA / f"evaluation-{name}.schema.json").read_bytes())
        for name in ("request", "response")
    ]
    evaluations = json.loads(path.read_bytes())["evaluation"]
    assert len(evaluations) == 40
    for number, evaluation in enumerate(evaluations):
        members = decision_of_evaluation(evaluation)
        assert members["request"] == evaluation["request"]
        data = complete_record(
            json.dumps(evaluation).encode(),
            producer=PRODUCER,
            now_ms=5,
            new_id=lambda number=number: f"todo-{number}",
        )
        record = parse_record(data)
        assert isinstance(record, Decision)
        assert record.allowed is evaluation["expected"]
        for schema, value in zip(schemas, (record.request, record.response), strict=True):
            jsonschema.validate(value, schema)


# Signatures by authorities.

ED25519 = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
MLDSA44 = MLDSA44PrivateKey.from_seed_bytes(b"\x02" * 32)


def signable() -> Decision:
    return parse_decision(changed(DECISION, "signatures", ABSENT))


@pytest.mark.parametrize("private", [ED25519, MLDSA44], ids=["ed25519", "mldsa44"])
def test_an_authority_signs(private: PrivateKey) -> None:
    name = "authority.example/ops"
    vkey = authority_vkey(name, private)
    signed = sign_decision(signable(), name, private)
    assert signed.signatures[0].key == key_reference(vkey) == "+".join(str(vkey).split("+")[:2])
    assert verify_signatures(parse_decision(encode_record(signed)), [vkey]) == (vkey,)
    # The bytes are public: any implementation can check them.
    message = b"muniment/decision-signature/v1\n" + changed(DECISION, "signatures", ABSENT)
    assert signing_input(signed) == signing_input(signable()) == message
    signature = parse_base64(signed.signatures[0].signature, "signature")
    private.public_key().verify(signature, message)
    for change in ({"time": 6}, {"execution": None}, {"artifact": None}):
        with pytest.raises(VerificationError, match=r"authority.example/ops\+[0-9a-f]{8}: the"):
            verify_signatures(msgspec.structs.replace(signed, **change), [vkey])
    short = Signature(key=key_reference(vkey), signature="AAAA")
    with pytest.raises(VerificationError):
        verify_signatures(msgspec.structs.replace(signed, signatures=(short,)), [vkey])


def test_several_authorities_sign() -> None:
    once = sign_decision(signable(), "a.example", ED25519)
    twice = sign_decision(once, "b.example", MLDSA44)
    keys = [authority_vkey("a.example", ED25519), authority_vkey("b.example", MLDSA44)]
    assert verify_signatures(twice, reversed(keys)) == tuple(keys)
    assert verify_signatures(twice, keys[1:]) == (keys[1],)
    assert verify_signatures(twice, []) == ()
    assert verify_signatures(twice, [authority_vkey("c.example", ED25519)]) == ()
    assert verify_signatures(signable(), keys) == ()
    again = sign_decision(twice, "a.example", ED25519)
    assert again.signatures is not None
    assert len(again.signatures) == 2


def test_keys_that_are_no_authorities() -> None:
    signed = sign_decision(signable(), "a.example", ED25519)
    public = ED25519.public_key().public_bytes_raw()
    witness = VKey.of("a.example", COSIGNATURE_ED25519, public)
    # Another type has another key ID, and so is another key.
    assert verify_signatures(signed, [witness]) == ()
    named = Signature(key=key_reference(witness), signature="AAAA")
    with pytest.raises(VerificationError, match="not a type that authorities have"):
        verify_signatures(msgspec.structs.replace(signed, signatures=(named,)), [witness])
    other = VKey(witness.name, witness.key_id, 1, public)
    with pytest.raises(ValueError, match="two keys are called"):
        verify_signatures(signed, [witness, other])


def parse_decision(data: bytes) -> Decision:
    record = parse_record(data)
    assert isinstance(record, Decision)
    return record


def test_denials_are_a_closed_set() -> None:
    codes = "authorization_discontinuity invalid_signature runtime_identity_mismatch"
    codes += " policy_mismatch environment_integrity_failure governance_mesh_discontinuity"
    codes += " lineage_fragmentation revoked_authorization denied_by_policy"
    every = Denial(codes=tuple(codes.split()))  # type: ignore[arg-type]  # checked when encoded
    denied = parse_decision(encode_canonical(DENIED))
    assert encode_record(msgspec.structs.replace(denied, denial=every))
