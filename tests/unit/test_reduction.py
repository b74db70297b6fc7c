"""Denials that cannot be recorded as they are: what stays of them, and what is noted."""

import datetime as dt
import json
from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import decisions
from muniment.records.canonical import MAX_RECORD, encode_canonical
from muniment.records.codec import RecordError, parse_record
from muniment.records.kinds import Decision
from muniment.records.preparation import Preparer
from muniment.records.reduction import reduce_decision

NOW = 1_790_000_000_000
REQUEST = decisions.request("planner", "read", ("file", "/etc/passwd"))
PREPARER = Preparer("gw.example/one", now_ms=lambda: NOW, new_id=lambda: "new")
LOOP: list[Any] = []
LOOP += [LOOP, LOOP]


def commit(path: str, value: Any) -> str:
    return "sha256:" + sha256(path.encode() + encode_canonical(value)).hexdigest()


def reduced(members: dict[str, Any], *, salted: bool = True) -> dict[str, Any]:
    made = reduce_decision(members, "d-1", ("denied_by_policy",), commit if salted else None)
    [entry] = PREPARER.prepare([made])
    record = parse_record(entry)
    assert isinstance(record, Decision)
    assert not record.allowed
    return dict(json.loads(entry))


def test_what_fits_stays_as_it_is() -> None:
    found = reduced(
        {
            "id": "d-1",
            "execution": "run-1",
            "request": {**REQUEST, "context": {"ip": "::1"}, "extra": [1.5, None]},
            "response": {"decision": True, "context": {"reason": "rule 7"}},
        }
    )
    assert found["request"] == {**REQUEST, "context": {"ip": "::1"}, "extra": [1.5, None]}
    assert found["response"] == {"decision": False, "context": {"reason": "rule 7"}}
    assert found["execution"] == "run-1"
    assert found["denial"] == {"codes": ["denied_by_policy"]}


CASES: list[tuple[str, Any, Any]] = [
    ("beyond 2**53", 2**53 + 1, str(2**53 + 1)),
    ("far beyond", -(10**40), "-1" + "0" * 40),
    ("a whole float", 2.0**60, str(2**60)),
    ("not a number", float("nan"), "NaN"),
    ("infinite", [float("-inf")], ["-Infinity"]),
    ("a lone surrogate", {"\udcff": "a\ud800"}, {"\\udcff": "a\\ud800"}),
    ("long", "r" * 70_000, "r" * 70_000),
    ("many", ["r"] * 5_000, ["r"] * 5_000),
]


@pytest.mark.parametrize(("value", "wide"), [one[1:] for one in CASES], ids=[c[0] for c in CASES])
@pytest.mark.parametrize("place", ["context", "properties"])
def test_what_does_not_fit_is_noted_by_its_size_and_a_commitment(
    place: str, value: Any, wide: Any
) -> None:
    if place == "context":
        path, request = "request.context.bad", {**REQUEST, "context": {"bad": value, "good": 1}}
    else:
        path = "request.subject.properties.bad"
        subject = {**REQUEST["subject"], "properties": {"bad": value, "good": 1}}
        request = {**REQUEST, "subject": subject}
    note = {"size": len(encode_canonical(wide)), "digest": commit(path, wide)}
    found = reduced({"request": request})
    assert found["denial"]["reduced"] == {path: note}
    kept = found["request"]["subject"] if place == "properties" else found["request"]
    assert kept[place] == {"good": 1}
    del note["digest"]
    assert reduced({"request": request}, salted=False)["denial"]["reduced"] == {path: note}


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (dt.date.max, "date"),
        (Decimal(1), "Decimal"),
        ({1: 2}, "dict"),
        ([object()], "list"),
        (LOOP, "list"),
        (b"bytes", "bytes"),
        ([[]] * 30_000, "list"),
    ],
)
def test_of_what_json_has_no_form_for_the_type_is_noted(value: Any, type_: str) -> None:
    found = reduced({"request": REQUEST, "response": {"decision": False, "context": {"x": value}}})
    assert found["denial"]["reduced"] == {"response.context.x": {"type": type_}}


def test_a_required_string_is_cut_short() -> None:
    long, broken = "/" + "a" * 70_000, "/etc/\udcff"
    request = {
        **REQUEST,
        "subject": {"type": "agent", "id": broken},
        "resource": {"type": "file", "id": long},
    }
    found = reduced({"request": request})
    assert found["request"]["resource"]["id"] == long[:256]
    assert found["request"]["subject"]["id"] == "/etc/\ufffd"
    assert found["denial"]["reduced"]["request.resource.id"]["size"] == len(long) + 2
    assert found["denial"]["reduced"]["request.subject.id"]["digest"].startswith("sha256:")


@pytest.mark.parametrize("members", [{}, {"request": None}, {"request": 1, "response": "no"}])
def test_what_is_missing_is_noted(members: dict[str, Any]) -> None:
    found = reduced(members)
    assert found["request"]["subject"] == {"type": "", "id": ""}
    assert found["denial"]["reduced"]["request.subject"] == {"type": "missing"}


def test_ids_that_are_none_and_what_only_a_whole_decision_has_are_noted() -> None:
    found = reduced(
        {
            "id": "d 1",
            "execution": "ü",
            "request": REQUEST,
            "artifact": {"a": 1},
            "traceparent": "none",
            "odd name\n": 1,
        }
    )
    assert set(found["denial"]["reduced"]) == {
        "id",
        "execution",
        "artifact",
        "traceparent",
        "odd%20name%0A",
    }
    assert "execution" not in found


def test_of_many_members_the_object_is_noted() -> None:
    found = reduced({"request": {**REQUEST, "context": {f"n{i}": 2**60 + i for i in range(100)}}})
    assert found["request"]["context"] == {}
    assert set(found["denial"]["reduced"]) == {"request.context"}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=2_000)  # type: ignore[arg-type]  # any
    | st.binary()
    | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=30)
    ),
    max_leaves=60,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "request": st.fixed_dictionaries(
                {},
                optional={
                    name: VALUES | st.fixed_dictionaries({}, optional={"id": VALUES, "x": VALUES})
                    for name in ("subject", "action", "resource", "context", "more")
                },
            )
            | VALUES,
            "response": VALUES,
            "execution": VALUES,
            "artifact": VALUES,
            "id": VALUES,
        },
    )
)
def test_whatever_it_is_there_is_a_record_of_it(members: dict[str, Any]) -> None:
    reduced(members)


def test_the_largest_reduced_denial_fits() -> None:
    long = {f"{'n' * 120}{i}": "x" * 5_000 for i in range(15)}
    short = {f"s{i}": "\u0001" * 600 for i in range(50)}

    def thing() -> dict[str, Any]:
        return {"type": "\udcff" * 4_000, "id": "\udcff" * 4_000, "properties": {**long, **short}}

    request = {name: {**thing(), **long} for name in ("subject", "action", "resource", "context")}
    response = {"decision": False, "context": {**long, **short}, **long}
    found = reduced({"request": {**request, **long}, "response": response, **long})
    assert len(encode_canonical(found)) <= MAX_RECORD


def test_only_a_denial_of_a_decision_is_reduced() -> None:
    denial = {"codes": ["denied_by_policy"], "reduced": {"request": {"size": 1}}}
    for members in (
        {"kind": "outcome", "execution": "r", "status": "aborted", "denial": denial},
        {"request": REQUEST, "response": {"decision": True}, "denial": denial},
        {"request": REQUEST, "response": {"decision": False}, "denial": {**denial, "reduced": {}}},
    ):
        with pytest.raises(RecordError, match="denial"):
            PREPARER.prepare([members])
