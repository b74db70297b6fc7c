"""The administrative socket of a service: HTTP over a Unix socket, for its own user alone.

The file's mode keeps others out, and the kernel says who has connected (SO_PEERCRED): only the user
of the process itself, and root. Nothing administrative is served anywhere else.
"""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final

import msgspec

from muniment.tlog.encoding import MunimentError

ANSWER_SECONDS: Final = 60.0
"""How long a command waits for its answer: a reload asks logs and peers before it takes effect."""

MAX_ANSWER: Final = 16 << 20

MAX_NAME: Final = 100
"""Bytes that an address of a Unix socket can hold, and a little less (Linux: 107)."""

_ROOT: Final = 0
_CREDENTIALS: Final = struct.Struct("=iII")  # pid, uid, gid: struct ucred of unix(7)


class NotRunningError(MunimentError):
    """No service answers at the socket."""


class NotDoneError(MunimentError):
    """The service did not do what it was asked; the message says why."""


def bind_private(path: Path) -> socket.socket:
    """A socket that listens at a path and that only its owner can connect to.

    A socket that a killed process left behind is replaced; the database's lock has shown by now
    that there is no other process of this service. Raises OSError if something else is at the path.
    """
    if path.is_socket():
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The mode counts from the first moment on, not from a later chmod.
    before = os.umask(0o177)
    try:
        with _short(path) as name:
            listener.bind(name)
    except OSError as error:
        listener.close()
        raise OSError(error.errno or errno.EINVAL, f"{path}: {error.strerror or error}") from error
    finally:
        os.umask(before)
    listener.setblocking(False)  # noqa: FBT003  # the socket module's way
    return listener


def unbind(path: Path) -> None:
    """Removes a socket's name."""
    path.unlink(missing_ok=True)


def is_own_user(transport: asyncio.BaseTransport) -> bool:
    """Whether the other end of a Unix socket is a process of this process's user, or of root."""
    peer: socket.socket = transport.get_extra_info("socket")
    data = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(data)
    return user in {_ROOT, os.geteuid()}


def ask(
    path: Path,
    method: str,
    target: str,
    *,
    body: bytes | None = None,
    seconds: float = ANSWER_SECONDS,
) -> dict[str, Any]:
    """Asks a running service over its administrative socket, by GET or POST; blocks.

    `body` is JSON; `seconds` is how long it waits for the answer.

    Raises:
        NotRunningError: If nobody listens there.
        NotDoneError: If the service refuses, or does not answer in time.
    """
    connection = _Connection(path, seconds)
    headers = {"Host": "localhost", "Connection": "close"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    try:
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        body = response.read(MAX_ANSWER)
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunningError(f"{path}: no service answers there") from None
    except (OSError, HTTPException) as error:
        raise NotDoneError(f"{path}: {str(error) or type(error).__name__}") from error
    finally:
        connection.close()
    try:
        answer = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise NotDoneError(f"{path}: not an answer: {error}") from error
    if response.status != 200:
        raise NotDoneError(str(answer.get("detail", response.status)))
    return answer


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name of at most MAX_NAME bytes for a socket's path, which may be longer."""
    if len(os.fsencode(path)) <= MAX_NAME:
        yield os.fspath(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class _Connection(HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with _short(self._path) as name:
            self.sock.connect(name)
