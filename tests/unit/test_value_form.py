"""The one form of Python values in commitments: what they are in JSON, or that they are nothing."""

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import json
import math
import pathlib
import uuid
from collections import ChainMap, Counter, OrderedDict, UserDict, defaultdict, deque, namedtuple
from types import MappingProxyType
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.gateway.valueform import canonical_form, value_form
from muniment.records.canonical import check_canonical, encode_canonical
from muniment.tlog.encoding import FormatError

DAY = dt.date(2026, 11, 29)
NOON = dt.datetime(2026, 11, 29, 12, 0, tzinfo=dt.UTC)
EAST = dt.timezone(dt.timedelta(hours=9))


class Colour(enum.Enum):
    RED = "red"
    BOTH = (1, 2)


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass(slots=True)
class Order:
    to: str
    amount: decimal.Decimal
    when: dt.date | None = None


class Packed(msgspec.Struct, rename={"from_": "from"}):
    from_: str


@attrs.define
class Box:
    height: int


Point = namedtuple("Point", "x y")  # noqa: PYI024 - as old code has them


class Says(dict[str, Any]):
    """Says more than its JSON."""


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ({"a": [1, 2.5, None, True, "é"]}, {"a": [1, 2.5, None, True, "é"]}),
        (2**53 - 1, 2**53 - 1),
        (2**53, {"$integer": "9007199254740992"}),
        (-(2**60), {"$integer": "-1152921504606846976"}),
        (float("nan"), {"$float": "NaN"}),
        (-math.inf, {"$float": "-Infinity"}),
        (2.0**60, {"$float": "1.152921504606847e+18"}),
        (1e300, 1e300),
        (b"\x00\x01", {"$bytes": "AAE="}),
        (bytearray(b"\xff"), {"$bytes": "/w=="}),
        (memoryview(b"\xff"), {"$bytes": "/w=="}),
        ("\udcff\\", {"$text": "\\udcff\\\\"}),
        ({"$bytes": "AAE="}, {"$$bytes": "AAE="}),
        ({"$$bytes": "AAE="}, {"$$$bytes": "AAE="}),
        ({"$set": 1}, {"$set": 1}),
        ({"$bytes": 1, "$text": 2}, {"$bytes": 1, "$text": 2}),
        (
            Order("a", decimal.Decimal("1.10"), DAY),
            {"to": "a", "amount": "1.10", "when": "2026-11-29"},
        ),
        (Packed("x"), {"from_": "x"}),
        (Box(3), {"height": 3}),
        (Point(1, 2), [1, 2]),
        (Colour.RED, "red"),
        (Colour.BOTH, [1, 2]),
        (Level.HIGH, 3),
        (NOON, "2026-11-29T12:00:00Z"),
        (NOON.astimezone(EAST), "2026-11-29T21:00:00+09:00"),
        (dt.datetime(2026, 1, 2, 3, 4, 5, 6), "2026-01-02T03:04:05.000006"),  # noqa: DTZ001
        (dt.time(1, 2), "01:02:00"),
        (dt.timedelta(hours=1, milliseconds=500), "PT3600.5S"),
        (dt.timedelta(seconds=-1), "-PT1S"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (fractions.Fraction(1, 3), "1/3"),
        (ipaddress.ip_address("::1"), "::1"),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (pathlib.PurePosixPath("/a/\udcff"), {"$text": "/a/\\udcff"}),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a", 1}), ["a", "b", 1]),
        (deque([1]), [1]),
        (range(3), [0, 1, 2]),
        ({"a": 1}.items(), [["a", 1]]),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (Counter("aa"), {"a": 2}),
        (UserDict(a=1), {"a": 1}),
        (ChainMap({"a": 1}, {"b": 2}), {"a": 1, "b": 2}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        ({1: "a", DAY: "b", Colour.RED: "c"}, {"1": "a", "2026-11-29": "b", "red": "c"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_type_has_its_one_form(value: Any, form: Any) -> None:
    assert canonical_form(value) == form
    assert type(canonical_form(value)) is type(form)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (object(), "value: object"),
        ({"to": print}, "to: builtin_function_or_method"),
        ({"a": {"b": [1, Says(a=1)]}}, "a, b[1]: Says"),
        (1j, "complex"),
        (iter([1]), "list_iterator"),
        ({1: 1, "1": 2}, "two members"),
        ({(1, 2): 1}, "name is tuple"),
        ({None: 1}, "name is NoneType"),
        ({"\ud800": 1}, "surrogate"),
        pytest.param(10**5000, "digits", id="long"),
        ({b"a": 1}, "name is bytes"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_none_is_named(value: Any, words: str) -> None:
    with pytest.raises(FormatError) as caught:
        value_form(value)
    assert words in str(caught.value)


def test_what_is_in_itself_has_no_form() -> None:
    nest: list[Any] = []
    nest.append(nest)
    with pytest.raises(FormatError, match="levels deep"):
        canonical_form(nest)


def test_an_object_without_a_field_says_so() -> None:
    order = Order("a", decimal.Decimal(1))
    del order.when
    with pytest.raises(FormatError, match="without one of its fields"):
        canonical_form(order)


def test_types_tell_apart_what_has_the_same_json() -> None:
    def types(value: Any) -> Any:
        return value_form(value).types

    assert types({"a": [1, "x", (2,)]}) == ()
    assert types(DAY) != types("2026-11-29")
    assert types({1: 2}) != types({"1": 2})
    assert types({"a": Box(1)}) != types({"a": {"height": 1}})
    assert types({DAY, uuid.UUID(int=1)}) == types({uuid.UUID(int=1), DAY})


def test_subclasses_count_where_they_may() -> None:
    assert value_form(Says(a=Says()), subclasses=True).value == {"a": {}}

    class Name(str):  # noqa: SLOT000 - as people write them
        def __str__(self) -> str:
            return "another"

    assert value_form({Name("a"): Name("b")}, subclasses=True).value == {"a": "b"}


def test_models_of_pydantic() -> None:
    pydantic: Any = pytest.importorskip("pydantic")

    class Item(pydantic.BaseModel):  # type: ignore[misc]
        model_config = pydantic.ConfigDict(extra="allow")
        name: str = pydantic.Field(alias="itemName")
        when: dt.date

    class Many(pydantic.RootModel[list[int]]):  # type: ignore[misc]
        pass

    item = Item(itemName="a", when=DAY, more={1})
    assert canonical_form({"item": item}) == {
        "item": {"name": "a", "when": "2026-11-29", "more": [1]}
    }
    assert canonical_form(Many([1])) == [1]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["a", "$bytes", "$$text", "$float", "é"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_every_value_of_json_has_a_canonical_form(value: Any) -> None:
    form = canonical_form(value)
    data = encode_canonical(form)
    assert check_canonical(data, "form") == json.loads(data)
    assert canonical_form(json.loads(json.dumps(value))) == form


@given(json_values, json_values)
def test_no_two_values_of_json_have_one_form(one: Any, other: Any) -> None:
    def told(value: Any) -> str:
        # 1 and 1.0, and 0 and -0.0, are one number in JSON.
        return json.dumps(_numbers(value), sort_keys=True)

    same = encode_canonical(canonical_form(one)) == encode_canonical(canonical_form(other))
    assert same == (told(one) == told(other))


def _numbers(value: Any) -> Any:
    if isinstance(value, float) and abs(value) < 2**53 and value == int(value):
        return int(value)
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    if isinstance(value, dict):
        return {name: _numbers(one) for name, one in value.items()}
    return value


@given(st.sets(st.integers() | st.text() | st.dates() | st.uuids()))
def test_a_set_has_one_form_whatever_its_order(values: set[Any]) -> None:
    again = set(sorted(values, key=repr, reverse=True))  # noqa: C414 - another order
    assert value_form(values) == value_form(again)
