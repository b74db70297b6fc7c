"""What was decided is what a governed call runs, on an event loop and in threads."""

import asyncio
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from bench import AGENT, Bench, yes
from muniment.gateway.governed import governed


async def test_arguments_that_change_before_the_run_are_not_run(bench: Bench) -> None:
    order = {"to": "customer-1", "items": [{"id": 1}]}

    def change(*_: Any) -> Any:
        order["items"][0]["id"] = 2  # type: ignore[index]
        return {"decision": True}

    def change_later(_call: Any, members: dict[str, Any]) -> dict[str, Any]:
        change()
        return members

    async def meanwhile(_: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        return change()  # type: ignore[no-any-return]

    cases: list[dict[str, Any]] = [
        {"decide": change},
        {"decide": meanwhile},
        {"complete": change_later},
        {"check": lambda _permit, _call: change() and None},
    ]
    async with bench.opened():
        for rules in cases:
            order["items"] = [{"id": 1}]
            denial = await bench.denied(bench.tool(bench.ran.append, **rules), order)
            assert "changed between the decision and the run" in denial.reasons[0]
        outcomes = await bench.outcomes()
    assert not bench.ran
    assert [(one["status"], one["denial"]["codes"]) for one in outcomes] == [
        ("aborted", ["authorization_discontinuity"])
    ] * len(cases)


DEFAULT = {"to": "customer-1"}


def pay(order: dict[str, str] = DEFAULT) -> str:
    return order["to"]


def pay_by_name(*, amount: int = 1, order: dict[str, str] = DEFAULT) -> str:
    return order["to"] * amount


async def pay_later(order: dict[str, str] = DEFAULT) -> str:
    return order["to"]


@pytest.mark.parametrize("function", [pay, pay_by_name, pay_later], ids=lambda one: one.__name__)
async def test_a_default_that_changes_before_the_run_is_not_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any]
) -> None:
    if (function is pay_later) != (bench.kind == "event loop"):
        return  # for the other kind of gateway
    monkeypatch.setitem(DEFAULT, "to", "customer-1")

    def change(_: Any) -> Any:
        DEFAULT["to"] = "customer-2"
        return {"decision": True}

    async with bench.opened():
        tool = governed(bench.gateway, decide=change, subject=AGENT)(function)
        denial = await bench.denied(tool)
        assert "changed between the decision and the run" in denial.reasons[0]
        # Nobody uses it: changes of it are no concern of this call, nor when something else stands
        # for the arguments.
        assert await bench.call(tool, order={"to": "somebody"}) == "somebody"
        DEFAULT["to"] = "customer-1"
        bound = governed(bench.gateway, decide=change, subject=AGENT, bind=lambda: "an order")
        assert await bench.call(bound(function)) == "customer-2"


async def test_who_gets_the_request_cannot_change_it(bench: Bench) -> None:
    subject = {"type": "agent", "id": "planner", "properties": {"team": "a"}}
    answer = {"decision": True, "context": {"why": ["rule 1"]}}

    def decide(request: Any) -> Any:
        request["resource"]["id"] = "elsewhere"
        request["subject"]["properties"]["team"] = "b"
        subject["properties"]["team"] = "c"  # type: ignore[index]
        return answer

    def complete(call: Any, members: dict[str, Any]) -> dict[str, Any]:
        call.request["resource"]["id"] = "elsewhere"
        answer["context"]["why"].append("rule 2")  # type: ignore[index]
        return members

    def check(_permit: Any, call: Any) -> None:
        assert call.request["resource"]["id"] == "shop"
        call.request["resource"]["id"] = "elsewhere"

    async with bench.opened():
        tool = bench.tool(
            bench.ran.append,
            decide=decide,
            subject=subject,
            resource={"type": "shop", "id": "shop"},
            complete=complete,
            check=check,
        )
        await bench.call(tool, 1)
    [decision] = bench.records("decision")
    assert bench.ran == [1]
    assert decision["request"]["resource"] == {"type": "shop", "id": "shop"}
    assert decision["request"]["subject"]["properties"] == {"team": "a"}
    assert decision["response"]["context"] == {"why": ["rule 1"]}


class Order(dict[str, Any]):
    """Says more than its JSON."""


@pytest.mark.parametrize(
    "value",
    [object(), {(1, 2): 3}, Order(a=1), iter([1]), print, 1j],
    ids=lambda value: type(value).__name__,
)
async def test_arguments_without_a_canonical_form_need_something_that_stands_for_them(
    bench: Bench, value: Any
) -> None:
    async with bench.opened():
        await bench.denied(bench.tool(bench.ran.append), [value])
        assert bench.ran == []
        assert [one["response"]["decision"] for one in bench.records("decision")] == [False]
        await bench.call(bench.tool(bench.ran.append, bind=lambda _: "a value"), [value])
        assert bench.ran == [[value]]
        [outcome] = await bench.outcomes()
    assert outcome["inputs"]["arguments"].startswith("sha256:")


@dataclass
class Parcel:
    weight: int

    def send(self, to: str, *more: int, **options: Any) -> str:
        return to


async def test_arguments_have_one_form_however_they_are_given(bench: Bench) -> None:
    def send(to: str, cents: int = 1, /, *more: int, via: Any = None, **options: Any) -> None:
        bench.ran.append(to)

    whole = {"to": "ada", "cents": 2, "more": [3], "via": {"weight": 1}, "by": "air"}
    parcel = Parcel(1)
    partly = functools.partial(functools.partial(send, "ada"), 2, via=parcel)
    async with bench.opened(keep="gateway"):
        seen: list[Any] = []

        def decide(request: Any) -> Any:
            seen.append(request.get("context", {}).get("arguments"))
            return {"decision": True}

        def governs(function: Callable[..., Any]) -> Callable[..., Any]:
            return bench.tool(function, decide=decide)

        if bench.kind == "threads":  # the bench wraps what is awaited
            await bench.call(governs(send), "ada", 2, 3, via=parcel, by="air")
            await bench.call(governs(partly), 3, by="air")
            await bench.call(governs(Parcel.send), parcel, "ada", 2, by="air")
            await bench.call(governs(parcel.send), to="ada", by="air")
            assert seen == [
                whole,
                whole,
                {"to": "ada", "more": [2], "by": "air"},
                {"to": "ada", "by": "air"},
            ]
            denial = await bench.denied(governs(send), "ada", to="eve")
            assert "two arguments have this name" in denial.reasons[0]
            await bench.call(governs(bench.ran.append), [1])
            assert seen[-1] == {"object": [1]}
        await bench.call(bench.tool(lambda *args, **kwargs: None, decide=decide), 1, b=2)
        assert seen[-1] in ({"args": [1], "b": 2}, {"args": [1], "kwargs": {"b": 2}})


async def test_arguments_that_are_left_out_are_told(bench: Bench) -> None:
    def send(context: Any, to: str) -> str:
        return to

    async with bench.opened():
        tool = bench.tool(send, unbound=["context"])
        assert await bench.call(tool, context=object(), to="ada") == "ada"
        if bench.kind == "threads":  # what awaits in a bench takes anything, by name
            assert await bench.call(tool, object(), "ada") == "ada"
            with pytest.raises(TypeError, match="no parameter 'ctx'"):
                bench.tool(send, unbound=["ctx"])
        outcomes = await bench.outcomes()
    assert {*(tuple(one["unbound"]) for one in outcomes)} == {("inputs.arguments.context",)}


async def test_what_stands_for_arguments_must_stay_the_same(bench: Bench) -> None:
    versions = iter([1, 2])
    places = iter(["a", "b"])
    async with bench.opened():
        bound = bench.tool(bench.ran.append, bind=lambda _: next(versions))
        await bench.denied(bound, object())
        moved = bench.tool(
            bench.ran.append,
            bind=lambda _: 1,
            resource=lambda _: {"type": "place", "id": next(places)},
        )
        await bench.denied(moved, object())
    assert not bench.ran


async def test_what_a_partial_holds_is_bound_and_the_object_of_a_method_is_not(
    bench: Bench,
) -> None:
    held = {"to": "a"}

    class Box:
        def put(self, item: int) -> int:
            bench.ran.append(item)
            return item

    def spoil(_: Any) -> Any:
        held["to"] = "b"
        return {"decision": True}

    def send(to: Any, what: str) -> None:
        bench.ran.append((to, what))

    async with bench.opened():
        if bench.kind == "threads":  # one is a plain function
            tool = bench.tool(functools.partial(send, held), decide=spoil)
            await bench.denied(tool, "x")
            assert not bench.ran
        box = Box()
        assert await bench.call(bench.tool(box.put), 7) == 7
        if bench.kind == "threads":
            assert await bench.call(bench.tool(Box.put), box, 8) == 8
    assert bench.ran[-1] in (7, 8)


COMPLETIONS: list[tuple[str, Callable[[dict[str, Any]], Any], bool]] = [
    ("adds a trace", lambda d: d | {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}, True),
    ("gives it an id", lambda d: d | {"id": "mine"}, True),
    ("as text", json.dumps, True),
    ("another run", lambda d: d | {"execution": "job-42"}, False),
    ("no run", lambda d: {k: v for k, v in d.items() if k != "execution"}, False),
    (
        "another resource",
        lambda d: d | {"request": d["request"] | {"resource": {"type": "tool", "id": "x"}}},
        False,
    ),
    (
        "another subject",
        lambda d: d | {"request": d["request"] | {"subject": {"type": "agent", "id": "x"}}},
        False,
    ),
    ("another action", lambda d: d | {"request": d["request"] | {"action": {"name": "x"}}}, False),
    ("a context", lambda d: d | {"request": d["request"] | {"context": {}}}, False),
    ("another kind", lambda _: {"kind": "outcome", "execution": "x", "status": "failed"}, False),
    ("nothing", lambda _: None, False),
]


@pytest.mark.parametrize(("name", "change", "runs"), COMPLETIONS, ids=[c[0] for c in COMPLETIONS])
async def test_complete_adds_and_changes_nothing(
    bench: Bench, name: str, change: Callable[[Any], Any], runs: bool
) -> None:
    async with bench.opened():
        tool = bench.tool(bench.ran.append, complete=lambda _call, members: change(members))
        if runs:
            await bench.call(tool, 1)
        else:
            await bench.denied(tool, 1)
        await bench.outcomes()
    assert len(bench.ran) == len(bench.records("outcome")) == runs
    [decision] = bench.records("decision")
    assert decision["response"]["decision"] is runs


async def test_complete_makes_no_yes_of_a_no(bench: Bench) -> None:
    def overrule(_call: Any, members: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in members.items() if k != "denial"} | {"response": yes(None)}

    async with bench.opened():
        tool = bench.tool(bench.ran.append, decide=lambda _: {"decision": False}, complete=overrule)
        await bench.denied(tool, 1)
    assert not bench.ran
