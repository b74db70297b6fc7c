"""Asking a long-running process to stop, and telling its service manager (sd_notify(3))."""

import asyncio
import os
import signal
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Sends a state to the socket that NOTIFY_SOCKET names, if any: sdnotify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    # A first zero byte stands for Linux's abstract namespace.
    path = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to, suppress(OSError):
        to.connect(path)
        to.sendall(state.encode())


def stop_requested() -> asyncio.Future[signal.Signals]:
    """A future that says which of SIGTERM and SIGINT has come; a second one ends the process.

    The signals are handled from the call on, not from the await on: call it before the ready line,
    because whoever reads that may send one at once.
    """
    loop = asyncio.get_running_loop()
    got: asyncio.Future[signal.Signals] = loop.create_future()
    handled = (signal.SIGTERM, signal.SIGINT)

    def stop(which: signal.Signals) -> None:
        notify("STOPPING=1")
        if not got.done():
            got.set_result(which)

    def restore(_: asyncio.Future[signal.Signals]) -> None:
        for which in handled:
            loop.remove_signal_handler(which)

    for which in handled:
        loop.add_signal_handler(which, stop, which)
    got.add_done_callback(restore)
    return got
