"""How a process that integrates goes from one look at the lease to the next."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest

from muniment_log.app import leadership as leadership_module
from muniment_log.app.leadership import Leadership
from muniment_log.cluster.lease import LeaseLostError
from muniment_log.cluster.treestore import TreeStore
from muniment_log.errors import LogError, RolledBackError, StorageError, UnavailableError
from muniment_log.metrics import LogMetrics
from muniment_service.metrics import Metrics
from muniment_service.process import first_error


class FakeLease:
    epoch = 1
    released = 0

    async def release(self) -> None:
        self.released += 1


def made() -> Leadership:
    nothing = cast("Any", None)
    return Leadership(
        config=cast("Any", SimpleNamespace(file=SimpleNamespace(origin="o"), vkeys=[])),
        lease_seconds=0.0,
        database=nothing,
        objects=nothing,
        sequencer=nothing,
        metrics=LogMetrics(Metrics("test")),
        clock=nothing,
    )


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
    running = asyncio.create_task(made().run())
    await ended.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [names.index(name) for name in names] == [0, 0, 0, 3, 3]
    assert lease.released == 2
    told = [record.getMessage().partition(" error")[0] for record in caplog.records]
    assert told.count("cannot take the lease") == 1
    assert told.count("stopped integrating") == 2


class Term(NamedTuple):
    """A term that ends by an error.

    Attributes:
        running: what leads.
        asked: set when it asks whether it still leads.
        answer: what it hears.
        lost: to be set when the lease is to be lost meanwhile.
        next: set when it tries to lead again.
    """

    running: asyncio.Task[None]
    asked: asyncio.Event
    answer: asyncio.Future[None]
    lost: asyncio.Event
    next: asyncio.Event

    async def goes_on(self) -> None:
        tries = asyncio.create_task(self.next.wait())
        await asyncio.wait([self.running, tries], return_when=asyncio.FIRST_COMPLETED)
        self.running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.running
        assert tries.done()


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], Term]:
    """Begins a term that ends by this error."""

    def begin(error: Exception) -> Term:
        asked, lost, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        answer = asyncio.get_running_loop().create_future()

        class KeptLease(FakeLease):
            async def keep(self, *_: object) -> None:
                await lost.wait()
                raise LeaseLostError

        leases = [KeptLease()]

        async def acquire(*_: object) -> Any:
            if not leases:
                ended.set()
                await asyncio.Event().wait()
            return leases.pop()

        async def check_keys(*_: object) -> None:
            pass

        async def integrate(*_: object) -> None:
            raise error

        async def check_epoch(_: TreeStore) -> None:
            asked.set()
            await answer

        monkeypatch.setattr(leadership_module.Lease, "acquire", acquire)
        monkeypatch.setattr(leadership_module, "check_keys", check_keys)
        monkeypatch.setattr(leadership_module, "PAUSE_SECONDS", 0.0)
        monkeypatch.setattr(Leadership, "_integrate", integrate)
        monkeypatch.setattr(TreeStore, "check_epoch", check_epoch)
        return Term(asyncio.create_task(made().run()), asked, answer, lost, ended)

    return begin


CONTRADICTIONS = [
    RolledBackError("ahead"),
    ExceptionGroup("", [StorageError("a gap")]),
    ExceptionGroup("", [UnavailableError("no answer"), StorageError("a gap")]),
    ExceptionGroup("", [ExceptionGroup("", [RolledBackError("ahead")]), LeaseLostError()]),
]


@pytest.mark.parametrize("error", CONTRADICTIONS)
async def test_a_lease_that_is_lost_while_a_contradiction_is_looked_into_ends_the_term(
    error: Exception, begin: Callable[[Exception], Term]
) -> None:
    """As when a process goes on that was paused: all that it does fails at once."""
    term = begin(error)
    await term.asked.wait()
    term.lost.set()
    await term.goes_on()


@pytest.mark.parametrize("passing", [LeaseLostError(), UnavailableError("no answer")])
@pytest.mark.parametrize("error", CONTRADICTIONS)
async def test_a_contradiction_is_not_believed_before_the_lease_is_known_to_be_ones_own(
    error: Exception, passing: LogError, begin: Callable[[Exception], Term]
) -> None:
    term = begin(error)
    await term.asked.wait()
    term.answer.set_exception(passing)
    await term.goes_on()


@pytest.mark.parametrize("error", CONTRADICTIONS)
async def test_a_contradiction_is_believed_by_whoever_still_leads(
    error: Exception, begin: Callable[[Exception], Term]
) -> None:
    term = begin(error)
    await term.asked.wait()
    term.answer.set_result(None)
    with pytest.raises(ExceptionGroup) as caught:
        await term.running
    assert isinstance(first_error(caught.value), (RolledBackError, StorageError))


async def test_a_fault_of_ours_beside_a_contradiction_is_told_whoever_leads(
    begin: Callable[[Exception], Term],
) -> None:
    term = begin(ExceptionGroup("", [StorageError("a gap"), TypeError("ours")]))
    term.answer.set_exception(LeaseLostError())
    with pytest.raises(ExceptionGroup) as caught:
        await term.running
    assert caught.value.subgroup(TypeError) is not None
