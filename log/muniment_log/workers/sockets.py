"""The port that several workers listen at."""

from __future__ import annotations

import socket
from contextlib import ExitStack


def reserve(host: str, port: int) -> tuple[ExitStack, int]:
    """Binds an address that the processes of one log then share, without listening there.

    Workers share it by SO_REUSEPORT, and so could any process of the same user, another log of
    theirs, say: so it is first bound without, which fails where somebody listens already.

    Returns:
        What lets it go when it is closed, and the port, which the system has chosen for port 0.

    Raises OSError if it cannot be had.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise OSError("this system has no SO_REUSEPORT: several workers cannot share a port")
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    places = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    if port:
        with ExitStack() as alone:
            for family, address in places:
                alone.enter_context(_bound(family, address, shares=False))
    with ExitStack() as taken:
        for family, (name, _, *rest) in places:
            each = taken.enter_context(_bound(family, (name, port, *rest), shares=True))
            port = each.getsockname()[1]
        return taken.pop_all(), port


def _bound(family: int, address: tuple[object, ...], *, shares: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if shares:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound
