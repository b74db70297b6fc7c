"""Preparing many records gives what preparing each with care gives: the same bytes or a refusal."""

import json
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logsim import GATEWAY, decision, lines
from muniment.formats.encoding import FormatError
from muniment.formats.preparation import Preparer
from muniment.formats.records import RecordError, complete_record, parse_record

NOW_MS = 1_790_000_000_000


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
    "context", ['{"a":1,"a":1}', '{"a":NaN}', '{"a":"\\ud800"}', '{"a":9007199254740993}']
)
def test_what_the_quick_way_could_change_is_refused(context: str) -> None:
    text = lines(1)[0].decode().replace('"action"', f'"context": {context}, "action"')
    with pytest.raises(RecordError):
        preparer().prepare([text])


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
