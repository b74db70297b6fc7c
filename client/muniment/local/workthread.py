"""One thread that works for an event loop, one piece after the other.

An executor does the same with three locks, a second future and a chain of callbacks for each piece.
A lone decision waits for several of them in a row, each at a moment when another process is about
to be woken, so here a piece costs one put into a queue and one wake-up of the loop.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

_T = TypeVar("_T")


class _Piece(NamedTuple):
    work: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"


class WorkThread:
    """The thread. It does not keep the process alive: close it to wait for what it does."""

    def __init__(self, name: str) -> None:
        """Starts the thread, which has this name."""
        self._pieces: SimpleQueue[_Piece | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[], _T]) -> _T:
        """Has the thread call `work()`, and returns or raises what that does.

        When the caller is cancelled, work that has begun goes on to its end; other is dropped.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        self._pieces.put(_Piece(work, loop, future))
        return await future

    def close(self) -> None:
        """Ends the thread after all that waits, and waits for that."""
        self._pieces.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            _do(piece)
            del piece  # what it holds shall not live until the next one comes


async def complete(work: Coroutine[Any, Any, _T]) -> _T:
    """Awaits to the end, also when the caller is cancelled, which is raised only then."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _do(piece: _Piece) -> None:
    work, loop, future = piece
    if future.cancelled():
        return
    result, error = None, None
    try:
        result = work()
    except BaseException as raised:  # noqa: BLE001  # whoever waits is told, whatever it is
        error = raised
    try:
        loop.call_soon_threadsafe(_settle, future, result, error)
    except RuntimeError:
        pass  # the loop is closed: nobody waits any more
    finally:
        del error  # its traceback holds this frame


def _settle(future: "asyncio.Future[Any]", result: object, error: BaseException | None) -> None:
    if future.done():
        return  # the caller was cancelled
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
