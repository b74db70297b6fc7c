"""Preparing many records gives what preparing each with care gives: the same bytes or a refusal."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import json
import pathlib
import types
import uuid
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decisions import request
from logsim import GATEWAY, decision, lines
from muniment.records.api import Check, Decision, RecordError, complete_record, parse_record
from muniment.records.canonical import encode_canonical
from muniment.records.preparation import Preparer, RecordInput
from muniment.tlog.encoding import FormatError

NOW_MS = 1_790_000_000_000
PAIR: dict[str, Any] = {
    "request": request("planner", "call", ("tool", "x")),
    "response": {"decision": True},
}


def preparer() -> Preparer:
    numbers = count(1)
    return Preparer(GATEWAY, now_ms=lambda: NOW_MS, new_id=lambda: f"p-{next(numbers)}")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**54), 2**54)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([1.0, -0.0, 1e21, 1e-7, 100.0, 2**53 - 1, "\ue000", "😀", "\u2028", "é"])
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(context=JSON, indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
def test_quick_and_careful_agree(context: object, indent: int | None, *, ascii_only: bool) -> None:
    value = json.loads(lines(1)[0])
    value["request"]["context"] = {"x": context}
    value["id"] = "same"
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    try:
        careful = complete_record(
            text.encode(), producer=GATEWAY, now_ms=NOW_MS, new_id=lambda: "same"
        )
    except FormatError:
        for form in (text, text.encode(), value):
            with pytest.raises(RecordError):
                preparer().prepare([form])
        return
    assert preparer().prepare([text, text.encode(), value]) == [careful] * 3


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60))
def test_garbage_is_refused_by_number(data: bytes | str) -> None:
    with pytest.raises(RecordError) as caught:
        preparer().prepare([lines(1)[0], data, b"{"])
    assert caught.value.entry == 1


@pytest.mark.parametrize(
    "context",
    [
        *('{"a":1,"a":1}', '{"a":"x","a":{}}', '{"a":[{"b":null,"c":"","b":1}]}', '{"a":NaN}'),
        *('{"a":"\\ud800"}', '{"a":9007199254740993}', '{"a":1e400}', '{"a":-1e400}'),
    ],
)
def test_what_the_quick_way_could_change_is_refused(context: str) -> None:
    text = lines(1)[0].decode().replace('"action"', f'"context": {context}, "action"')
    for form in (text, text.encode()):
        with pytest.raises(RecordError):
            preparer().prepare([form])


@pytest.mark.parametrize("member", ["id", "time", "producer"])
def test_what_ends_as_if_it_were_complete_is_filled_in_too(member: str) -> None:
    (whole,) = preparer().prepare([lines(1)[0]])
    members = json.loads(whole)
    del members[member]
    lacking = encode_canonical(members)
    assert lacking.endswith(b',"v":1}')
    assert preparer().prepare([lacking]) == [whole]
    assert preparer().prepare([whole, lacking, whole]) == [whole] * 3


def test_missing_members_are_filled_in_and_present_ones_kept() -> None:
    first, second = preparer().prepare([lines(1)[0], decision(7)])
    record = parse_record(first)
    assert (record.v, record.id, record.time, record.producer) == (1, "p-1", NOW_MS, GATEWAY)
    assert second == decision(7)


def test_typed_records_are_encoded_and_checked() -> None:
    record = parse_record(decision(7))
    assert preparer().prepare([record]) == [decision(7)]
    other = parse_record(decision(7, producer="gw.example/other"))
    with pytest.raises(RecordError, match="producer") as caught:
        preparer().prepare([record, other])
    assert caught.value.entry == 1


def test_ids_differ() -> None:
    records = preparer().prepare(lines(500))
    assert len({parse_record(record).id for record in records}) == 500


@pytest.mark.parametrize("value", [{"a": float("nan")}, {"a": object()}, {1: 2}])
def test_mappings_that_are_no_json_are_refused(value: dict[str, object]) -> None:
    with pytest.raises(RecordError):
        preparer().prepare([value])


def test_a_slow_record_among_quick_ones_keeps_its_place() -> None:
    numbers = count()
    slow = json.loads(lines(1)[0])
    slow["request"]["context"] = {"x": 1e21}
    mixed = [decision(next(numbers)), json.dumps(slow), decision(next(numbers)), slow]
    prepared = preparer().prepare(mixed)
    assert prepared[0] == decision(0)
    assert prepared[2] == decision(1)
    assert b'"x":1e+21' in prepared[1]
    assert b'"x":1e+21' in prepared[3]


class _Colour(enum.Enum):
    RED = "red"


class _Text(enum.StrEnum):
    RED = "red"


class _Number(enum.IntEnum):
    ONE = 1


class _Float(float):
    pass


@dataclasses.dataclass
class _Data:
    a: int = 1


REFUSED: dict[str, Any] = {
    "Decimal": decimal.Decimal("0.10"),
    "datetime": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    "date": dt.date(2026, 1, 1),
    "timedelta": dt.timedelta(1),
    "UUID": uuid.UUID(int=1),
    "bytes": b"\x00\xff",
    "bytearray": bytearray(b"a"),
    "memoryview": memoryview(b"a"),
    "set": {"a"},
    "frozenset": frozenset({1}),
    "Fraction": fractions.Fraction(1, 2),
    "complex": 1j,
    "Path": pathlib.PurePosixPath("/x"),
    "_Colour": _Colour.RED,
    "_Data": _Data(),
    "mappingproxy": types.MappingProxyType({"a": 1}),
    "range": range(3),
    "function": len,
    "int key": {1: "a"},
    "bool key": {True: 1},
    "None key": {None: 1},
    "float key": {1.5: 1},
    "tuple key": {("a",): 1},
    "bytes key": {b"a": 1},
    "Check": Check(name="a", result="verified"),
}
TAKEN: list[tuple[Any, Any]] = [
    ((1, (2,)), [1, [2]]),
    (_Text.RED, "red"),
    (_Number.ONE, 1),
    (_Float(1.5), 1.5),
    (collections.OrderedDict(a=(1,)), {"a": [1]}),
    (collections.defaultdict(int, a=1), {"a": 1}),
    ({_Text.RED: 1}, {"red": 1}),
]


def _forms(value: Any) -> list[RecordInput]:
    """A decision with a value in it: as a mapping, as a complete one, and typed."""
    pair = {**PAIR, "request": {**PAIR["request"], "context": {"deep": [{"v": value}]}}}
    common = {"v": 1, "id": "x", "time": NOW_MS, "producer": GATEWAY}
    return [pair, {**pair, **common, "kind": "decision"}, Decision(**common, **pair)]


@pytest.mark.parametrize("name", REFUSED)
def test_what_json_would_turn_into_something_else_is_refused_alike(name: str) -> None:
    reasons = set()
    for form in _forms(REFUSED[name]):
        with pytest.raises(RecordError) as refused:
            preparer().prepare([{**PAIR}, form])
        assert refused.value.entry == 1
        reasons.add(str(refused.value))
    (reason,) = reasons
    assert "request.context.deep[0].v: " in reason


@pytest.mark.parametrize(("value", "written"), TAKEN)
def test_what_comes_back_equal_is_taken_alike(value: Any, written: Any) -> None:
    for form in _forms(value):
        (entry,) = preparer().prepare([form])
        assert json.loads(entry)["request"]["context"] == {"deep": [{"v": written}]}


def test_typed_members_are_not_turned_into_something_else_either() -> None:
    common = {"v": 1, "id": "x", "time": NOW_MS, "producer": GATEWAY}
    for change in (
        {"id": uuid.UUID(int=1)},
        {"time": decimal.Decimal(NOW_MS)},
        {"id": _Colour.RED},
    ):
        with pytest.raises(RecordError, match="is no JSON value"):
            preparer().prepare([Decision(**{**common, **PAIR, **change})])


def test_a_foreign_traceparent_does_not_cost_the_record() -> None:
    common = {"v": 1, "id": "x", "time": NOW_MS, "producer": GATEWAY}
    valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for trace, kept in ((valid, valid), (valid.upper(), None), ("01-" + valid[3:], None)):
        for form in ({**PAIR, "traceparent": trace}, Decision(**common, **PAIR, traceparent=trace)):
            (entry,) = preparer().prepare([form])
            assert json.loads(entry).get("traceparent") == kept
