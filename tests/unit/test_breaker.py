"""While the log is known to be away, calls are denied at once; then one asks again."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clocks import Clock
from logsim import GATEWAY_SIGNER, POLICY, LogSim, logged_records
from muniment.errors import Denied
from muniment.gateway.breaker import FIRST_PAUSE, LONGEST_PAUSE, PROBE_TIMEOUT, Breaker
from muniment.gateway.gateway import Gateway

pytestmark = pytest.mark.usefixtures("fast_retries")


def test_it_opens_at_once_and_lets_one_probe_through() -> None:
    clock = Clock(100.0)
    breaker = Breaker(clock)
    assert breaker.refusal() is None
    breaker.failed("no route")
    clock.now += FIRST_PAUSE / 2
    assert "away for 0.2 s: no route" in str(breaker.refusal())
    clock.now += FIRST_PAUSE / 2
    assert [breaker.refusal() is None for _ in range(3)] == [True, False, False]
    breaker.failed("no route")  # the probe, too
    clock.now += FIRST_PAUSE
    assert breaker.refusal()
    clock.now += FIRST_PAUSE
    assert breaker.refusal() is None
    breaker.answered()
    assert [breaker.refusal() for _ in range(3)] == [None] * 3


def test_a_probe_that_tells_nothing_makes_room_for_another() -> None:
    clock = Clock(100.0)
    breaker = Breaker(clock)
    breaker.failed("no route")
    breaker.released()  # no probe
    assert breaker.refusal()
    clock.now += FIRST_PAUSE
    assert breaker.refusal() is None
    breaker.released()
    assert breaker.refusal() is None
    assert breaker.refusal()
    clock.now += PROBE_TIMEOUT
    assert breaker.refusal() is None


@given(st.lists(st.sampled_from(["failed", "refusal", "released", "answered", "wait"])))
def test_it_never_stays_closed_to_all_for_longer_than_a_probe_may_take(steps: list[str]) -> None:
    clock = Clock(100.0)
    breaker = Breaker(clock)
    for step in steps:
        if step == "wait":
            clock.now += 0.3
        elif step == "failed":
            breaker.failed("no route")
        else:
            getattr(breaker, step)()
    clock.now += max(PROBE_TIMEOUT, LONGEST_PAUSE)
    assert breaker.refusal() is None
    breaker.answered()
    assert breaker.refusal() is None


async def test_a_log_that_is_away_costs_one_call_its_time(tmp_path: Path) -> None:
    sim = LogSim()
    asked: list[Any] = []
    clock = Clock(100.0)

    def decide(request: Any) -> Any:
        asked.append(request)
        return {"decision": True}

    options: Any = {"policy": POLICY, "spool": tmp_path / "spool", "decide": decide}
    async with sim.serve() as url:
        gateway = Gateway(url, GATEWAY_SIGNER, **options)
        gateway.breaker = Breaker(clock)
        async with gateway:
            sim.script.extend(["drop"] * 1000)
            with pytest.raises(Denied, match="no receipt"):
                async with gateway.call("send", agent="planner", timeout=2.0):
                    raise AssertionError
            for _ in range(3):
                with pytest.raises(Denied, match="has been away") as caught:
                    async with gateway.call("send", agent="planner"):
                        raise AssertionError
                assert caught.value.codes == ("governance_mesh_discontinuity",)
                assert "in the spool" in str(caught.value)
            assert len(asked) == 1
            # The batch that its caller has left goes on being sent, and its answer counts.
            sim.script.clear()
            await gateway.log.settled()
            async with gateway.call("send", agent="planner") as run:
                run.result(1)
            await gateway.spool.drained()
    denied = [one for one in logged_records(sim) if b"governance_mesh" in one and b"request" in one]
    assert len(denied) == 3
