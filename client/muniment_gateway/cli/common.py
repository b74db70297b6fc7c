"""What commands share: options, and how a configuration that cannot be used ends one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from muniment.local.sqlitefile import is_unwritable
from muniment.tlog.encoding import MunimentError
from muniment_gateway.cli.exits import fail
from muniment_service.exits import EXIT_CONFIG, EXIT_UNWRITABLE

_Function = TypeVar("_Function", bound=Callable[..., Any])

PATH: Final = click.Path(path_type=Path)
CONFIG: Final = click.option(
    "--config", required=True, type=PATH, help="The configuration file, gateway.toml."
)
PASSPHRASE: Final = click.option(
    "--key-passphrase-file", type=PATH, help="Encrypt the key with its content."
)

_ENGINES: Final = (
    click.option("--authzen", metavar="URL", help="A PDP that speaks AuthZEN decides."),
    click.option("--cerbos", metavar="URL", help="A Cerbos decides, at its HTTP listener."),
    click.option("--opa", metavar="URL", help="A rule of OPA's decides: …/v1/data/authz/allow."),
    click.option("--cedar", metavar="FILE", help="Cedar policies decide."),
)


def engine_options(command: _Function) -> _Function:
    """The options that name a policy engine."""
    for option in reversed(_ENGINES):
        command = option(command)
    return command


@contextmanager
def failing_on_config() -> Iterator[None]:
    """Ends the process when a configuration, or a file that it names, cannot be used."""
    try:
        yield
    except MunimentError as error:
        fail(EXIT_UNWRITABLE if is_unwritable(error) else EXIT_CONFIG, error)
