"""Plain JSON made into records, and arrays and lines cut into them."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.records.api import (
    Decision,
    check_records,
    complete_record,
    decision_of_evaluation,
    parse_record,
)
from muniment.records.submission import split_ndjson, split_records
from muniment.tlog.encoding import FormatError
from record_examples import (
    ABSENT,
    DECISION,
    DENIED,
    EXAMPLES,
    PRODUCER,
    REQUEST,
    REVOCATION,
    changed,
)

DATA = Path(__file__).parents[2].parent / "shared" / "data"


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
