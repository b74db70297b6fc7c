"""Child processes of the log: they end with it, and before it closes its files."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

GRACE_SECONDS: Final = 5.0
"""How long a child may take to end when it is told to."""


@asynccontextmanager
async def running_child(
    module: str, *arguments: str | Path, pass_fds: Sequence[int] = ()
) -> AsyncIterator[Process]:
    """Runs the `main` of a module in a new process; afterwards it has ended.

    The end of its stdin tells the child that this process has ended; stdout is a pipe.
    `pass_fds` are descriptors that it inherits.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "muniment_log.index.begin",
        module,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        pass_fds=pass_fds,
    )
    try:
        yield child
    finally:
        await asyncio.shield(_end(child))


async def _end(child: Process) -> None:
    """Lets a child end: it must have closed the log's database before its writer does."""
    if child.stdin is not None:
        child.stdin.close()
    try:
        async with asyncio.timeout(GRACE_SECONDS):
            await child.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
