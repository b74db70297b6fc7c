"""The cluster's commands: `muniment-log migrate`, `frontend`, `integrator`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

from muniment.http.importing import importing
from muniment_log.cli.exits import failing, run_service
from muniment_log.cli.options import PATH
from muniment_log.config import LogConfig, load
from muniment_service.config import Address, ConfigError
from muniment_service.process import run

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path
    from types import ModuleType

_CONFIG: Final = click.option(
    "--config",
    required=True,
    type=PATH,
    help="The configuration file, with a [cluster] table.",
)


class _AddressType(click.ParamType[Address]):
    """`host:port`."""

    name = "host:port"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        try:
            return value if isinstance(value, Address) else Address(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_LISTEN: Final = _AddressType()


def import_cluster_module(name: str) -> ModuleType:
    """Imports a module that needs the libraries of a cluster.

    Raises ConfigError if they are not installed; the message says how to.
    """
    try:
        return import_module(f"muniment_log.{name}")  # optional, and slow to import
    except ModuleNotFoundError as error:
        if error.name not in {"asyncpg", "obstore"}:
            raise
        raise ConfigError(
            f"a cluster needs {error.name}: pip install 'muniment[cluster]'"
        ) from error


@click.command()
@_CONFIG
@click.option("--listen", type=_LISTEN, help="Where to listen, instead of the configuration's.")
def frontend(config: Path, listen: Address | None) -> None:
    """Serve a cluster's HTTP API until SIGTERM; any number of them may run.

    Prints one line of JSON when ready. Logs go to stderr.
    """
    run_service(config, _part(listen, is_frontend=True))


@click.command()
@_CONFIG
@click.option(
    "--listen",
    type=_LISTEN,
    default="127.0.0.1:0",
    help="Where to serve /healthz, /readyz and /metrics; the default lets the system choose.",
)
def integrator(config: Path, listen: Address) -> None:
    """Make the tree of what frontends order, and publish it, until SIGTERM.

    One of any number works at a time; the others wait to take over. Prints one line of JSON when
    ready. Logs go to stderr.
    """
    run_service(config, _part(listen, is_frontend=False))


@click.command()
@_CONFIG
def migrate(config: Path) -> None:
    """Bring the cluster's database to the schema of this program, or make it.

    A schema that was made anew for keys that have a past is refused by the cluster's processes,
    and takes nothing; `status` shows when it was made.
    """
    with failing():
        loaded = load(config)
        before, after = run(import_cluster_module("cluster.migrate").migrate_database(loaded))
    if before == after:
        click.echo(f"the schema has version {after} already", err=True)
    elif before == 0:
        click.echo(f"made the schema, version {after}, of a log that has no leaves", err=True)
    else:
        click.echo(f"the schema went from version {before} to {after}", err=True)


def _part(
    listen: Address | None, *, is_frontend: bool
) -> Callable[[LogConfig], Coroutine[Any, Any, None]]:
    async def start(loaded: LogConfig) -> None:
        with importing():
            cluster = import_cluster_module("app.cluster")
        await cluster.serve(
            loaded, is_frontend=is_frontend, is_integrator=not is_frontend, listen=listen
        )

    return start
