"""Records: every rule with the member that breaks it, and what each kind may hold."""

import math
from typing import Any

import msgspec
import pytest

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
    check_records,
    encode_record,
    parse_record,
)
from muniment.records.canonical import MAX_RECORD, MAX_SAFE_INTEGER, encode_canonical
from muniment.tlog.encoding import FormatError
from record_examples import (
    ABSENT,
    APPROVAL,
    APPROVED,
    ARTIFACT,
    BY_TWO,
    COMMON,
    DECISION,
    DENIED,
    DIGEST,
    EDGE,
    ERASURE,
    EXAMPLES,
    NEVER_BEGAN,
    OUTCOME,
    PRODUCER,
    REQUEST,
    REVOCATION,
    SIGNED,
    UNKNOWN,
    VERIFICATION,
    changed,
    outcome_of_fast,
    outcome_of_slow,
    parse_decision,
)


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_kind_comes_back(name: str) -> None:
    data = encode_canonical(EXAMPLES[name])
    record = parse_record(data)
    assert encode_record(record) == data
    assert record == recordcodec.examine(data)
    check_records([data] * 3, PRODUCER)


def members_of(record: dict[str, Any]) -> dict[str, Any]:
    """The members that a record of its class is made with: all but its kind."""
    return {name: value for name, value in record.items() if name != "kind"}


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
    edge, outcome, failed = members_of(EDGE), members_of(OUTCOME), members_of(VERIFICATION)
    edge["from_"] = edge.pop("from")
    others: list[tuple[Record, dict[str, Any]]] = [
        (Edge(**edge | {end: Thing(**edge[end]) for end in ("from_", "to")}), EDGE),
        (
            Verification(**failed | {"checks": tuple(Check(**one) for one in failed["checks"])}),
            VERIFICATION,
        ),
        (Outcome(**outcome), OUTCOME),
        (Revocation(**members_of(REVOCATION) | {"target": Target(execution="run-1")}), REVOCATION),
        (Erasure(**members_of(ERASURE) | {"digests": tuple(ERASURE["digests"])}), ERASURE),
    ]
    for record, members in others:
        assert encode_record(record) == encode_canonical(members)


FURTHER = "artifact/further_approvals"
OTHERS = "artifact.further_approvals"
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
    (APPROVED, FURTHER, [SIGNED], f"{OTHERS}: the same id twice"),
    (APPROVED, FURTHER, [], f"{OTHERS}: expected array of"),
    (APPROVED, FURTHER, [1], f"{OTHERS}[0]: expected object"),
    (BY_TWO, f"{FURTHER}/0/key", SIGNED["key"], f"{OTHERS}: the same key twice"),
    (
        BY_TWO,
        f"{FURTHER}/0/decision",
        False,
        f"{OTHERS}[0].decision: nothing is authorised by a no",
    ),
    (BY_TWO, "artifact/approval", ABSENT, f"{OTHERS}: there is no first one"),
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
        (
            EDGE | {"relation": "performed_by"},
            "to",
            {"type": "agent", "id": "spiffe://x/" + "a" * 500},
        ),
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


def test_size_is_bounded() -> None:
    def padded(size: int) -> bytes:
        plain = len(changed(DENIED, "request/context/time", ""))
        return changed(DENIED, "request/context/time", "x" * (size - plain))

    assert len(padded(MAX_RECORD)) == MAX_RECORD
    check_records([padded(MAX_RECORD)], PRODUCER)
    with pytest.raises(RecordError, match="more than 65535 bytes"):
        check_records([padded(MAX_RECORD), padded(MAX_RECORD + 1)], PRODUCER)


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


def test_denials_are_a_closed_set() -> None:
    codes = "authorization_discontinuity invalid_signature runtime_identity_mismatch"
    codes += " policy_mismatch environment_integrity_failure governance_mesh_discontinuity"
    codes += " lineage_fragmentation revoked_authorization denied_by_policy"
    every = Denial(codes=tuple(codes.split()))  # type: ignore[arg-type]  # checked when encoded
    denied = parse_decision(encode_canonical(DENIED))
    assert encode_record(msgspec.structs.replace(denied, denial=every))
