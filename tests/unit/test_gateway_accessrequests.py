"""Access requests: what a submission asks for, and what its task says of it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisions import request
from muniment.tlog.encoding import FormatError
from muniment_gateway.core.accessrequests import (
    MOST_ITEMS,
    describe,
    parse_submission,
    parse_task,
    status_of,
    task_id,
)
from muniment_gateway.core.approvals import Held

NOW = 1_790_000_000


def held(number: int, **changes: Any) -> Held:
    return Held(
        id=f"arq-{number:032x}", key=b"k", client="", authority="people", evaluation=f"e-{number}",
        request=request(resource=("tool", str(number))), withheld=(), salt="0a" * 16, call="",
        made=NOW, expires=NOW + 900, asked={}, **changes,
    )  # fmt: skip


def denial(number: int) -> dict[str, str]:
    return {"evaluation_id": f"e-{number}", "expires_at": "2026-01-01T00:00:00Z"}


@given(
    numbers=st.lists(st.integers(0, 99), min_size=1, max_size=MOST_ITEMS, unique=True),
    is_bundle=st.booleans(),
)
def test_a_task_names_its_calls(numbers: list[int], *, is_bundle: bool) -> None:
    calls = [held(number) for number in (numbers if is_bundle else numbers[:1])]
    name = task_id(calls, is_bundle=is_bundle)
    assert parse_task(name) == ([one.id for one in calls], is_bundle)


@given(st.text(alphabet="arbq-0.1x/", max_size=40))
def test_any_name_of_a_task_is_bounded(text: str) -> None:
    ids, _ = parse_task(text)
    assert len(ids) <= MOST_ITEMS
    assert parse_task("arb." + ".".join(f"arq-{n}" for n in range(MOST_ITEMS + 1)))[0] == []
    assert parse_task("arb.arq-1.arq-1")[0] == []


STATES: dict[str, dict[str, Any]] = {
    "pending": {},
    "cancelled": {"cancelled": NOW},
    "expired": {"made": NOW - 901, "expires": NOW - 1},
}


@given(st.lists(st.sampled_from(sorted(STATES)), min_size=1, max_size=5))
def test_the_status_of_several(states: list[str]) -> None:
    calls = [replace(held(number), **STATES[state]) for number, state in enumerate(states)]
    wanted = "partial" if len(set(states)) > 1 else states[0]
    wanted = "pending" if "pending" in states else wanted
    assert status_of(calls, NOW) == wanted
    told = describe(calls, NOW, "s", "c", is_bundle=True)["task"]
    assert [one["status"] for one in told["items"]] == states
    assert ("links" in told) == (wanted == "pending")


def test_what_people_are_shown_of_an_item() -> None:
    whole = {
        "subject": {},
        "requested_access": {"role": "reader", "emergency": True},
        "client": {"id": "app"},
        "items": [
            {"resource": {}, "action": {}, "denial": denial(1)},
            {
                "resource": {}, "action": {}, "denial": denial(2),
                "requested_access": {"role": "writer"},
            },
        ],
    }  # fmt: skip
    found = parse_submission(whole)
    assert found.evaluations == ["e-1", "e-2"]
    assert [one["requested_access"]["role"] for one in found.shown] == ["reader", "writer"]
    assert all(one["requested_access"]["emergency"] for one in found.shown)
    assert found.shown[0]["client"] == {"id": "app"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"items": {}}, "items: expected an array"),
        ({"items": []}, "items: expected an array"),
        ({"items": [1]}, r"items\[0\]: expected an object"),
        ({"items": [{"resource": {}, "action": {}}]}, r"items\[0\]: denial: expected"),
        ({"items": [{"resource": {}, "denial": denial(1)}]}, r"items\[0\]: action: expected"),
        ({"resource": {}}, "resource: each item has its own"),
        ({"subject": 1}, r"items\[0\]: subject: expected"),
    ],
)
def test_what_is_no_submission_is_named(changes: dict[str, Any], words: str) -> None:
    item = {"resource": {}, "action": {}, "denial": denial(1)}
    with pytest.raises(FormatError, match=words):
        parse_submission({"subject": {}, "items": [item], **changes})


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        (1, "callback: expected an object"),
        ({}, "callback.endpoint: expected"),
        ({"endpoint": "u", "events": "approved"}, "callback.events: expected"),
        ({"endpoint": "u", "events": [1]}, "callback.events: expected"),
        ({"endpoint": "u", "state": "x" * 5000}, "callback.state: more than 4096"),
    ],
)
def test_what_is_no_callback_is_named(callback: object, words: str) -> None:
    asked = {"subject": {}, "resource": {}, "action": {}, "denial": denial(1)}
    with pytest.raises(FormatError, match=words):
        parse_submission({**asked, "callback": callback})


def test_a_callback_is_told_of_the_ends_that_it_names() -> None:
    asked = {"subject": {}, "resource": {}, "action": {}, "denial": denial(1)}

    def of(**more: Any) -> Any:
        return parse_submission({**asked, "callback": {"endpoint": "u", **more}}).callback

    assert parse_submission(asked).callback is None
    assert of(state={"a": 1}).state == {"a": 1}
    assert all(of().wants(status) for status in ("approved", "denied", "partial"))
    some = of(events=["denied", "example:else"])
    assert some.wants("denied")
    assert not some.wants("approved")
    assert not of(events=["example:else"]).wants("approved")
