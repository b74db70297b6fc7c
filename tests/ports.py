"""Ports of loopback for programs that must be told one: nobody else takes it before they listen.

The system gives whoever connects, and servers that ask for any port, one of its ephemeral range,
which begins at 32768 or above. These are below it, and each worker of pytest has its own.
"""

import itertools
import os
import random
import socket
from typing import Final

_FIRST: Final = 12_000
_EACH: Final = 2_500
_WORKERS: Final = 8

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
# From anywhere, as there may be another run of the tests on the machine.
_numbers = itertools.count(random.SystemRandom().randrange(_EACH))


def free_port() -> int:
    """A port that nobody listens on, and that was not given before."""
    for number in itertools.islice(_numbers, _EACH):
        port = _FIRST + _EACH * _worker + number % _EACH
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError("there is no free port")
