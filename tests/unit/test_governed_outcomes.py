"""Only what has run has an outcome, on an event loop and in threads; and whose run is whose."""

import asyncio
import concurrent.futures
import contextlib
import functools
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from bench import AGENT, TOOL, Bench, yes
from muniment.errors import Denied
from muniment.gateway.governed import governed
from muniment.gateway.runs import carry_run, current_run
from muniment.permit import Finding, Verdict
from waiting import LONGER, until

RULES: dict[str, Any] = {"decide": yes, "subject": AGENT}


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
        ways: list[dict[str, Any]] = [{"subject": AGENT}, {"decide": yes}, {**RULES, "hue": "red"}]
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
        for one in (wrong, (lambda: None) if bench.kind == "event loop" else coroutine):
            with pytest.raises(TypeError):
                decorate(one)


async def test_a_decision_that_may_be_logged_when_its_caller_has_given_up(bench: Bench) -> None:
    """The log takes the batch and answers too late: it allows, and its outcome says aborted."""
    for seconds in LONGER:  # in which the log has to take it
        async with bench.opened(deadline=seconds / 10):
            bench.sim.script.extend(["lose", *["drop"] * 1000])
            denial = await bench.denied(bench.tool(bench.ran.append), 1)
            assert denial.codes == ("governance_mesh_discontinuity",)
            assert not bench.ran
            bench.sim.script.clear()
            outcomes = await bench.outcomes()
        if bench.records("decision"):
            break
    [decision] = bench.records("decision")
    [outcome] = [one for one in outcomes if one["execution"] == decision["execution"]]
    assert outcome["status"] == "aborted"
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


# Waits, and parents


@pytest.mark.parametrize(("rule", "deadlines"), [("decide", (0.1,)), ("check", LONGER)])
async def test_who_never_answers_is_not_waited_for(
    bench: Bench, rule: str, deadlines: tuple[float, ...]
) -> None:
    async def stubborn(*_: Any) -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await over.wait()
                return

    for deadline in deadlines:  # before the check, the decision has to be logged in time, too
        async with bench.opened(deadline=deadline):
            over = asyncio.Event()
            denial = await bench.denied(bench.tool(bench.ran.append, **{rule: stubborn}), 1)
            outcomes = await bench.outcomes()
            await bench.on_loop(_set(over))
        assert not bench.ran
        if f"no answer within {deadline:g} s" in denial.reasons[0]:
            break
    else:
        raise AssertionError(denial.reasons)
    assert {one["status"] for one in outcomes} == ({"aborted"} if rule == "check" else set())


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
