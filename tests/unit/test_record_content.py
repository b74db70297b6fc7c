"""What a record says apart from its time, against reading and writing all of it."""

import json
from typing import Any

import pytest

from decisions import decisions
from muniment.records.canonical import encode_canonical
from muniment.records.content import content_of

RECORD: dict[str, Any] = json.loads(decisions(1, 5)[0])


def without(members: dict[str, Any], *names: str) -> bytes:
    return encode_canonical({name: one for name, one in members.items() if name not in names})


def test_the_content_of_decisions_is_all_but_their_time() -> None:
    for entry in decisions(300, 7):
        assert content_of(entry) == without(json.loads(entry), "time")
        assert content_of(entry, "id") == without(json.loads(entry), "time", "id")


@pytest.mark.parametrize("time", [0, 1, 999_999_999_999, 1_700_000_000_000, 17_000_000_000_000])
@pytest.mark.parametrize("more", [{}, {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}])
def test_times_of_any_length_are_left_out(time: int, more: dict[str, Any]) -> None:
    members = RECORD | {"time": time} | more
    assert content_of(encode_canonical(members)) == without(members, "time")
    others = ("time", "traceparent")
    assert content_of(encode_canonical(members), "traceparent") == without(members, *others)


@pytest.mark.parametrize(
    "inner",
    [
        {"time": 1_700_000_000_000, "v": 1},
        ',"time":1700000000000,"v":1}',
        {"x": ',"time":1700000000000,"v":1}', "é": "\\"},
    ],
)
def test_what_only_looks_like_the_time_stays(inner: object) -> None:
    request = RECORD["request"] | {"context": {"inner": inner, "time": 1, "v": 1}}
    members = RECORD | {"request": request}
    assert content_of(encode_canonical(members)) == without(members, "time")
    assert content_of(encode_canonical({"a": inner})) == without({"a": inner}, "time")
