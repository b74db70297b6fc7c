"""Questions and answers between two processes, over a socket that only they have.

A message is its length, four bytes in network order, and as many bytes of MessagePack. Both sides
ask; an answer names its question, so that many are open at the same time. What a question raises in
the other process, if it is one of the log's own errors, is raised here.

Whoever asks holds what it has sent until the answer is there, within bounds of its own, so that
nothing but notices is bounded here.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import struct
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from muniment.local.logs import event
from muniment_log import errors
from muniment_log.core import addenda, ingest, repeats
from muniment_log.errors import LogError, UnavailableError

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping

    Questions = Mapping[str, Callable[[Any], Awaitable[Any]]]
    Notices = Mapping[str, Callable[[Any], object]]
    Prompt = Mapping[str, Callable[[Any, Callable[[object], None]], object]]

GONE: Final = "the process on the other side has ended; what became of the request is not known"

_LENGTH: Final = struct.Struct("!I")
_ANSWER: Final = ""
_CANCEL: Final = "-"
_LOGGER: Final = logging.getLogger(__name__)
_T = TypeVar("_T")

_KNOWN: Final = {
    kind.__name__: kind
    for module in (errors, addenda, ingest, repeats)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, LogError)
}
"""The errors that go through, by their names."""


class _Message(msgspec.Struct, array_like=True, omit_defaults=True):
    """A question, an answer, a notice, or the word that nobody waits for an answer any more.

    Attributes:
        number: the question's; 0 of a notice, which has no answer.
        name: what is asked or told.
        value: what goes with it.
        error: in an answer, the name of the error that was raised instead.
    """

    number: int
    name: str
    value: Any = None
    error: str = ""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Message).decode


class Channel(asyncio.Protocol):
    """One end; belongs to an event loop. Make one with `open_channel`.

    Attributes:
        ended: set when the other process is gone, or `close` was called.
    """

    def __init__(self, questions: Questions, notices: Notices, prompt: Prompt) -> None:
        """Takes what answers the other side's questions, and who is told of its notices.

        What answers `prompt` questions gets a callback for the answer, or the error, and no task:
        for those that are many and have to wait for nothing. It calls back once, at once or later,
        also when nobody waits for the answer any more.
        """
        self.ended: Final = asyncio.Event()
        self._questions = questions
        self._notices = notices
        self._prompt = prompt
        self._open: dict[int, asyncio.Future[Any]] = {}
        self._answering: dict[int, asyncio.Task[None]] = {}
        self._numbers = itertools.count(1)
        self._buffer = bytearray()
        self._waiting: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    async def ask_for(self, kind: type[_T], name: str, value: Any = None) -> _T:
        """Asks as `ask` does; the answer is made a `kind`."""
        return msgspec.convert(await self.ask(name, value), kind)

    async def ask(self, name: str, value: Any = None) -> Any:
        """Asks the other process, and returns the answer.

        When the caller is cancelled, so is the work in the other process.

        Raises:
            LogError: as the other process does.
            UnavailableError: it has ended; what became of the question is not known.
        """
        if self.ended.is_set():
            raise UnavailableError(GONE)
        number = next(self._numbers)
        future = self._open[number] = asyncio.get_running_loop().create_future()
        try:
            self._send(_Message(number, name, value))
            return await future
        except asyncio.CancelledError:
            self._send(_Message(number, _CANCEL))
            raise
        finally:
            del self._open[number]

    def tell(self, name: str, value: Any = None, *, unread: int | None = None) -> None:
        """Tells the other process something, unless it has ended.

        Nobody waits for a notice, so that nothing else bounds how many are written: with `unread`,
        the channel ends when the other process is behind by more bytes than that.
        """
        self._send(_Message(0, name, value))
        transport = self._transport
        if unread is not None and transport and transport.get_write_buffer_size() > unread:
            event(_LOGGER, logging.ERROR, "a process reads no more of what it is told")
            transport.abort()

    async def close(self) -> None:
        """Sends what waits to be sent, and ends the channel; see `ended`."""
        self._flush()
        if self._transport is not None:
            self._transport.close()
        await self.ended.wait()

    async def abort(self) -> None:
        """Ends the channel, though the other process may not read what it was sent."""
        if self._transport is not None:
            self._transport.abort()
        await self.ended.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins."""
        # uvloop's transport is one by what it does, not by its class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Takes what has come."""
        self._buffer += data
        at, size = 0, len(self._buffer)
        with memoryview(self._buffer) as view:
            while size - at >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(view, at)
                end = at + _LENGTH.size + length
                if end > size:
                    break
                with view[at + _LENGTH.size : end] as body:
                    message = _decode(body)
                self._take(message)
                at = end
        del self._buffer[:at]

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends: nobody waits for answers any more, and none come."""
        del exc
        if self.ended.is_set():
            return
        self.ended.set()
        for task in self._answering.values():
            task.cancel()
        for future in self._open.values():
            if not future.done():
                future.set_exception(UnavailableError(GONE))

    def _send(self, message: _Message) -> None:
        if self.ended.is_set():
            return
        body = _encode(message)
        # What one turn of the event loop has to say goes out in one write.
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting += (_LENGTH.pack(len(body)), body)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(waiting))

    def _take(self, message: _Message) -> None:
        number = message.number
        if not number:
            self._notices[message.name](message.value)
        elif message.name == _CANCEL:
            if (answering := self._answering.get(number)) is not None:
                answering.cancel()
        elif (prompt := self._prompt.get(message.name)) is not None:
            answer = partial(self._settle, number, message.name)
            try:
                prompt(message.value, answer)
            except Exception as error:  # noqa: BLE001  # it is the answer
                answer(error)
        elif message.name != _ANSWER:
            task = asyncio.get_running_loop().create_task(self._answer(message))
            self._answering[number] = task
            task.add_done_callback(lambda _: self._answering.pop(number, None))
        elif (future := self._open.get(number)) is not None and not future.done():
            if message.error:
                future.set_exception(_raised(message))
            else:
                future.set_result(message.value)

    async def _answer(self, message: _Message) -> None:
        try:
            outcome = await self._questions[message.name](message.value)
        except Exception as error:  # noqa: BLE001  # whoever asked is to learn of whatever it is
            outcome = error
        self._settle(message.number, message.name, outcome)

    def _settle(self, number: int, question: str, outcome: object) -> None:
        """Answers a question with a value, or the error that was raised instead."""
        try:
            if isinstance(outcome, LogError):
                self._send(_Message(number, _ANSWER, _said(outcome), type(outcome).__name__))
                return
            if not isinstance(outcome, Exception):
                self._send(_Message(number, _ANSWER, outcome))
                return
        except Exception as error:  # noqa: BLE001  # it cannot be told
            outcome = error
        event(_LOGGER, logging.ERROR, "a question failed", exc_info=outcome, question=question)
        told = [ascii(outcome), {}]
        self._send(_Message(number, _ANSWER, told, UnavailableError.__name__))


async def open_channel(
    connected: socket.socket, questions: Questions, notices: Notices, prompt: Prompt | None = None
) -> Channel:
    """The end of a connected Unix socket that is in this process."""
    loop = asyncio.get_running_loop()
    _, channel = await loop.create_unix_connection(
        lambda: Channel(questions, notices, prompt or {}), sock=connected
    )
    return channel


def _said(error: LogError) -> list[Any]:
    """An error, to be raised in another process: what it says, and its members."""
    return [str(error), vars(error)]


def _raised(message: _Message) -> LogError:
    text, members = message.value
    kind = _KNOWN.get(message.error, UnavailableError)
    error = kind.__new__(kind, text)
    Exception.__init__(error, text)
    vars(error).update(members)
    return error
