"""How a process that integrates goes from one look at the lease to the next."""

import asyncio
from typing import Any, cast

import pytest

from muniment_log.app import leadership as leadership_module
from muniment_log.app.leadership import Leadership
from muniment_log.cluster.lease import LeaseLostError
from muniment_log.errors import UnavailableError


class FakeLease:
    epoch = 1
    released = 0

    async def release(self) -> None:
        self.released += 1


async def test_a_lease_whose_taking_nobody_knows_of_is_asked_for_by_the_same_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It would be waited for as one of somebody else's."""
    lease = FakeLease()
    outcomes: list[Any] = [UnavailableError("no answer"), None, lease, None, lease]
    names: list[str] = []
    ended = asyncio.Event()

    async def acquire(_: object, holder: str, __: float) -> Any:
        if len(names) == len(outcomes):
            ended.set()
            await asyncio.Event().wait()
        names.append(holder)
        outcome = outcomes[len(names) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def lead(_: Leadership, lease: object) -> None:
        raise LeaseLostError("lost")

    monkeypatch.setattr(leadership_module.Lease, "acquire", acquire)
    monkeypatch.setattr(leadership_module, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(Leadership, "_lead", lead)
    nothing = cast("Any", None)
    leadership = Leadership(
        config=nothing,
        lease_seconds=0.0,
        database=nothing,
        objects=nothing,
        sequencer=nothing,
        metrics=nothing,
        clock=nothing,
    )
    running = asyncio.create_task(leadership.run())
    await ended.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [names.index(name) for name in names] == [0, 0, 0, 3, 3]
    assert lease.released == 2
    told = [record.getMessage().partition(" error")[0] for record in caplog.records]
    assert told.count("cannot take the lease") == 1
    assert told.count("stopped integrating") == 2
