"""An HTTP endpoint that events are posted to: OTLP/HTTP, the HTTP binding of CloudEvents, NDJSON.

A success acknowledges. What a receiver cannot take now is sent again, after longer and longer
pauses that are never shorter than its `Retry-After`. What it will not take is sent in halves, until
it is known which event that is; then it is set aside, or ends the export. No redirect is followed.
"""

import asyncio
import fcntl
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

import msgspec

from muniment.errors import BadAnswer, FormatError, InputError, Problem, Refused, Unreachable
from muniment.export.destination import Destination, Event
from muniment.export.forms import Form
from muniment.http.answer import Answer, HttpError
from muniment.http.client import HttpSession
from muniment.http.retryafter import retry_after
from muniment.local.backoff import Backoff
from muniment.local.linefile import cut_torn_line
from muniment.local.privatefiles import read_private
from muniment.tlog.encoding import MunimentError, one_line

if TYPE_CHECKING:
    import ssl

SECONDS: Final = 30.0
"""Longest wait for one answer."""

FIRST_PAUSE: Final = 0.5
"""Seconds before the second attempt; twice as long before each further one, jittered."""

LONGEST_PAUSE: Final = 60.0
"""Seconds: the longest pause that a receiver did not ask for."""

MAX_RETRY_AFTER: Final = 3600.0
"""Seconds; a longer ``Retry-After`` is cut, so that no receiver stops an export for ever."""

PATIENCE_SECONDS: Final = 300.0
"""How long one request is tried, by a command that is to end."""

_ANSWER: Final = 64 << 10  # bytes read of an answer
_WORDS: Final = 200  # characters of an answer that are repeated

_OF_CONTENT: Final = frozenset({400, 413, 422})
"""Statuses that may be about one event of many; any other is about the endpoint, or who asks."""


MAX_HEADER_FILE: Final = 64 << 10
"""Bytes of a file of headers."""

_LINE: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([!-~](?:[ \t!-~]*[!-~])?)[ \t]*")


class RefusedFile:
    """Events that a receiver refuses for good, kept in a file, so that the others go on.

    Each line has the `index` of a record, the `reason`, and the `event`. It is on disk before `add`
    returns: the cursor moves behind these events.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.count = 0

    def add(self, events: Sequence[Event], reason: str) -> None:
        """Keeps some events; InputError if that fails."""
        lines = [
            msgspec.json.encode(
                {"index": event.index, "reason": reason, "event": msgspec.Raw(event.data)}
            )
            for event in events
        ]
        try:
            # It quotes what may be confidential.
            number = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(number, "r+b") as file:
                # Another export may share the file; a line that it is writing is not a torn one.
                fcntl.flock(file, fcntl.LOCK_EX)
                cut_torn_line(file, self._path, "records set aside")
                file.write(b"\n".join([*lines, b""]))
                file.flush()
                os.fsync(number)
        except OSError as error:
            raise InputError(f"{self._path}: {error.strerror}") from None
        self.count += len(events)


def read_headers(path: Path | None) -> dict[str, str]:
    """Reads headers (RFC 9110 section 5), one ``Name: value`` a line; none without a file.

    They are in a private file, because tokens are not given on a command line.

    Raises InputError if the file cannot be used, or anybody but its owner has rights on it; tells
    the number of a bad line, and nothing that is in it.
    """
    if path is None:
        return {}
    try:
        data = read_private(path, "file of headers", most=MAX_HEADER_FILE)
    except MunimentError as error:
        raise InputError(str(error)) from None
    if len(data) > MAX_HEADER_FILE:
        raise InputError(f"{path}: longer than {MAX_HEADER_FILE} bytes")
    found: dict[str, str] = {}
    for number, line in enumerate(data.decode("latin-1").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise InputError(f"{path}: line {number}: expected Name: value, in visible ASCII")
        found[match[1]] = match[2]
    return found


class Endpoint(Destination):
    """Posts events to one URL; one request at a time. Use it as an async context manager."""

    def __init__(
        self,
        form: Form,
        url: str,
        *,
        headers: Mapping[str, str],
        tls: "ssl.SSLContext | Literal[True]" = True,
        refused: RefusedFile | None = None,
        patience: float | None = None,
        tell: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Takes a URL, and the headers of every request.

        Args:
            form: How a request is made of events.
            url: Where to; `Form.path` is put behind one without a path.
            headers: For every request; they may hold secrets.
            tls: A context, or True for the system's CAs.
            refused: Where events are kept that the receiver refuses; without one they end it.
            patience: For how many seconds one request is tried; None for as long as it takes.
            tell: Told of what goes wrong, in one line.
            clock: Gives seconds.
            sleep: Waits.
        """
        self._form = form
        parts = urlsplit(url)
        path = parts.path if parts.path not in ("", "/") else form.path
        self._url = parts._replace(path=path or "/").geturl()
        self._host = parts.netloc
        self._session = HttpSession(headers=headers, tls=tls, connections=1)
        self._refused = refused
        self._patience = patience
        self._tell = tell
        self._clock = clock
        self._sleep = sleep

    async def close(self) -> None:
        """Closes its connections."""
        await self._session.close()

    async def put(self, events: Sequence[Event]) -> None:
        """Posts events until all are acknowledged or set aside.

        Raises:
            Unreachable: If the receiver does not take them in time.
            Refused: If it refuses one, and nothing is set aside.
            BadAnswer: If what it calls a success is none in the form's protocol.
        """
        waiting = [events]
        while waiting:
            some = waiting.pop()
            answer = await self._taken(some)
            if answer.status < 300:
                self._read(answer, some)
            elif len(some) > 1 and answer.status in _OF_CONTENT:
                middle = len(some) // 2
                waiting += [some[middle:], some[:middle]]
            else:
                self._refuse(some, answer.status, _words(answer.body))

    def _read(self, answer: Answer, events: Sequence[Event]) -> None:
        """Reads out of a success what the receiver did not take of it all the same."""
        if self._form.rejected is None:
            return
        try:
            rejected = self._form.rejected(answer.body)
        except FormatError as error:
            raise BadAnswer(f"{self._host}: {error}") from None
        words = _words(rejected.words.encode(errors="replace"))
        if rejected.count:
            # Which ones it does not say, and the same request must not be sent again.
            reason = f"{rejected.count} of {len(events)} rejected: {words}"
            self._refuse(events, answer.status, reason)
        elif words:
            self._tell(f"{self._host} says: {words}")

    def _refuse(self, events: Sequence[Event], status: int, words: str) -> None:
        first, last = events[0].index, events[-1].index
        which = f"record {first}" if first == last else f"the records {first} to {last}"
        reason = f"{which}: {words or 'no reason given'}"
        about_events = status in _OF_CONTENT or status < 300
        if self._refused is None or not about_events:
            raise Refused(Problem(status, title=f"{self._host} refuses {reason}"))
        self._refused.add(events, f"HTTP {status}: {words}")
        self._tell(f"{self._host} refuses {reason} (HTTP {status}); set aside")

    async def _taken(self, events: Sequence[Event]) -> Answer:
        """The answer that is not about the moment."""
        body = self._form.body([event.data for event in events])
        headers = {"Content-Type": self._form.media_type(len(events))}
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        began = self._clock()
        while True:
            asked = 0.0
            try:
                answer = await self._session.request(
                    "POST", self._url, limit=_ANSWER, seconds=SECONDS, body=body, headers=headers
                )
                if answer.status not in self._form.retriable:
                    return answer
                reason = f"HTTP {answer.status}"
                wanted = answer.headers.get("retry-after", "")
                asked = retry_after(wanted, time.time(), MAX_RETRY_AFTER) or 0.0
            except TimeoutError:
                reason = f"no answer within {SECONDS:g} s"
            except HttpError as error:
                reason = str(error)
            pause = backoff.next(asked)
            if self._patience is not None and self._clock() - began + pause > self._patience:
                raise Unreachable(f"{self._host}: {reason}")
            self._tell(f"{self._host}: {reason}; trying again in {pause:.0f} s")
            await self._sleep(pause)


def _words(body: bytes) -> str:
    """The beginning of an answer's body, on one line and fit for a terminal."""
    return one_line(body[: 4 * _WORDS].decode(errors="replace"))[:_WORDS]
