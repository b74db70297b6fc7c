"""A call by a key: who asks again gets the first permit, and another call does not."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from clocks import Clock
from logsim import GATEWAY_SIGNER, POLICY, LogSim, records_of
from muniment.errors import Denied
from muniment.gateway import once
from muniment.gateway.gateway import Gateway
from muniment.gateway.once import KEPT_SECONDS, OnceStore
from muniment.permit import Finding, Verdict

pytestmark = pytest.mark.usefixtures("fast_retries")


class Engine:
    """Says yes unless it is told not to, and counts."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer = True

    async def __call__(self, request: Any) -> dict[str, Any]:
        self.asked += 1
        await asyncio.sleep(0)
        return {"decision": self.answer}


def opened(url: str, path: Path, engine: Engine, **options: Any) -> Gateway:
    options = {"policy": POLICY, "spool": path / "spool", "decide": engine, **options}
    return Gateway(url, GATEWAY_SIGNER, **options)


async def ask(gateway: Gateway, say: str = "", **rules: Any) -> tuple[str, bytes]:
    rules = {"agent": "planner", "arguments": {"to": {"a", "b"}}, "once": "call 7", **rules}
    tool = rules.pop("tool", "send")
    async with gateway.call(tool, **rules) as run:
        if say:
            getattr(run, say)()
        return run.execution, run.permit.encode()


async def test_who_asks_again_gets_the_first_permit(tmp_path: Path) -> None:
    sim, engine = LogSim(), Engine()
    async with sim.serve() as url:
        async with opened(url, tmp_path, engine) as gateway:
            first = await ask(gateway, "waiting")
            # Ids of a retry are new; a thread asks likewise.
            assert await ask(gateway, "waiting", ids={"call": "8"}) == first
            assert gateway.spool.pending == 0
            sim.script.extend(["drop"] * 1000)  # the log is not asked
            assert await ask(gateway) == first
            assert await asyncio.to_thread(lambda: asyncio.run(ask(gateway))) == first
            sim.script.clear()
            assert await ask(gateway, once="call 8") != first
        async with opened(url, tmp_path, engine) as gateway:  # after a restart
            assert await ask(gateway) == first
            await gateway.spool.drained()
    assert engine.asked == 2
    assert len(records_of(sim, "decision")) == 2
    outcomes = [one for one in records_of(sim, "outcome") if one["execution"] == first[0]]
    assert [one["status"] for one in outcomes] == ["completed"] * 3
    assert len({one["inputs"]["arguments"] for one in outcomes}) == 1


async def test_another_call_with_the_key_is_denied_on_record(tmp_path: Path) -> None:
    sim, engine = LogSim(), Engine()
    async with sim.serve() as url, opened(url, tmp_path, engine) as gateway:
        await ask(gateway)
        others: list[dict[str, Any]] = [
            {"tool": "erase"},
            {"arguments": {"to": ["a", "b", 1]}},
            {"agent": "eve"},
        ]
        for other in others:
            with pytest.raises(Denied, match="the key was used") as caught:
                await ask(gateway, **other)
            assert caught.value.index is not None
        with pytest.raises(TypeError, match="not empty"):
            await ask(gateway, once="")
        with pytest.raises(RuntimeError, match="needs a key"):
            await ask(gateway, "waiting", once=None)
    assert engine.asked == 2
    assert [one["response"]["decision"] for one in records_of(sim, "decision")].count(False) == 3


async def test_a_denial_is_decided_anew(tmp_path: Path) -> None:
    sim, engine = LogSim(), Engine()
    engine.answer = False
    async with sim.serve() as url, opened(url, tmp_path, engine) as gateway:
        with pytest.raises(Denied):
            await ask(gateway)
        engine.answer = True
        await ask(gateway)
    assert engine.asked == 2


async def test_those_who_ask_at_once_get_one_decision(tmp_path: Path) -> None:
    sim, engine = LogSim(), Engine()
    async with (
        sim.serve() as url,
        opened(url, tmp_path, engine) as one,
        opened(url, tmp_path, engine, stream="b", spool=tmp_path / "b") as other,
    ):
        other.once = one.once  # the folder that both processes would share
        asking = [ask(gateway) for gateway in (one, other) for _ in range(4)]
        found = await asyncio.gather(*asking)
        await one.spool.drained()
        await other.spool.drained()
    assert len(set(found)) == 1
    assert engine.asked == 1
    assert len({str(one["inputs"]) for one in records_of(sim, "outcome")}) == 1


async def test_a_permit_is_judged_each_time(tmp_path: Path) -> None:
    sim, engine = LogSim(), Engine()
    revoked = Verdict((Finding("revoked_authorization", "revocations", "none", "one"),))

    async with sim.serve() as url, opened(url, tmp_path, engine, keep="gateway") as gateway:
        await ask(gateway, check=lambda *_: None)
        with pytest.raises(Denied) as caught:
            await ask(gateway, check=lambda *_: revoked)
        assert caught.value.codes == ("revoked_authorization",)
        async with gateway.call("send", {"to": {"a", "b"}}, agent="planner", once="call 7") as run:
            shown = run.permit.disclose(["/request/context/arguments"]).disclosed
        assert shown == {"/request/context/arguments": {"to": ["a", "b"]}}
    assert engine.asked == 1


async def test_what_is_kept_is_verified_and_may_be_damaged(tmp_path: Path) -> None:
    sim, engine = LogSim(), Engine()
    async with sim.serve() as url:
        async with opened(url, tmp_path, engine) as gateway:
            await ask(gateway)
        [path] = (tmp_path / "spool.once").iterdir()
        data = path.read_bytes()
        for damage in (b"", data[:-1], data[:70], b"x" + data[1:], data + b"x"):
            path.write_bytes(damage)
            before = engine.asked
            async with opened(url, tmp_path, engine) as gateway:
                await ask(gateway)
            assert engine.asked == before + 1
        path.unlink()
        path.mkdir()
        async with opened(url, tmp_path, engine) as gateway:
            with pytest.raises(Denied):
                await ask(gateway)
    async with sim.serve() as url:
        gateway = Gateway(url, GATEWAY_SIGNER, policy=POLICY, decide=engine)
        async with gateway:
            with pytest.raises(Denied, match="needs a gateway with a spool"):
                await ask(gateway)


async def test_a_claim_waits_and_gives_back(tmp_path: Path) -> None:
    store = OnceStore(tmp_path / "once")
    claim = await store.claim("a", 1)
    with pytest.raises(Denied, match="still being decided"):
        await store.claim("a", 0.01)
    waiting = asyncio.create_task(store.claim("a", 60))
    for _ in range(3):
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    (await store.claim("b", 1)).release()
    again = asyncio.create_task(store.claim("a", 60))
    claim.release()
    claim.release()
    (await again).release()


async def test_old_permits_go_and_claimed_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "once"
    clock = Clock()
    store = OnceStore(folder, clock)
    for key in "abcd":
        (await store.claim(key, 1)).release()
    claim = await store.claim("a", 1)
    for number, path in enumerate(sorted(folder.iterdir())):
        os.utime(path, (number, number))
    clock.now = KEPT_SECONDS + 2.5
    (await OnceStore(folder, clock).claim("e", 1)).release()
    assert len([*folder.iterdir()]) in (2, 3)  # one of the three oldest may be claimed
    monkeypatch.setattr(once, "MAX_KEPT", 1)
    (await OnceStore(folder, clock).claim("f", 1)).release()
    left = [*folder.iterdir()]
    assert claim.path in left
    assert len(left) <= 3
    claim.release()
