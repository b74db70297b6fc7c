"""A TCP proxy on loopback that can be told to be slow, to be silent, or to cut everything."""

import contextlib
import selectors
import socket
import threading
import time
from types import TracebackType
from typing import Self

CHUNK = 1 << 16


class Proxy:
    """Carries connections to a port until it is told otherwise.

    Attributes:
        port: where it listens.
        delay: seconds by which everything is late.
        silent: connections are taken and stay open, and nothing is carried.
        left: bytes that are carried to the port until all is cut, once; None for no bound.
        tripped: set when that has happened.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay = 0.0
        self.silent = False
        self.left: int | None = None
        self.tripped = threading.Event()
        self._refusing = False
        self._ended = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Resets what is open; what comes next is carried again."""
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def refuse(self) -> None:
        """Cuts, and ends every new connection at once, until `heal`."""
        self._refusing = True
        self.cut()

    def heal(self) -> None:
        """Carries everything again, and at once."""
        self._refusing = self.silent = False
        self.delay = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended = True
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
        self._thread.join(10)

    def _accept(self) -> None:
        while not self._ended:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if self._refusing:
                near.close()
                continue
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(("127.0.0.1", self.target), timeout=10)
        except OSError:
            near.close()
            return
        far.settimeout(None)
        other = {near: far, far: near}
        with self._lock:
            self._open |= {near, far}
        try:
            with selectors.DefaultSelector() as ready:
                for one in other:
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    ready.register(one, selectors.EVENT_READ)
                while not self._ended:
                    for key, _ in ready.select(0.5):
                        source = key.fileobj
                        assert isinstance(source, socket.socket)
                        while self.silent and not self._ended:
                            time.sleep(0.05)
                        data = source.recv(CHUNK)
                        if not data:
                            return
                        if self.delay:
                            time.sleep(self.delay)
                        if source is near and self.left is not None:
                            data = data[: self.left]
                            self.left -= len(data)
                        other[source].sendall(data)
                        if self.left == 0:
                            self.left = None
                            self.cut()
                            self.tripped.set()
        except OSError:
            pass
        finally:
            with self._lock:
                self._open -= {near, far}
            near.close()
            far.close()
