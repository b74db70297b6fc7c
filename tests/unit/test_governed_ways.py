"""Governed calls behave alike on an event loop and in threads: one table for both."""

import asyncio
import concurrent.futures
import contextlib
import errno
import functools
import json
import os
import shutil
import sqlite3
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from bench import AGENT, TOOL, Bench, yes
from muniment.errors import Denied, StreamError
from muniment.gateway import spool, spoolstore
from muniment.gateway.governed import governed
from muniment.gateway.runs import carry_run, current_run
from muniment.local.sqlitefile import Writer
from muniment.permit import Finding, Verdict
from waiting import until

RULES: dict[str, Any] = {"decide": lambda _: {"decision": True}, "subject": AGENT}


# What was decided is what runs


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
    del bench.ran[:]
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
        # What awaits in a bench takes anything.
        names = {"unbound": ["context"]}
        tool = bench.tool(send, **names)
        if bench.kind == "threads":
            assert await bench.call(tool, object(), "ada") == "ada"
            [outcome] = await bench.outcomes()
            assert outcome["unbound"] == ["inputs.arguments.context"]
            with pytest.raises(TypeError, match="no parameter 'ctx'"):
                bench.tool(send, unbound=["ctx"])
        else:
            assert await bench.call(tool, context=object(), to="ada") == "ada"
            assert (await bench.outcomes())[0]["unbound"] == ["inputs.arguments.context"]


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


# Only what has run has an outcome


def items() -> Iterator[int]:
    yield 1


async def later_items() -> AsyncGenerator[int, None]:
    yield 1


class Generates:
    def __call__(self) -> Iterator[int]:
        yield 1

    def method(self) -> Iterator[int]:
        yield 1

    @staticmethod
    def static() -> None: ...

    @classmethod
    def of_class(cls) -> None: ...


@functools.wraps(items)
def wrapped() -> Iterator[int]:
    return items()


class Wrapper:
    """As functools.lru_cache: no function, but one with a function inside."""

    def __init__(self) -> None:
        functools.update_wrapper(self, items)

    def __call__(self) -> Iterator[int]:
        return items()


NOT_RUN: list[tuple[str, Any]] = [
    ("generator function", items),
    ("async generator function", later_items),
    ("lambda that yields", lambda: (yield)),
    ("partial", functools.partial(items)),
    ("partial of a partial", functools.partial(functools.partial(items))),
    ("partial of an async one", functools.partial(later_items)),
    ("callable object", Generates()),
    ("partial of a callable object", functools.partial(Generates())),
    ("bound method", Generates().method),
    ("method", Generates.method),
    ("wrapped function", wrapped),
    ("wrapper object", Wrapper()),
    ("cached function", functools.lru_cache(items)),
    ("context manager", contextlib.contextmanager(items)),
    ("async context manager", contextlib.asynccontextmanager(later_items)),
    ("class", Generates),
    ("lazy built-in", map),
    ("static method", Generates.__dict__["static"]),
    ("class method", Generates.__dict__["of_class"]),
    ("property", property(lambda self: 1)),
    ("nothing to call", 7),
]


@pytest.mark.parametrize("function", [one for _, one in NOT_RUN], ids=[name for name, _ in NOT_RUN])
async def test_what_a_call_would_not_run_is_refused_where_it_is_decorated(
    bench: Bench, function: Any
) -> None:
    async with bench.opened():
        with pytest.raises(TypeError):
            governed(bench.gateway, decide=yes, subject=AGENT)(function)


async def coroutine() -> int:
    raise AssertionError("ran outside of its run")


def lazily() -> Generator[int, None, None]:
    raise AssertionError("ran outside of its run")
    yield 1


@dataclass(slots=True)
class Streamed:
    """A response whose body is made when somebody reads it."""

    body: Iterator[int]


class Queued:
    """What task queues give back."""

    def ready(self) -> bool:
        return False

    def successful(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("make", "is_closed"),
    [
        (coroutine, True),
        (lazily, True),
        (later_items, True),
        (lambda: (number for number in [1]), True),
        (lambda: {"stream": [lazily()]}, True),
        (lambda: deque([coroutine()]), True),
        (lambda: MappingProxyType({"stream": {"items": lazily()}.values()}), True),
        (contextlib.contextmanager(lazily), True),
        (lambda: Streamed(lazily()), False),
        (lambda: SimpleNamespace(body=lazily()), False),
        (lambda: contextlib.closing(lazily()), False),
        (lambda: contextlib.aclosing(later_items()), False),
        (lambda: [Queued()], False),
        (lambda: iter([1]), False),
        (lambda: map(print, [1]), False),
        (concurrent.futures.Future, False),
        (lambda: (1, [concurrent.futures.Future()]), False),
    ],
)
async def test_a_result_that_is_still_to_come_is_no_completion(
    bench: Bench, make: Callable[[], Any], is_closed: bool
) -> None:
    async with bench.opened():

        def give() -> Any:
            return make()

        tool = bench.tool(give)
        if is_closed:
            with pytest.raises(TypeError, match="closed now"):
                await bench.call(tool)
        else:
            assert await bench.call(tool) is not None
        [outcome] = await bench.outcomes()
    assert outcome["status"] == "unknown"


def begun() -> Iterator[int]:
    """A generator that has begun: how its owner works, and not what is to come."""

    def work() -> Iterator[int]:
        yield 1
        yield 2

    working = work()
    next(working)
    return working


@pytest.mark.parametrize(
    "make",
    [Path(os.devnull).open, lambda: SimpleNamespace(worker=begun()), object, bytes],
    ids=["file", "object at work", "object", "bytes"],
)
async def test_what_is_there_is_a_result(bench: Bench, make: Callable[[], Any]) -> None:
    def give() -> Any:
        return make()

    async with bench.opened():
        with contextlib.ExitStack() as stack:
            result = await bench.call(bench.tool(give))
            if hasattr(result, "close"):
                stack.callback(result.close)
        [outcome] = await bench.outcomes()
    assert outcome["status"] == "completed"


async def test_a_permit_that_did_not_run_says_why(bench: Bench) -> None:
    revocation = Finding("revoked_authorization", "a", "none", "one")
    found = Verdict.of([revocation, Finding("policy_mismatch", "b", "1", "2")])

    def no_runtime(*_: Any) -> None:
        raise Denied(("runtime_identity_mismatch",), ["wrong runtime"])

    def broken(*_: Any) -> None:
        raise LookupError("no runtime")

    async def revoked(*_: Any) -> Verdict:
        return Verdict.of([revocation])

    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({"check": no_runtime}, ["runtime_identity_mismatch"]),
        ({"check": lambda *_: found}, ["policy_mismatch", "revoked_authorization"]),
        ({"check": revoked}, ["revoked_authorization"]),
        ({"check": broken}, ["authorization_discontinuity"]),
    ]
    async with bench.opened():
        for rules, codes in cases:
            await bench.denied(bench.tool(bench.ran.append, **rules), 1)
            outcome = (await bench.outcomes())[-1]
            assert (outcome["status"], outcome["denial"]) == ("aborted", {"codes": codes})
            assert outcome["execution"] == bench.records("decision")[-1]["execution"]
        assert len(await bench.outcomes()) == len(cases)
    assert not bench.ran


async def test_whatever_ends_a_call_before_the_run_is_on_record(bench: Bench) -> None:
    class Stopped(BaseException):
        """As KeyboardInterrupt, which would end the test as well."""

    def stop(*_: Any) -> None:
        raise Stopped

    async with bench.opened():
        for rules in ({"decide": stop}, {"complete": stop}, {"check": stop}):
            with pytest.raises(Stopped):
                await bench.call(bench.tool(bench.ran.append, **rules), 1)
        with pytest.raises(Stopped):
            await bench.call(bench.tool(stop))
        never_began, stopped = await bench.outcomes()
    assert (never_began["status"], "denial" in never_began) == ("aborted", True)
    assert (stopped["status"], "denial" in stopped) == ("aborted", False)
    assert not bench.ran


async def test_a_call_that_python_refuses_is_not_decided(bench: Bench) -> None:
    async with bench.opened():
        if bench.kind == "threads":
            with pytest.raises(TypeError, match="too many positional arguments"):
                await bench.call(bench.tool(lambda: 1), 7)
        ways: list[dict[str, Any]] = [
            {"subject": AGENT},
            {"decide": yes},
            {**RULES, "colour": "red"},
        ]
        for rules in ways:
            with pytest.raises(TypeError, match="argument"):
                governed(bench.gateway, **rules)
    assert bench.sim.size == 0


async def test_callable_objects_run(bench: Bench) -> None:
    class Waits:
        async def __call__(self, value: int) -> int:
            return value

    class Works:
        def __call__(self, value: int) -> int:
            return value

    async with bench.opened():
        right, wrong = (Waits(), Works()) if bench.kind == "event loop" else (Works(), Waits())
        decorate: Any = governed(bench.gateway, decide=yes, subject=AGENT, resource=TOOL)
        assert await bench.call(decorate(right), 7) == 7
        assert await bench.call(decorate(functools.partial(right, 8))) == 8
        with pytest.raises(TypeError):
            decorate(wrong)


async def test_a_decision_that_may_be_logged_when_its_caller_has_given_up(bench: Bench) -> None:
    """The log takes the batch and answers too late: it allows, and its outcome says aborted."""
    async with bench.opened(deadline=0.1):
        bench.sim.script.extend(["lose", *["drop"] * 1000])
        denial = await bench.denied(bench.tool(bench.ran.append), 1)
        assert denial.codes == ("governance_mesh_discontinuity",)
        bench.sim.script.clear()
        [outcome] = await bench.outcomes()
    [decision] = bench.records("decision")
    assert not bench.ran
    assert (outcome["status"], outcome["execution"]) == ("aborted", decision["execution"])
    assert outcome["denial"]["codes"] == ["governance_mesh_discontinuity"]


async def test_what_the_log_never_got_has_no_outcome(bench: Bench) -> None:
    async with bench.opened():
        bench.sim.script.append((422, "bad-record", {"entry": 0}))
        await bench.denied(bench.tool(bench.ran.append), 1)
        await bench.denied(bench.tool(bench.ran.append, parent="not a run's id"), 1)
        assert await bench.outcomes() == []
    assert not bench.ran


async def test_calls_that_are_waiting_when_the_gateway_closes_have_outcomes(bench: Bench) -> None:
    async with bench.opened():
        bench.sim.script.extend(["lose", *["drop"] * 1000])
        calling = asyncio.create_task(bench.call(bench.tool(bench.ran.append), 1))
        await until(lambda: bool(bench.records("decision")))
        closing = bench.gateway.close
        if bench.kind == "event loop":
            await closing(timeout=0)
        else:
            await asyncio.to_thread(closing, timeout=0)
        with pytest.raises(Denied):
            await calling
        bench.sim.script.clear()
    async with bench.opened():
        [outcome] = await bench.outcomes()
    assert (outcome["status"], bench.ran) == ("aborted", [])


# No tool runs whose outcome cannot be kept


class Unkept:
    """Ways in which a spool takes nothing, and how that passes, if it does."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bench = bench
        self.spool: Any = bench.inner.spool
        self.monkeypatch = monkeypatch

    def full(self) -> Callable[[], None]:
        most = self.spool.most_records
        self.spool.most_records = self.spool.pending

        def passes() -> None:
            self.spool.most_records = most

        return passes

    def failed(self) -> Callable[[], None] | None:
        self.spool.delivery.failure = StreamError("somebody else writes to the stream")
        return None

    def broken(self) -> Callable[[], None]:
        def fail(_writer: Any, _connection: Any) -> None:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL  # type: ignore[attr-defined]
            raise error

        self.monkeypatch.setattr(Writer, "commit", fail)
        return self.monkeypatch.undo

    def no_room(self) -> Callable[[], None]:
        def fail(*_: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        path = self.bench.path
        path.with_name(path.name + spoolstore.SPARE_SUFFIX).unlink(missing_ok=True)
        self.monkeypatch.setattr(os, "posix_fallocate", fail)
        return self.monkeypatch.undo

    def gone(self, end: str = "") -> Callable[[], None]:
        path = self.bench.path.with_name(self.bench.path.name + end)
        aside = path.with_name("aside")
        path.rename(aside)

        def passes() -> None:
            aside.rename(path)

        return passes

    def gone_log(self) -> Callable[[], None]:
        return self.gone("-wal")

    def replaced(self) -> Callable[[], None]:
        passes = self.gone()
        shutil.copy(self.bench.path.with_name("aside"), self.bench.path)
        return passes

    def cut_off(self) -> Callable[[], None]:
        data = self.bench.path.read_bytes()
        os.truncate(self.bench.path, 0)

        def passes() -> None:
            self.bench.path.write_bytes(data)

        return passes


@pytest.mark.parametrize(
    "way", ["full", "failed", "broken", "no_room", "gone", "gone_log", "replaced", "cut_off"]
)
async def test_a_call_whose_outcome_cannot_be_kept_is_denied_before_it_is_decided(
    bench: Bench, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_: Any) -> Any:
        raise AssertionError("the policy engine was asked")

    async with bench.opened():
        # Once this is delivered, the spool sets nothing of its own accord any more.
        first = {"kind": "outcome", "execution": "run-1", "status": "completed"}
        await bench.on_loop(bench.inner.spool.put([first]))
        await bench.outcomes()
        passes = getattr(Unkept(bench, monkeypatch), way)()
        for _ in range(3):
            await bench.denied(bench.tool(bench.ran.append, decide=never), 1)
        assert not bench.ran
        assert bench.records("decision") == []
        if passes is not None:
            passes()
            monkeypatch.setattr(spool, "FIRST_PAUSE", 0.005)
            monkeypatch.setattr(spool, "LONGEST_PAUSE", 0.02)
            await bench.call(bench.tool(bench.ran.append), 1)
            assert [one["status"] for one in await bench.outcomes()] == ["completed"] * 2


async def test_a_call_whose_spool_is_deleted_while_it_is_decided_does_not_run(
    bench: Bench,
) -> None:
    def delete(_: Any) -> Any:
        bench.path.unlink()
        return {"decision": True}

    async with bench.opened():
        await bench.denied(bench.tool(bench.ran.append, decide=delete), 1)
        # What was open still is, so that the log learns of it.
        [outcome] = await bench.outcomes()
    assert not bench.ran
    assert (outcome["status"], outcome["denial"]["codes"]) == (
        "aborted",
        ["authorization_discontinuity"],
    )


async def test_the_room_that_was_set_aside_is_made_anew_when_somebody_deletes_it(
    bench: Bench,
) -> None:
    spare = bench.path.with_name(bench.path.name + spoolstore.SPARE_SUFFIX)
    async with bench.opened():
        for _ in range(2):
            await bench.call(bench.tool(bench.ran.append), 1)
            spare.unlink()
        spare.mkdir()
        await bench.denied(bench.tool(bench.ran.append), 1)
    assert bench.ran == [1, 1]


@pytest.mark.parametrize("options", [{"spool": None}, {"policy": None}])
async def test_a_gateway_that_can_keep_or_verify_nothing_runs_nothing(
    bench: Bench, options: dict[str, Any]
) -> None:
    async with bench.opened(**options):
        await bench.denied(bench.tool(bench.ran.append), 1)
    await bench.denied(bench.tool(bench.ran.append), 1)  # nor does a closed one
    assert not bench.ran
    assert bench.sim.size == 0


async def test_the_outcomes_of_calls_that_run_when_the_disk_gets_full_are_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first commit after the run fails, as on a full disk; there is room beside the file."""
    spare = bench.path.with_name(bench.path.name + spoolstore.SPARE_SUFFIX)
    commit = Writer.commit

    def fail_while_full(writer: Writer, connection: sqlite3.Connection) -> None:
        if bench.ran and spare.exists():
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        commit(writer, connection)

    async with bench.opened():
        monkeypatch.setattr(Writer, "commit", fail_while_full)
        await bench.call(bench.tool(bench.ran.append), 1)
        monkeypatch.undo()
        await bench.call(bench.tool(bench.ran.append), 2)
        assert spare.exists()
        assert [one["status"] for one in await bench.outcomes()] == ["completed"] * 2
    assert bench.ran == [1, 2]


async def test_an_outcome_waits_for_who_has_locked_the_file(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniment.local.sqliteopen.BUSY_MILLISECONDS", 20)

    def lock() -> None:
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.1, other.execute, ("ROLLBACK",)).start()

    async with bench.opened():
        other = sqlite3.connect(bench.path, isolation_level=None, check_same_thread=False)
        with contextlib.closing(other):
            await bench.call(bench.tool(lock))
            assert [one["status"] for one in await bench.outcomes()] == ["completed"]


async def test_an_outcome_is_kept_once_though_its_commit_was_told_to_have_failed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Writer.commit

    def commit_and_fail(writer: Writer, connection: sqlite3.Connection) -> None:
        commit(writer, connection)
        if bench.ran and not failed:
            failed.append(True)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error

    failed: list[bool] = []
    async with bench.opened():
        monkeypatch.setattr(Writer, "commit", commit_and_fail)
        await bench.call(bench.tool(bench.ran.append), 1)
        assert failed
        assert [one["status"] for one in await bench.outcomes()] == ["completed"]


# Waits, and parents


async def test_who_never_answers_is_not_waited_for(bench: Bench) -> None:
    async def stubborn(*_: Any) -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await over.wait()
                return

    # Before the check, the decision has to be logged within the same time.
    for rule, deadline in ("decide", 0.1), ("check", 1.0):
        async with bench.opened(deadline=deadline):
            over = asyncio.Event()
            denial = await bench.denied(bench.tool(bench.ran.append, **{rule: stubborn}), 1)
            assert f"no answer within {deadline:g} s" in denial.reasons[0]
            outcomes = await bench.outcomes()
            await bench.on_loop(_set(over))
    assert [one["status"] for one in outcomes] == ["aborted"]
    assert not bench.ran


async def _set(event: asyncio.Event) -> None:
    event.set()


async def test_a_parent_is_carried_given_or_required(bench: Bench) -> None:
    parents: list[str | None] = []

    def note(call: Any, members: dict[str, Any]) -> dict[str, Any]:
        parents.append(call.parent)
        return members

    async with bench.opened():
        tool = bench.tool(lambda *_: current_run(), complete=note)
        run = await bench.call(tool)
        given = bench.tool(lambda *_: None, complete=note, parent=run)
        chosen = bench.tool(lambda *_: None, complete=note, parent=lambda one: one)
        required = bench.tool(bench.ran.append, complete=note, require_parent=True)
        await bench.call(given)
        await bench.call(chosen, run)
        await bench.call(chosen, None)
        denial = await bench.denied(required, 1)
        assert parents == [None, run, run, None]
        assert denial.codes == ("lineage_fragmentation",)
        assert not bench.ran
        assert {one["to"]["id"] for one in bench.records("edge")} == {"planner", run}


def test_worker_threads_get_the_run_when_it_is_carried() -> None:
    from muniment.gateway.runs import running

    with running("plan"), concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert pool.submit(current_run).result() is None
        assert pool.submit(carry_run(current_run)).result() == "plan"
        assert asyncio.run(_awaited(carry_run(_current))) == "plan"
    found: list[str | None] = []
    with running("plan"):
        thread = threading.Thread(target=carry_run(lambda: found.append(current_run())))
    thread.start()
    thread.join()
    assert found == ["plan"]
    assert carry_run(current_run) is current_run


async def _current() -> str | None:
    return current_run()


async def _awaited(function: Any) -> Any:
    return await function()
