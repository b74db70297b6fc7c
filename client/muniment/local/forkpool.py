"""Processes to work in, forked from one that has imported everything they need (Linux).

A process that is started anew imports for a quarter of a second before it can work; one that is
forked has all of it. But a fork of a process with threads keeps the locks that these held. So a
program forks one process before it has any thread, a **fork server**, which only waits; that one
forks the others, when it turns out that they are needed.
"""

import gc
import os
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

_ENDED: Final = "a process of the pool has ended"

T = TypeVar("T")

_COLLECT_AFTER: Final = 50_000
"""New objects after which garbage in cycles is looked for in a forked process."""


class ForkServer:
    """The side of the program: it asks for processes; see ``fork_server``."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    def fork(self) -> Connection:
        """Makes a process, and returns the connection over which it takes calls."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [b"\0"], [theirs.fileno()])
        return Connection(ours.detach())


@contextmanager
def fork_server() -> Iterator[ForkServer | None]:
    """Forks the process that forks others, and ends it with all of them.

    None where that cannot be done: on other systems, and when there are threads already.
    """
    if not _is_alone():
        yield None
        return
    ours, theirs = socket.socketpair()
    # Nobody writes there. It ends when the program does: the others have only the reading end.
    alive, held = os.pipe()
    pid = os.fork()
    if not pid:
        _in_child(partial(_serve, theirs, alive, (held, ours.detach())))
    os.close(alive)
    theirs.close()
    try:
        with ours:
            yield ForkServer(ours)
    finally:
        os.close(held)
        os.waitpid(pid, 0)


def _is_alone() -> bool:
    """Whether this thread is known to be the only one of its process, whoever may start others."""
    try:
        return sum(1 for _ in Path("/proc/self/task").iterdir()) == 1
    except OSError:  # no Linux, or no /proc
        return False


class ForkedPool(Executor):
    """Processes of a fork server, each with a thread here that hands it calls, one at a time.

    Functions, arguments and results are pickled. A call raises ``BrokenProcessPool`` when the
    process that has it is killed, and so do all after it.
    """

    def __init__(
        self, server: ForkServer, count: int, begin: Callable[..., None], *args: Any
    ) -> None:
        """Makes `count` processes, each of which calls ``begin(*args)`` first."""
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._broken = False
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(
                target=self._hand_out, args=(server.fork(), (begin, args)), name="pool", daemon=True
            )
            for _ in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Has a call made in one of the processes."""
        if kwargs:
            raise TypeError("calls have no keyword arguments")
        future: Future[T] = Future()
        with self._lock:
            if self._broken:
                raise BrokenProcessPool(_ENDED)
            self._calls.put(_Call(future, fn, args))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as its base
        """Ends the processes after the calls that they have, or all that were submitted."""
        if cancel_futures:
            for future in self._waiting():
                future.cancel()
        for _ in self._threads:
            self._calls.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _waiting(self) -> "Iterator[Future[Any]]":
        """Takes the calls back that no process has."""
        with suppress(Empty):
            while True:
                if (call := self._calls.get_nowait()) is not None:
                    yield call.future

    def _hand_out(self, connection: Connection, begin: Any) -> None:
        with connection:
            with suppress(OSError):  # it has ended, as the first call will find
                connection.send(begin)
            while (call := self._calls.get()) is not None:
                if not call.future.set_running_or_notify_cancel():
                    continue
                try:
                    connection.send((call.function, call.args))
                    failure, value = connection.recv()
                except (EOFError, OSError):
                    self._break(call.future)
                    return
                except Exception as error:  # noqa: BLE001 - it is for who called
                    # What cannot be pickled, there or back: the next call is whole again.
                    call.future.set_exception(error)
                    continue
                if failure is not None:
                    call.future.set_exception(failure)
                else:
                    call.future.set_result(value)

    def _break(self, future: "Future[Any]") -> None:
        with self._lock:
            self._broken = True
            future.set_exception(BrokenProcessPool(_ENDED))
            for one in self._waiting():
                if one.set_running_or_notify_cancel():
                    one.set_exception(BrokenProcessPool(_ENDED))
            for _ in self._threads:
                self._calls.put(None)


class _Call(NamedTuple):
    future: "Future[Any]"
    function: Callable[..., Any]
    args: tuple[Any, ...]


def _in_child(work: Callable[[], None]) -> NoReturn:
    """Ends this process with what it does: nothing of the program that was forked goes on here."""
    try:
        # An interrupt is for the process that the user started; it ends the others.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        work()
    except BaseException:  # noqa: BLE001 - there is nobody above
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _serve(control: socket.socket, alive: int, foreign: tuple[int, ...]) -> None:
    """Forks a process for each connection that comes, until none comes any more."""
    for descriptor in foreign:
        os.close(descriptor)
    gc.freeze()
    pids: list[int] = []
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not data:
            break
        pid = os.fork()
        if not pid:
            control.close()
            _in_child(partial(_work, Connection(descriptors[0]), alive))
        os.close(descriptors[0])
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)


def _work(calls: Connection, alive: int) -> None:
    """Makes the calls that come, until none comes any more; the first gives no answer."""
    threading.Thread(target=_end_with_program, args=(alive,), name="program", daemon=True).start()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)
    begin, args = calls.recv()
    begin(*args)
    while True:
        try:
            function, args = calls.recv()
        except EOFError:
            return
        answer: tuple[Exception | None, Any]
        try:
            answer = None, function(*args)
        except Exception as error:  # noqa: BLE001 - it is for who called
            answer = error, None
        try:
            calls.send(answer)
        except OSError:
            return
        except Exception as error:  # noqa: BLE001 - likewise, of an answer that cannot be pickled
            calls.send((TypeError(f"cannot be answered: {error}"), None))


def _end_with_program(alive: int) -> None:
    os.read(alive, 1)
    os._exit(1)  # nothing is lost: nobody is there to take it
