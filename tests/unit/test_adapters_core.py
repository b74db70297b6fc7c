"""What all adapters of agent frameworks stand on: who may run, and whose decision a call has."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bench import Bench
from logsim import LogSim
from muniment.adapters import core
from muniment.adapters.core import FrameworkCall, Gate, GatedCall
from muniment.gateway.calls import Run

pytestmark = pytest.mark.usefixtures("fast_retries")


class WaitsError(Exception):
    pass


class Engine:
    """Says yes unless it is told not to, and counts."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer = True

    def __call__(self, request: Any) -> dict[str, Any]:
        self.asked += 1
        context = {"reason_user": {"en": "not today", "fr": "pas aujourd'hui", "x": 7}}
        return {"decision": self.answer, "context": context}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    sim = LogSim()
    async with sim.serve() as url:
        yield Bench("event loop", url, sim, tmp_path / "spool")


def asked(place: tuple[object, ...] = (), **more: Any) -> Any:
    return lambda: FrameworkCall("send", {"to": "ada"}, place=place, **more)


async def ends(run: Run) -> str:
    return run.result(run.execution)


async def waits(run: Run) -> str:
    raise WaitsError(run.execution)


def refuse(text: str) -> str:
    return f"refused: {text}"


async def waited(gate: Gate, place: tuple[object, ...]) -> str:
    with pytest.raises(WaitsError) as caught:
        await gate.run(asked(place), waits, refuse, (WaitsError,))
    return str(caught.value)


async def test_a_resume_has_the_first_decision_and_another_attempt_has_not(bench: Bench) -> None:
    engine, place = Engine(), ("thread", 1, None)
    async with bench.opened():
        gate = Gate(bench.gateway, decide=engine)
        first = await waited(gate, place)
        assert await waited(gate, place) == first
        assert await gate.run(asked(place), ends, refuse) == first
        assert engine.asked == 1
        second = await gate.run(asked(place), ends, refuse)
        assert second != first
        assert await gate.run(asked(), ends, refuse) not in (first, second)
        outcomes = await bench.outcomes()
    assert [one["status"] for one in outcomes] == ["completed"] * 3


async def test_two_calls_at_one_place_at_once_are_two(bench: Bench) -> None:
    engine, place = Engine(), ("thread", 1)
    async with bench.opened():
        gate = Gate(bench.gateway, decide=engine)
        calls = [gate.run(asked(place), ends, refuse) for _ in range(3)]
        assert len(set(await asyncio.gather(*calls))) == engine.asked == 3
        # In a process that knows nothing of them, an attempt is told by the key alone.
        again = Gate(bench.gateway, decide=engine)
        assert not (await again.run(asked(place), ends, refuse)).startswith("refused")
        assert engine.asked == 3


async def test_a_denial_is_decided_anew_and_says_why_in_all_languages(bench: Bench) -> None:
    engine, place = Engine(), ("thread", 1)
    engine.answer = False
    async with bench.opened():
        gate = Gate(bench.gateway, decide=engine)
        denied = await gate.run(asked(place), ends, refuse)
        assert denied.startswith("refused: Denied (denied_by_policy): ")
        assert denied.endswith("; not today; pas aujourd'hui")
        engine.answer = True
        assert (await gate.run(asked(place), ends, refuse)).startswith("run-")


async def test_whatever_fails_before_the_permit_is_a_refusal(bench: Bench) -> None:
    def fails() -> FrameworkCall:
        raise LookupError("no such member")

    async with bench.opened():
        gate = Gate(bench.gateway, decide=Engine())
        assert "no such member" in await gate.run(fails, ends, refuse)
        ids = {"call": object()}
        assert "expected text" in await gate.run(asked(ids=ids), ends, refuse)
        assert await bench.outcomes() == []


async def test_a_cancellation_before_the_permit_passes_on(bench: Bench) -> None:
    def cancelled() -> FrameworkCall:
        raise asyncio.CancelledError

    async with bench.opened():
        gate = Gate(bench.gateway, decide=Engine())
        with pytest.raises(asyncio.CancelledError):
            await gate.run(cancelled, ends, refuse)


async def test_threads_have_the_same_steps(bench: Bench) -> None:
    place = ("thread", 1)
    engine = Engine()

    def raises(run: Run) -> str:
        raise WaitsError(run.execution)

    def in_thread(gate: Gate) -> tuple[str, str]:
        with pytest.raises(WaitsError) as caught:
            gate.run_blocking(asked(place), raises, refuse, (WaitsError,))
        return str(caught.value), gate.run_blocking(
            asked(place), lambda run: run.result(run.execution), refuse
        )

    async with bench.opened():
        gate = Gate(bench.gateway, decide=engine)
        first, second = await asyncio.to_thread(in_thread, gate)
        assert (first, engine.asked) == (second, 1)


async def test_the_record_has_the_agent_the_parent_and_the_ids(bench: Bench) -> None:
    async with bench.opened():
        gate = Gate(bench.gateway, agent="nobody", user="ada", decide=Engine())
        outer = await gate.run(asked(ids={"call": "", "turn": "t-1"}), ends, refuse)
        inner = await gate.run(
            asked(agent="clerk", parent=outer, ids={"user": "bob"}), ends, refuse
        )
    first, second = bench.records("decision")
    assert first["request"]["subject"]["id"] == "nobody"
    assert first["request"]["context"]["ids"] == {"turn": "t-1", "user": "ada"}
    assert second["request"]["subject"]["id"] == "clerk"
    assert second["request"]["context"]["ids"] == {"user": "bob"}
    triggered = [one for one in bench.records("edge") if one["relation"] == "triggered_by"]
    assert [(one["from"]["id"], one["to"]["id"]) for one in triggered] == [(inner, outer)]


async def test_attempts_are_forgotten_beyond_a_number(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "MAX_KEYS", 2)
    async with bench.opened():
        gate = Gate(bench.gateway, decide=Engine())
        open_one = GatedCall(gate)
        assert await open_one.begin(asked(("thread", 0))) is None
        for number in range(1, 4):
            await gate.run(asked(("thread", number)), ends, refuse)
        await open_one.end()  # whose place is forgotten


async def test_options_of_single_calls_are_refused(bench: Bench) -> None:
    async with bench.opened():
        for name in ("once", "parent"):
            with pytest.raises(TypeError, match=name):
                Gate(bench.gateway, **{name: "x"})  # type: ignore[arg-type]
