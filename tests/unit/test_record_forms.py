"""The pattern of usual decisions: whatever it takes, the complete check takes, too."""

import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from decisions import decisions
from muniment.records import codec as recordcodec
from muniment.records.canonical import MAX_RECORD, encode_canonical
from muniment.records.codec import checking
from muniment.records.forms import (
    LEARN_FIRST,
    MOST_FORMS,
    MOST_TEXT,
    MOST_VALUES,
    BatchWithholding,
    Forms,
    Usual,
    form_of,
)
from muniment.records.kinds import Decision
from muniment.records.quick import read_plain
from muniment.tlog.encoding import FormatError, in_one_go

SAMPLE = {
    "v": 1,
    "kind": "decision",
    "id": "d-1",
    "time": 1_790_000_000_000,
    "producer": "gw.example/edge",
    "request": {
        "subject": {"type": "user", "id": "zoë", "properties": {"roles": ["a", "b"], "of": {}}},
        "action": {"name": "can_read", "properties": {"tries": 3, "cost": -0.25, "dry": True}},
        "resource": {"type": "todo", "id": "7", "properties": {"at": [1, "x", None, [False]]}},
        "context": {"ip": "10.0.0.1", "a.b": {"c": {"d": "e"}}},
    },
    "response": {"decision": True, "context": {"reason": "it is, of course"}},
    "execution": "run-1",
}
DENIED = SAMPLE | {"response": {"decision": False}, "denial": {"codes": ["policy_mismatch"]}}
OPEN = ("subject", "action", "resource", "context", "reason")
BASES = [encode_canonical(SAMPLE), encode_canonical(DENIED), *decisions(20)]


def taught(entries: list[bytes], *, withholding: bool = False) -> Forms:
    forms = Forms(withholding=withholding)
    assert read_plain(entries, forms) is not None
    return forms


FORMS = taught(BASES)


def usual_of(data: bytes) -> Usual:
    """What the complete check finds in a decision; it raises where that refuses."""
    record = recordcodec.examine(data)
    assert isinstance(record, Decision)
    run = None if record.execution is None else record.execution.encode()
    allows = b"true" if record.allowed else None
    return run, record.id.encode(), record.producer.encode(), allows


def agree(forms: Forms, data: bytes) -> bool:
    """Whether a record is usual; then the complete check must find the same in it."""
    (found,) = forms.read([data])
    assert found is None or found == usual_of(data)
    producer = b"gw.example/edge" if found is None else found[2]
    is_plain = found is not None and not data.startswith(b'{"addenda":')
    assert forms.is_usual(data, producer) == is_plain
    assert not forms.is_usual(data, producer + b"x")
    assert forms.producer_of([data]) == (producer if is_plain else None)
    return found is not None


def with_open(place: str, value: dict[str, Any]) -> bytes:
    record = json.loads(json.dumps(SAMPLE))
    request = record["request"]
    if place == "reason":
        record["response"]["context"] = value
    elif place == "context":
        request["context"] = value
    else:
        request[place]["properties"] = value
    return encode_canonical(record)


def test_what_was_met_once_is_known() -> None:
    assert all(agree(FORMS, data) for data in [*BASES, *decisions(500, seed=7)])
    assert not any(agree(Forms(), data) for data in BASES)


PIECES = [
    *(b'"', b"\\", b"\\u0041", b"\n", b" ", b"\x00", b"\x7f", b"\xff", b"\xed\xa0\x80", b"\xc3"),
    *("é".encode(), "😀".encode(), b"0", b"-0", b"-", b".", b".0", b"1e5", b"00", b"1", b"9" * 16),
    *(b",", b":", b"{}", b"[]", b'["a"]', b"null", b"true", b"false", b"+", b'"a":1,', b"x" * 200),
]


@settings(max_examples=300)
@given(
    base=st.sampled_from(BASES),
    at=st.integers(0, 2000),
    piece=st.sampled_from(PIECES) | st.binary(max_size=2),
    cut=st.integers(0, 3),
)
def test_whatever_is_usual_is_canonical_and_valid(
    base: bytes, at: int, piece: bytes, cut: int
) -> None:
    at %= len(base)
    agree(FORMS, base[:at] + piece + base[at + cut :])


def test_most_that_only_differs_in_its_values_is_usual() -> None:
    """So that the law is not kept by a pattern that matches nothing."""
    source = random.Random(20261129)
    hits = wrong = 0
    for _ in range(3000):
        entry = bytearray(source.choice(BASES))
        for _ in range(3):
            at = source.randrange(len(entry))
            if chr(entry[at]).isalnum():
                entry[at] = source.choice(b"abcxyz" if chr(entry[at]).isalpha() else b"123456789")
        try:
            usual_of(bytes(entry))
        except FormatError:
            wrong += 1
        hits += agree(FORMS, bytes(entry))
    assert hits >= 1000
    assert wrong >= 300


@settings(max_examples=300)
@given(
    number=st.tuples(
        st.sampled_from(["", "-"]),
        st.integers(0, 10**17).map(str) | st.sampled_from(["0", "00", "007"]),
        st.just("") | st.integers(0, 10**8).map(lambda digits: f".{digits}"),
        st.sampled_from(["", "", "e1", "e+21", "e-7"]),
    ).map("".join)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.integers(-(2**60), 2**60).map(str)
)
@example(number="-0")
@example(number="-0.0")
@example(number="0.000001")
@example(number="999999999.999999")
@example(number="9999999999.5")
@example(number="0.10")
@example(number="999999999999999")
@example(number="9007199254740992")
def test_numbers_have_one_spelling(number: str) -> None:
    for member in (b'"tries":3', b'"at":[1', b'"time":1790000000000', b'"cost":-0.25'):
        name = member.rpartition(b":")[0] + (b":[" if b"[" in member else b":")
        agree(FORMS, BASES[0].replace(member, name + number.encode()))


def test_usual_numbers_and_texts_are_taken() -> None:
    for number in (b"0", b"-7", b"12345678", b"0.5", b"-0.000001", b"123456789.123456"):
        assert agree(FORMS, BASES[0].replace(b'"tries":3', b'"tries":' + number))
    for text in ("", "10:30, or so", "a{}[]", "é", "😀" * 40):
        assert agree(FORMS, BASES[0].replace(b"10.0.0.1", text.encode()))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(max_size=4)
    | st.integers(-(10**9), 10**9).map(lambda value: value / 1000)
)
NAMES = st.text(max_size=3) | st.sampled_from(["a", "b", "%s", "x.y"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner), max_leaves=8
)


@settings(max_examples=50)
@given(place=st.sampled_from(OPEN), objects=st.lists(st.dictionaries(NAMES, VALUES), max_size=4))
def test_any_object_can_be_learned(place: str, objects: list[dict[str, Any]]) -> None:
    entries = [with_open(place, each) for each in objects]
    forms = Forms()
    read_plain(entries, forms)
    for entry in entries:
        agree(forms, entry)


def test_what_is_learned_is_bounded() -> None:
    assert form_of({"a": list(range(MOST_VALUES))}) is None
    assert form_of({"a" * (MOST_TEXT + 1): 1}) is None
    assert form_of({'"': 1}) is form_of({"é": 1}) is form_of({"\\": 1}) is None
    objects = [with_open("context", {f"member-{number}": 1}) for number in range(60)]
    forms = taught(objects)
    assert max(forms.learned) == MOST_FORMS
    # The last ones are known, and nothing more is learned before some records have passed.
    assert [agree(forms, data) for data in objects] == [False] * (60 - MOST_FORMS) + [
        True
    ] * MOST_FORMS
    assert read_plain(objects[:1], forms) is not None
    assert not agree(forms, objects[0])
    forms.read(objects[-1:] * LEARN_FIRST * 2)
    assert read_plain(objects[:1], forms) is not None
    assert agree(forms, objects[0])


def test_many_threads_learn_and_read_at_the_same_time() -> None:
    objects = [with_open("context", {f"member-{number}": 1}) for number in range(12)]
    forms = Forms()

    def work(seed: int) -> None:
        mine = random.Random(seed).sample(objects, len(objects))
        for entry in mine:
            forms.read([entry] * LEARN_FIRST * 2)
            assert read_plain([entry], forms) is not None

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, seed) for seed in range(4)]:
            done.result()
    assert max(forms.learned) == MOST_FORMS
    for entry in objects:
        agree(forms, entry)


def test_long_records_are_left_to_others() -> None:
    longest = BASES[0].replace(b"10.0.0.1", b"x" * (MAX_RECORD - len(BASES[0]) + 8))
    assert len(longest) == MAX_RECORD
    assert agree(FORMS, longest)
    assert not agree(FORMS, longest.replace(b"xx", b"xxx", 1))


# Decisions that withhold members

WITHHOLDING = taught(BASES, withholding=True)
DIGESTS = ["0a" * 32, "1b" * 32, "2c" * 32]
NO_DIGESTS = ["0A" * 32, "0 " * 32, "0a" * 31, 'x","/request/x":"' + "0a" * 24, "é" + "0" * 62]
LEFT_OUT = [
    "/request/context",
    "/request/action/properties",
    "/request/resource/properties",
    "/request/subject/properties",
    "/response/context",
]


def withholding(record: dict[str, Any], *pointers: str, **members: Any) -> bytes:
    addenda = dict(zip(pointers, DIGESTS, strict=False))
    return encode_canonical(record | {"addenda": addenda} | members)


def test_decisions_that_withhold_are_usual_only_where_that_is_asked_for() -> None:
    for pointers in (
        ["/request/arguments"],
        ["/request/context/arguments", "/request/prompt"],
        ["/request/context/arguments", "/request/context/prompt"],
    ):
        for kept in ({}, {"kept": "log"}):
            for record in (SAMPLE, DENIED):
                data = withholding(record, *pointers, **kept)
                assert agree(WITHHOLDING, data)
                assert not agree(FORMS, data)


@settings(max_examples=500)
@given(
    st.lists(
        st.sampled_from(
            [
                "/request/arguments",
                "/request/context",
                "/request/context/ip",
                "/request/context/secret",
                "/request/context/a/b",
                "/request/subject",
                "/request/subject/id",
                "/request/properties",
                "/request/action/properties",
                "/request/resource/properties",
                "/request/subject/properties",
                "/response/context",
                "/response/decision",
                "/request/a~0b",
                "/request/a~b",
                "request",
                "",
            ]
        ),
        max_size=3,
        unique=True,
    ),
    st.sampled_from([SAMPLE, DENIED]),
    st.sets(st.sampled_from([*LEFT_OUT])),
    st.lists(st.sampled_from([*DIGESTS, *NO_DIGESTS]), min_size=3, max_size=3),
    st.sampled_from([{}, {"kept": "log"}, {"kept": "gateway"}]),
    st.booleans(),
)
def test_whatever_is_taken_as_withheld_the_complete_check_takes_too(
    pointers: list[str],
    record: dict[str, Any],
    left_out: set[str],
    digests: list[str],
    kept: dict[str, Any],
    is_sorted: bool,
) -> None:
    record = json.loads(json.dumps(record))
    for pointer in left_out:
        parent: dict[str, Any] = record
        for name in pointer.split("/")[1:-1]:
            parent = parent[name]
        parent.pop(pointer.rpartition("/")[2], None)
    pairs = dict(zip(pointers, digests, strict=False))
    data = encode_canonical(record | {"addenda": pairs} | kept)
    if not is_sorted:
        ordered = ",".join(f'"{name}":"{pairs[name]}"' for name in pointers)
        data = b'{"addenda":{%b},' % ordered.encode() + encode_canonical(record | kept)[1:]
    withheld = BatchWithholding()
    if agree(WITHHOLDING, data) and pairs:
        assert WITHHOLDING.read([data], withheld, 7) == [usual_of(data)]
        found = "".join(pairs[pointer] for pointer in sorted(pairs))
        subject = record["request"]["subject"]
        assert withheld.each() == {
            7: (
                bytes.fromhex(found),
                subject["type"].encode(),
                subject["id"].encode(),
                b'"log"' if kept else None,
                b"run-1",
            )
        }


def test_many_have_a_producer_when_all_are_plain_and_of_one() -> None:
    name = BASES[0].replace(b"gw.example/edge", b"gw.example/other")
    wide = encode_canonical(SAMPLE | {"id": "d-2"})
    assert not wide.isascii()
    assert FORMS.producer_of(BASES[:2]) == b"gw.example/edge"
    assert FORMS.producer_of([BASES[0], wide, BASES[1]]) == b"gw.example/edge"
    assert FORMS.producer_of([BASES[0], name]) is None
    assert FORMS.producer_of([BASES[0], wide.replace(b"\xc3\xab", b"\xc3")]) is None
    assert FORMS.producer_of([BASES[0], b" " * (MAX_RECORD + 1)]) is None
    assert FORMS.producer_of([BASES[0], BASES[1][:-1]]) is None
    assert FORMS.producer_of([]) is None


@pytest.mark.parametrize("odd", [None, 0, 70, 99])
def test_a_check_tells_how_many_withhold_nothing(odd: int | None) -> None:
    entries = [encode_canonical(SAMPLE | {"id": f"d-{number}"}) for number in range(100)]
    if odd is not None:
        bare = SAMPLE | {"response": {"decision": True}}
        entries[odd] = withholding(bare, "/response/context")
    told = in_one_go(checking(entries, "gw.example/edge", forms=WITHHOLDING))
    pieces = [entries[:64], entries[64:]]
    plain = [len(piece) for piece in pieces if odd is None or entries[odd] not in piece]
    assert told.without == sum(plain)


def test_what_gateways_withhold_by_default_is_usual() -> None:
    record = {
        **SAMPLE,
        "request": {
            "subject": {"type": "user", "id": "zoë"},
            "action": {"name": "can_read"},
            "resource": {"type": "todo", "id": "7"},
        },
        "response": {"decision": True},
    }
    assert agree(WITHHOLDING, withholding(record, "/request/context", "/response/context"))
    assert agree(WITHHOLDING, withholding(record, *LEFT_OUT[1:4]))
    assert not agree(WITHHOLDING, withholding(SAMPLE, "/request/context"))


def test_what_stands_where_a_digest_does_is_looked_at() -> None:
    data = withholding(SAMPLE, "/request/arguments", "/request/prompt")
    assert agree(WITHHOLDING, data)
    for other in (
        b"0A" * 32,
        b"0 " * 32,
        b"g" * 64,
        b'","/request/x":"' + b"0a" * 24 + b'"',
        b"\n" * 64,
    ):
        assert not agree(WITHHOLDING, data.replace(b"0a" * 32, other[:64]))
