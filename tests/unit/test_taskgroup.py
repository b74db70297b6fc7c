"""Tasks that are cancelled in the moment in which something of theirs fails."""

import asyncio

import pytest

from muniment.local.outside import Contained
from muniment.local.taskgroup import TaskGroup


class TermError(Exception):
    pass


async def fail_when(told: asyncio.Event) -> None:
    await told.wait()
    raise TermError


async def test_a_loop_that_survives_failures_ends_when_it_is_cancelled_beside_one() -> None:
    told, terms = asyncio.Event(), 0

    async def loop() -> None:
        nonlocal terms
        while True:
            terms += 1
            with Contained("a term"):
                async with TaskGroup() as tasks:
                    tasks.create_task(fail_when(told))
            told.clear()

    running = asyncio.create_task(loop())
    await asyncio.sleep(0)
    told.set()
    # One turn: the child has failed by then, and the loop has not heard of it.
    await asyncio.sleep(0)
    running.cancel()
    done, _ = await asyncio.wait([running], timeout=10)
    assert done, "the cancellation was forgotten"
    assert (running.cancelled(), terms) == (True, 1)


@pytest.mark.parametrize("turns", range(6))
async def test_in_whatever_turn_it_is_cancelled(turns: int) -> None:
    told = asyncio.Event()

    async def loop() -> None:
        while True:
            with Contained("a term"):
                async with TaskGroup() as outer, TaskGroup() as inner:
                    inner.create_task(fail_when(told))
                    outer.create_task(fail_when(told))

    running = asyncio.create_task(loop())
    await asyncio.sleep(0)
    told.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    told.clear()
    running.cancel()
    done, _ = await asyncio.wait([running], timeout=10)
    assert done, "the cancellation was forgotten"
    assert running.cancelled()


def cancellations() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


@pytest.mark.parametrize("turns", range(3))
async def test_a_failure_alone_is_raised_and_cancels_nothing(turns: int) -> None:
    told = asyncio.Event()
    told.set()

    async def work() -> None:
        async with TaskGroup() as tasks:
            tasks.create_task(fail_when(told))
            for _ in range(turns):
                await asyncio.sleep(0)

    with pytest.raises(ExceptionGroup) as caught:
        await work()
    assert isinstance(caught.value.exceptions[0], TermError)
    assert cancellations() == 0
    await asyncio.sleep(0)


async def test_a_deadline_beside_a_failure_ends_its_own_context_only() -> None:
    told = asyncio.Event()
    told.set()

    async def work() -> None:
        now = asyncio.get_running_loop().time()
        async with asyncio.timeout_at(now), TaskGroup() as tasks:
            tasks.create_task(fail_when(told))

    with pytest.raises((TimeoutError, ExceptionGroup)):
        await work()
    assert cancellations() == 0
    await asyncio.sleep(0)
