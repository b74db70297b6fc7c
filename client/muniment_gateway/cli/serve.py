"""``muniment-gateway serve``, and how a service of the gateway's runs."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from muniment.http.importing import importing
from muniment.tlog.encoding import MunimentError
from muniment_gateway.cli.common import CONFIG
from muniment_gateway.cli.exits import fail
from muniment_gateway.config import AuthorityConfig, GatewayConfig, load
from muniment_service import servicerun

_CODED: Final = (MunimentError, OSError)  # they have codes of their own while it runs, too
_Config = TypeVar("_Config", GatewayConfig, AuthorityConfig)


@click.command()
@CONFIG
def serve(config: Path) -> None:
    """Serve until SIGTERM; prints one line of JSON when ready. Logs go to stderr."""
    # Imported here, because the server's HTTP stack nearly doubles the start of every command.
    with importing():
        from muniment_gateway.app import serving  # noqa: PLC0415

    run_service(lambda: load(config), serving.serve)


def run_service(
    read: Callable[[], _Config], start: Callable[[_Config], Coroutine[Any, Any, None]]
) -> None:
    """Reads a configuration and runs a service until it ends; the exit code says how."""
    servicerun.run_service(read, start, fail, coded=_CODED)
