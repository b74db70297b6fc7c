"""Members that a decision withholds: what is logged tells nothing of them."""

import base64
import copy
import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from muniment import (
    Decision,
    FormatError,
    VerificationError,
    disclose,
    encode_record,
    parse_record,
    sign_decision,
    withhold,
)
from muniment.records.addenda import take_out
from muniment.records.api import RecordError, check_records, complete_record
from muniment.records.canonical import encode_canonical
from muniment.records.commitments import (
    MAX_ADDENDUM,
    OPAQUE,
    complete_addendum,
    opaque_addendum,
    read_addendum,
)
from muniment.records.forms import Forms

PRODUCER = "gw.example/edge"
REQUEST: dict[str, Any] = {
    "subject": {"type": "agent", "id": "a", "properties": {"name": "Ada", "team": "x"}},
    "action": {"name": "send"},
    "resource": {"type": "tool", "id": "mail", "properties": {"owner": "Ada"}},
    "context": {
        "arguments": {"to": ["ada@mail.example"], "a/b~c": "secret"},
        "parts": [{"text": "one"}, {"text": "two", "size": 2}, 3],
        "tries": 1,
    },
    "purpose": "newsletter",
}
RESPONSE: dict[str, Any] = {"decision": True, "context": {"reason": "Ada may"}}


def decision(**members: Any) -> Decision:
    return Decision(
        **(
            {
                "v": 1,
                "id": "d-1",
                "time": 1_800_000_000_000,
                "producer": PRODUCER,
                "request": copy.deepcopy(REQUEST),
                "response": copy.deepcopy(RESPONSE),
                "execution": "run-1",
            }
            | members
        )
    )


def logged(pointers: dict[str, str] | list[str], **members: Any) -> bytes:
    """A record, whose bytes are canonical, that says it withholds some members."""
    if isinstance(pointers, list):
        pointers = {at: sha256(at.encode()).hexdigest() for at in pointers}
    record = json.loads(encode_record(decision(**members))) | {"addenda": pointers}
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()


def test_what_is_withheld_is_not_in_the_record_and_comes_back() -> None:
    before = decision()
    found = withhold(before)
    data = encode_record(found.decision)
    assert parse_record(data) == found.decision
    for secret in (b"Ada", b"ada@mail", b"secret", b"arguments", b"tries"):
        assert secret not in data
    assert found.decision.addenda is not None
    assert set(found.decision.addenda) == {
        "/request/context",
        "/request/subject/properties",
        "/request/resource/properties",
        "/response/context",
    }
    assert before == decision()  # the caller's own values stay
    for digest, addendum in found.addenda.items():
        assert sha256(addendum).hexdigest() == digest
    whole = disclose(found.decision, found.addenda.values())
    assert (whole.decision, whole.withheld) == (before, ())
    assert whole.disclosed["/response/context"] == RESPONSE["context"]


def test_content_that_is_no_json_is_withheld_and_comes_back_as_bytes() -> None:
    report, image = b"%PDF \xff\0\n", bytearray(b"{}")
    before = decision()
    before.request["context"]["more"] = {"report": report, "pages": 2}
    before.request["image"] = image
    found = withhold(before, ("/request/context",))
    report_at, image_at = "/request/context/more/report", "/request/image"
    assert {report_at, image_at, "/request/context/more/pages"} <= set(found.decision.addenda)
    data = found.addenda[found.decision.addenda[report_at]]
    assert data.startswith(b"muniment/opaque-addendum/v1\n")
    assert data[44:] == report
    assert read_addendum(data, "it") == report
    assert parse_record(encode_record(found.decision)) == found.decision
    shown = disclose(found.decision, found.addenda.values())
    assert shown.withheld == ()
    assert (shown.disclosed[report_at], shown.disclosed[image_at]) == (report, bytes(image))
    # JSON has no place for them: the decision goes on naming their digests.
    assert set(shown.decision.addenda or {}) == {report_at, image_at}
    assert shown.decision.request["context"]["more"] == {"pages": 2}
    assert parse_record(encode_record(shown.decision)) == shown.decision
    rest = disclose(found.decision, [data])
    assert report_at not in rest.withheld
    assert image_at in rest.withheld
    assert before.request["context"]["more"]["report"] is report


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda request: request["context"].update(x=[b"1"]),
            "/request/context/x: bytes in",
        ),
        (lambda request: request["subject"].update(id=b"1"), "/request/subject/id: may not be"),
        (lambda request: request.update(x=bytes(MAX_ADDENDUM)), "/request/x: an addendum of"),
    ],
)
def test_content_that_cannot_be_withheld(
    change: Callable[[dict[str, Any]], None], message: str
) -> None:
    before = decision()
    change(before.request)
    with pytest.raises(FormatError, match=message):
        withhold(before, ())


def test_an_addendum_in_a_json_body_is_json_or_the_base64_of_an_opaque_one() -> None:
    data = opaque_addendum("0" * 32, b"\xff")
    assert complete_addendum(json.dumps(base64.b64encode(data).decode()).encode(), "it") == data
    for text in ('""', '"AAAA"', f'"{base64.b64encode(OPAQUE).decode()}"', '"?"'):
        with pytest.raises(FormatError, match=r"^it: "):
            complete_addendum(text.encode(), "it")


def test_some_are_disclosed_and_the_others_are_named() -> None:
    record, addenda = withhold(decision(), ["/request/context/arguments/*", "/request/purpose"])
    assert set(record.addenda) == {
        "/request/context/arguments/to",
        "/request/context/arguments/a~1b~0c",
        "/request/purpose",
    }
    assert record.request["context"]["arguments"] == {}
    one = addenda[record.addenda["/request/context/arguments/a~1b~0c"]]
    shown = disclose(record, [one])
    assert shown.disclosed == {"/request/context/arguments/a~1b~0c": "secret"}
    assert shown.decision.request["context"]["arguments"] == {"a/b~c": "secret"}
    assert set(shown.withheld) == {"/request/context/arguments/to", "/request/purpose"}
    # What is left of it is a decision that withholds, so that more can be disclosed later.
    rest = [data for data in addenda.values() if data != one]
    assert disclose(shown.decision, rest).decision == decision()
    assert disclose(record, []).decision == record


def test_a_list_on_the_way_and_the_outer_one_of_two() -> None:
    record, _ = withhold(decision(), ["/request/context/parts/*/text"])
    assert record.addenda is not None
    assert set(record.addenda) == {
        "/request/context/parts/0/text",
        "/request/context/parts/1/text",
    }
    assert record.request["context"]["parts"] == [{}, {"size": 2}, 3]
    record, _ = withhold(decision(), ["/request/context/parts/0/text", "/request/context"])
    assert record.addenda is not None
    assert set(record.addenda) == {"/request/context"}
    # Wildcards pass over what may not be withheld.
    record, _ = withhold(decision(), ["/request/*", "/request/*/*", "/response/*"])
    assert set(record.request) == {"subject", "action", "resource"}
    assert (record.subject, record.action, record.response) == (
        decision().subject,
        "send",
        {"decision": True},
    )


def test_nothing_matches_nothing_is_withheld() -> None:
    record, addenda = withhold(decision(), ["/request/context/parts/7/text", "/response/other"])
    assert (record, addenda) == (decision(), {})


def test_equal_values_have_different_digests_and_a_nonce_may_be_derived() -> None:
    twice = [withhold(decision(), ["/request/purpose"]).decision.addenda for _ in range(2)]
    assert twice[0] != twice[1]
    asked: list[str] = []

    def nonce(pointer: str) -> str:
        asked.append(pointer)
        return sha256(pointer.encode()).hexdigest()[:32]

    first = take_out(decision(), ["/request/*"], nonce)
    assert first == take_out(decision(), ["/request/*"], nonce)
    assert sorted(set(asked)) == sorted(first.decision.addenda or {})
    equal = decision(request=REQUEST | {"context": {"x": 1, "y": 1}})
    with pytest.raises(FormatError, match="a digest comes twice"):
        take_out(equal, ["/request/context/*"], lambda _: "0" * 32)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("", "expected a JSON pointer"),
        ("request/context", "expected a JSON pointer"),
        ("/request/context~2", "expected a JSON pointer"),
        ("/request/context/~", "expected a JSON pointer"),
        ("/request", "may not be withheld"),
        ("/request/subject", "may not be withheld"),
        ("/request/subject/id", "may not be withheld"),
        ("/request/action/name", "may not be withheld"),
        ("/request/resource/type", "may not be withheld"),
        ("/response/decision", "may not be withheld"),
        ("/id", "may not be withheld"),
        ("/execution", "may not be withheld"),
        ("/artifact/policy/digest", "may not be withheld"),
        ("/addenda", "may not be withheld"),
        ("/request/context/parts/0", "an element of a list"),
        ("/request/context/parts/*", "an element of a list"),
    ],
)
def test_what_may_not_be_withheld(pattern: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        withhold(decision(), [pattern])


def test_a_signed_decision_is_not_changed() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    with pytest.raises(FormatError, match="then sign"):
        withhold(sign_decision(decision(), "pdp.example", key))
    record = withhold(decision()).decision
    assert parse_record(encode_record(sign_decision(record, "pdp.example", key))).id == "d-1"


NO_DIGEST = "addenda: '/request/context/x': expected a SHA-256, 64 lower-case hexadecimal digits"
REFUSED: list[tuple[dict[str, str] | list[str], dict[str, Any], str]] = [
    ({}, {}, "addenda"),
    ({"/request/context/x": "sha256:" + "0" * 64}, {}, NO_DIGEST),
    ({"/request/context/x": "A" * 64}, {}, NO_DIGEST),
    ({"/request/context/x": "0" * 63}, {}, NO_DIGEST),
    (["/request/context"], {}, "withheld, and yet in the record"),
    (["/request/context/parts"], {}, "withheld, and yet in the record"),
    (["/request/subject/properties"], {}, "withheld, and yet in the record"),
    (["/response/context/reason"], {}, "withheld, and yet in the record"),
    (["/request/context/parts/9"], {}, "no object to put this into"),
    (["/request/context/parts/1x/y"], {}, "no object to put this into"),
    (["/request/context/tries/x"], {}, "no object to put this into"),
    (["/request/other/x"], {}, "no object to put this into"),
    (["/request/context/x", "/request/context/x/y"], {}, "no object to put this into"),
    (["/request/subject/id"], {}, "may not be withheld"),
    (["/denial"], {}, "may not be withheld"),
    (["x"], {}, "expected a JSON pointer"),
    (["/request/context/~2"], {}, "expected a JSON pointer"),
    ({"/request/context/x": "0" * 64, "/request/context/y": "0" * 64}, {}, "comes twice"),
]


@pytest.mark.parametrize("plain", [True, False], ids=["AuthZEN only", "other members"])
@pytest.mark.parametrize(("pointers", "members", "message"), REFUSED)
def test_a_record_that_says_so_wrongly_is_refused(
    pointers: dict[str, str] | list[str], members: dict[str, Any], message: str, plain: bool
) -> None:
    request = copy.deepcopy(REQUEST)
    if plain:
        del request["purpose"]
    data = logged(pointers, request=request, **members)
    with pytest.raises(FormatError, match=message):
        parse_record(data)
    # The check of whole batches, also beside what it has learned of usual decisions.
    forms = Forms()
    usual = [encode_record(decision(request=request, id=f"d-{n}")) for n in range(600)]
    check_records(usual, PRODUCER, forms=forms)
    for batch in ([data], [*usual[:70], data]):
        with pytest.raises(RecordError, match=message) as raised:
            check_records(batch, PRODUCER, forms=forms)
        assert raised.value.entry == len(batch) - 1
    with pytest.raises(FormatError, match=message):
        complete_record(data, producer=PRODUCER, now_ms=1, new_id=str)


def test_a_batch_of_records_that_withhold() -> None:
    request = {name: value for name, value in REQUEST.items() if name != "purpose"}
    batch = [
        encode_record(withhold(decision(id=f"d-{n}", request=each)).decision)
        for n in range(100)
        for each in (request, REQUEST)
    ]
    check_records(batch, PRODUCER, forms=Forms(), are_new=True)


def test_addenda_of_others_and_such_as_are_none() -> None:
    record, addenda = withhold(decision())
    other = next(iter(withhold(decision()).addenda.values()))
    with pytest.raises(VerificationError, match="addendum 1: the decision names none with"):
        disclose(record, [next(iter(addenda.values())), other])
    with pytest.raises(VerificationError, match="addendum 0"):
        disclose(decision(), [other])
    for data, message in [
        (b"", "JSON"),
        (b"[]", 'expected {"nonce"'),
        (b'{"nonce":"%s"}' % (b"0" * 32), 'expected {"nonce"'),
        (b'{"nonce":"%s","value":1}' % (b"0" * 31), "nonce: expected 32"),
        (b'{"nonce":"%s","value":1}' % (b"A" * 32), "nonce: expected 32"),
        (b'{"nonce":7,"value":1}', "nonce: expected 32"),
        (b'{"nonce":"%s","value": 1}' % (b"0" * 32), "not canonical"),
        (b'{"nonce":"%s","value":1,"x":1}' % (b"0" * 32), 'expected {"nonce"'),
        (b"0" * (MAX_ADDENDUM + 1), "at most 16777216"),
        (OPAQUE + bytes(MAX_ADDENDUM), "at most 16777216"),
        (OPAQUE + bytes(15), "without its nonce of 16 bytes"),
        (b"muniment/opaque-addendum/v2\n" + bytes(20), "JSON"),
    ]:
        # Named by a record, and no addendum all the same.
        members = json.loads(logged({"/request/other": sha256(data).hexdigest()}))
        named = parse_record(json.dumps(members, sort_keys=True, separators=(",", ":")).encode())
        assert isinstance(named, Decision)
        with pytest.raises(FormatError, match=message):
            disclose(named, [data])


def test_arguments_that_no_record_could_hold() -> None:
    request = REQUEST | {"context": {"arguments": {"text": "x" * 300_000}}}
    record, addenda = withhold(decision(request=request), ["/request/context/arguments"])
    assert len(encode_record(record)) < 1000
    assert disclose(record, addenda.values()).decision.request == request
    for value, message in [
        ("x" * MAX_ADDENDUM, "/request/context/arguments: an addendum of"),
        (float("nan"), "/request/context/arguments: "),
    ]:
        no_addendum = decision(request=REQUEST | {"context": {"arguments": value}})
        with pytest.raises(FormatError, match=message):
            withhold(no_addendum, ["/request/context/*"])


names = st.text(max_size=6)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(context=st.dictionaries(names, values, max_size=4), pick=st.data())
def test_whatever_is_withheld_comes_back(context: dict[str, Any], pick: st.DataObject) -> None:
    before = decision(request=REQUEST | {"context": context}, response={"decision": True})
    pointers: list[str] = []

    def walk(value: Any, at: str, step: Callable[[str], str]) -> None:
        items: Any = value.items() if isinstance(value, dict) else ()
        for name, inner in items:
            pointers.append(at + step(name))
            walk(inner, pointers[-1], step)

    walk(context, "/request/context", lambda n: "/" + n.replace("~", "~0").replace("/", "~1"))
    wanted = pick.draw(st.lists(st.sampled_from(pointers), unique=True)) if pointers else []
    # A member that is called `*` is reached by the pattern, which may take others as well.
    record, addenda = withhold(before, wanted)
    data = encode_record(record)
    assert parse_record(data) == record
    assert set(record.addenda or {}) <= set(pointers)
    for pointer in wanted:
        assert any((pointer + "/").startswith(at + "/") for at in record.addenda or {})
    shown = disclose(record, reversed(addenda.values()))
    assert shown.decision == before
    assert all(
        read_addendum(data, "x") == shown.disclosed[at] for at, data in named(record, addenda)
    )


def named(record: Decision, addenda: dict[str, bytes]) -> list[tuple[str, bytes]]:
    return [(at, addenda[digest]) for at, digest in (record.addenda or {}).items()]


def test_a_decision_says_whether_the_log_keeps_its_addenda() -> None:
    record = json.loads(logged(["/request/other"]))
    kept = json.dumps(record | {"kept": "log"}, sort_keys=True, separators=(",", ":")).encode()
    assert parse_record(kept).kept == "log"  # type: ignore[union-attr]  # a decision
    check_records([kept], PRODUCER, forms=Forms())
    record_of_it, addenda = withhold(decision(kept="log"))
    assert disclose(record_of_it, []).decision.kept == "log"
    assert disclose(record_of_it, addenda.values()).decision == decision()
    nothing = {name: value for name, value in record.items() if name != "addenda"}
    for wrong, why in (
        (record | {"kept": "gateway"}, "kept"),
        (nothing | {"kept": "log"}, "kept: there are no addenda to keep"),
    ):
        data = json.dumps(wrong, sort_keys=True, separators=(",", ":")).encode()
        with pytest.raises(FormatError, match=why):
            parse_record(data)
        with pytest.raises(RecordError, match=why):
            check_records([data], PRODUCER, forms=Forms())


def test_an_outcome_says_whether_the_log_keeps_its_addenda() -> None:
    outcome: dict[str, Any] = {
        "v": 1, "kind": "outcome", "id": "o-1", "time": 1_800_000_000_000, "producer": PRODUCER,
        "execution": "run-1", "status": "completed", "kept": "log",
        "outputs": {"result": f"sha256:{'0' * 64}"},
    }  # fmt: skip
    parse_record(encode_canonical(outcome))
    check_records([encode_canonical(outcome)], PRODUCER)
    for outputs, why in (
        (None, "kept: there are no addenda to keep"),
        ({"result": f"sha384:{'0' * 96}"}, "kept: an addendum is named by its SHA-256"),
    ):
        wrong = outcome | {"outputs": outputs}
        data = encode_canonical({name: one for name, one in wrong.items() if one is not None})
        with pytest.raises(FormatError, match=why):
            parse_record(data)
