"""A server that answers as it is told, over real HTTP on several loopback addresses.

    with Stand(lambda asked: Answer(body=b"...")).serve("127.0.0.1", "127.0.0.2") as stand:
        stand.url("127.0.0.2"), stand.asked, stand.count("/checkpoint") ...

`GARBAGE`, `OVERSIZED`, `SLOW` and `TRICKLE` are answers that no reader may fall for; `get` and
`post` ask any server, once.
"""

import contextlib
import http.client
import http.server
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

MAX_ASKED = 10_000


class Asked(NamedTuple):
    """A request: the address it came to, the one it came from, the path (with its query)."""

    at: str
    client: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What to send.

    Attributes:
        delay: Seconds before the first byte.
        repeat: How often to send the body, for answers larger than one wants in memory.
        pause: Seconds before each of the body's repeats: an answer that trickles.
        length: Whether to announce the length; without it the end of the connection ends the body.
        raw: Sent as it is, instead of everything else: not even HTTP.
        hang_up: Close the connection without an answer, after `delay`.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    repeat: int = 1
    pause: float = 0.0
    length: bool = True
    raw: bytes | None = None
    hang_up: bool = False


NOT_FOUND = Answer(404, b"not found\n")

GARBAGE = (
    Answer(body=b""),
    Answer(body=b"\n"),
    Answer(body=b"<html>hello from a proxy</html>"),
    Answer(body=bytes(range(256)) * 8),
    Answer(body=b"\xff\xfe" * 100),
    Answer(body=b"{" * 5000),
    Answer(status=500, body=b"no\n"),
    Answer(status=301, headers={"Location": "http://127.0.0.1:9/"}),
    Answer(status=200, body=b"x", headers={"Content-Encoding": "gzip"}),
    Answer(raw=b"SSH-2.0-OpenSSH_9\r\n"),
    Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nx"),
    Answer(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx"),
    Answer(raw=b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"),
    Answer(hang_up=True),
)

OVERSIZED = Answer(body=b"a" * 65_536, repeat=2_000, length=False)

SLOW = Answer(delay=600.0)  # longer than a test may take

TRICKLE = Answer(body=b"a", repeat=1_000, pause=0.5)


class Stand:
    """A real HTTP server, one thread a connection, on some loopback addresses.

    Attributes:
        asked: The last MAX_ASKED requests.
    """

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.asked: deque[Asked] = deque(maxlen=MAX_ASKED)
        self._answer = answer
        self._servers: dict[str, _Server] = {}
        self._stopping = threading.Event()

    @contextlib.contextmanager
    def serve(self, *hosts: str) -> Iterator["Stand"]:
        """Listens on each host, at a free port; everything is closed at the end."""
        threads = []
        try:
            for host in hosts or ("127.0.0.1",):
                server = _Server((host, 0), self._handler(host))
                self._servers[host] = server
                threads.append(threading.Thread(target=server.serve_forever, args=(0.05,)))
                threads[-1].start()
            yield self
        finally:
            self._stopping.set()
            for server in self._servers.values():
                server.shutdown()
                server.server_close()
            for thread in threads:
                thread.join(10)

    def url(self, host: str = "127.0.0.1", path: str = "") -> str:
        """The base URL at a host, without a final slash."""
        return f"http://{host}:{self._servers[host].server_address[1]}{path}"

    def count(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(asked.path == path for asked in list(self.asked))

    def _handler(self, host: str) -> type[http.server.BaseHTTPRequestHandler]:
        stand = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # One segment for headers and body: without it each answer waits for a delayed ACK.
            wbufsize = -1
            timeout = 60

            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                asked = Asked(
                    host,
                    self.client_address[0],
                    self.command,
                    self.path,
                    dict(self.headers.items()),
                    self.rfile.read(min(length, 16 * 1024 * 1024)),
                )
                stand.asked.append(asked)
                with contextlib.suppress(OSError):
                    stand._send(self, stand._answer(asked))

            do_POST = do_HEAD = do_GET  # noqa: N815 - the base class's names

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
                pass

        return Handler

    def _send(self, handler: http.server.BaseHTTPRequestHandler, answer: Answer) -> None:
        if answer.delay:
            self._stopping.wait(answer.delay)
        if answer.hang_up or answer.raw is not None:
            handler.wfile.write(answer.raw or b"")
            handler.close_connection = True
            return
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        if answer.length:
            handler.send_header("Content-Length", str(len(answer.body) * answer.repeat))
        else:
            handler.send_header("Connection", "close")
        handler.end_headers()
        if handler.command == "HEAD":
            return
        for _ in range(answer.repeat):
            if answer.pause:
                handler.wfile.flush()
                if self._stopping.wait(answer.pause):
                    return
            handler.wfile.write(answer.body)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away is none of the log's business


def post(url: str, body: bytes, *, seconds: float = 20.0) -> tuple[int, bytes]:
    """POSTs once on a fresh connection, e.g. ``post(f"{witness}/add-checkpoint", ...encode())``."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=seconds)
    try:
        connection.request("POST", parts.path, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def get(url: str, *, seconds: float = 20.0, source: str = "") -> tuple[int, bytes]:
    """GETs once; `source` is the loopback address to come from."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(
        parts.hostname, parts.port, timeout=seconds, source_address=(source, 0) if source else None
    )
    try:
        connection.request("GET", parts.path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
