"""Services with a small write-ahead log or a wrong clock, all of which end with their test."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from faults import launch
from processes import Process


class Services:
    """Starts services; all of them end with it."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack

    def begin(
        self,
        module: str,
        *arguments: object,
        pages: int = 1000,
        clock_off: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """Starts a service without waiting until it is ready; see `launch` for what is special."""
        argv = launch.command(pages, module, *arguments, clock_off=clock_off)
        variables = {**launch.environment(), **(environment or {})}
        return self._stack.enter_context(Process(argv, environment=variables))

    def log(self, config: Path, *, pages: int = 1000, clock_off: int = 0) -> Process:
        serve = ("muniment_log.cli", "serve", "--config", config)
        return self.begin(*serve, pages=pages, clock_off=clock_off).wait_ready()

    def witness(self, config: Path, *, pages: int = 1000, clock_off: int = 0) -> Process:
        serve = ("muniment_witness.cli", "serve", "--config", config)
        return self.begin(*serve, pages=pages, clock_off=clock_off).wait_ready()


@contextlib.contextmanager
def services() -> Iterator[Services]:
    with contextlib.ExitStack() as stack:
        yield Services(stack)
