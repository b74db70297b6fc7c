"""How a caller's step comes to the event loop of a gateway, and how the caller waits for it.

A gateway belongs to one loop. A caller may be on it, on another one, or on none, in a thread that
may block. Each way has a deadline of its own, in case that the gateway's loop gives no answer.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, Final, TypeVar

from muniment.errors import GatewayClosed, Undelivered, WrongLoop

GRACE: Final = 5.0
"""Seconds that a caller waits longer than the work on the loop should take by its own deadline."""

T = TypeVar("T")


async def await_within(work: Awaitable[T], seconds: float, what: str) -> T:
    """Awaits what may not let itself be cancelled; ``TimeoutError`` after so many seconds."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise TimeoutError(f"{what}: no answer within {seconds:g} s")
        return task.result()
    finally:
        task.cancel()


class Reach:
    """One caller's way to a gateway's loop: that of a caller who is on this loop."""

    async def on_gateway(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Has the gateway's loop do some work that takes so many seconds at the most.

        Raises MunimentError if the loop cannot do it, or gives no answer.
        """
        del seconds  # the work has its deadline there
        return await work

    async def here(self, answer: Awaitable[T], seconds: float, what: str) -> T:
        """Waits for the caller's own awaitable; ``TimeoutError`` after so many seconds."""
        return await await_within(answer, seconds, what)


class OtherLoop(Reach):
    """The caller is on a loop of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Takes the gateway's loop."""
        self._loop = loop

    async def on_gateway(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """See ``Reach``; a caller who is cancelled cancels the work."""
        future = start_on(self._loop, work)
        waiting = asyncio.wrap_future(future)
        try:
            await asyncio.wait({waiting}, timeout=seconds + GRACE)
            if not waiting.done():
                raise _no_answer(seconds)
            if waiting.cancelled():
                raise GatewayClosed("the gateway was closed meanwhile")
            return waiting.result()
        finally:
            waiting.cancel()  # nobody waits any more


class OwnThread(Reach):
    """The caller is in a thread that may block; its coroutines never give way."""

    def __init__(self, run: Callable[..., Any]) -> None:
        """Takes what waits in this thread for work on the gateway's loop."""
        self._run = run

    async def on_gateway(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """See ``Reach``."""
        result: T = self._run(work, timeout=seconds)
        return result

    async def here(self, answer: Awaitable[T], seconds: float, what: str) -> T:
        """See ``Reach``; the caller has no loop, so the gateway's awaits it."""
        result: T = self._run(await_within(answer, seconds, what), timeout=seconds)
        return result


def wait_in_thread(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T], *, timeout: float
) -> T:
    """Waits in this thread for work on a loop of another one.

    It should take ``timeout`` seconds at the most; ``GRACE`` seconds after them it is cancelled,
    and not waited for.

    Raises:
        GatewayClosed: If the loop ends, or has ended.
        WrongLoop: If the loop itself calls, which would wait for itself.
        Undelivered: If the time is over.
    """
    try:
        check_other_loop(loop)
    except WrongLoop:
        work.close()
        raise
    future = start_on(loop, work)
    try:
        return future.result(timeout + GRACE)
    except CancelledError:
        raise GatewayClosed("the gateway was closed meanwhile") from None
    except BaseException as error:
        if isinstance(error, TimeoutError) and not future.done():
            future.cancel()
            raise _no_answer(timeout) from None
        # Ctrl-C ends the waiting of this thread; the work must not go on unseen.
        future.cancel()
        raise


def check_other_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Raises ``WrongLoop`` if it is called on the loop, which would wait for itself."""
    if _running_loop() is loop:
        raise WrongLoop(
            "the gateway's own event loop, which runs an async decide= or check=, called the "
            "gateway and would wait for itself: await asyncio.to_thread(...) there, or use a "
            "muniment.Gateway with `async with`"
        )


def start_on(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> "Future[T]":
    """Starts work on a loop of another thread; ``GatewayClosed`` if that has ended."""
    try:
        return asyncio.run_coroutine_threadsafe(work, loop)
    except RuntimeError:
        work.close()
        raise GatewayClosed("the gateway's event loop has ended") from None


def at_once(steps: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that waits in this thread, and so never gives way."""
    try:
        steps.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError("a step of a blocking call gave way to an event loop")


def close_unbegun(answer: object) -> None:
    """Closes a coroutine that nobody has begun to run, and nobody will."""
    if inspect.iscoroutine(answer) and inspect.getcoroutinestate(answer) == inspect.CORO_CREATED:
        answer.close()


def reach_of(loop: asyncio.AbstractEventLoop, *, is_async: bool) -> Reach:
    """The way from here to a gateway's loop, for a caller who awaits or one who blocks."""
    if not is_async:
        return OwnThread(partial(wait_in_thread, loop))
    return Reach() if _running_loop() is loop else OtherLoop(loop)


def _no_answer(seconds: float) -> Undelivered:
    return Undelivered(
        f"the gateway's thread gave no answer within {seconds + GRACE:g} s; does an async decide= "
        "or check= keep its event loop from running?"
    )


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
