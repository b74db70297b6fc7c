"""What commands share: options, how they fail, and having a running witness reload."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from muniment.local.sqlitefile import DatabaseError, FatalDatabaseError, is_unwritable
from muniment.tlog.encoding import MunimentError
from muniment_service import unixsocket
from muniment_service.config import load_config
from muniment_service.exits import EXIT_CONFIG, EXIT_UNWRITABLE, code_of
from muniment_witness.cli.exits import EXIT_REFUSED, fail
from muniment_witness.witnessfile import WitnessFile

PATH: Final = click.Path(path_type=Path)
CONFIG: Final = click.option(
    "--config", required=True, type=PATH, help="The configuration file, witness.toml."
)


def reload_running(config: Path) -> str:
    """Has the running witness reload its configuration; says what came of it."""
    socket = load_config(config, WitnessFile).admin
    if socket is None:
        return "restart the witness"
    try:
        unixsocket.ask(socket, "POST", "/reload")
    except unixsocket.NotRunningError:
        return "the witness does not run"
    except unixsocket.NotDoneError as error:
        fail(EXIT_REFUSED, f"in the file, but not taken up: {error}")
    return "taken up"


@contextmanager
def failing_on_database() -> Iterator[None]:
    """Ends the command when its database cannot be used."""
    try:
        yield
    except (DatabaseError, FatalDatabaseError) as error:
        fail(code_of(error), error)


@contextmanager
def failing_on_config() -> Iterator[None]:
    """Ends the command when its configuration, or what that names, cannot be used."""
    try:
        yield
    except MunimentError as error:
        fail(EXIT_UNWRITABLE if is_unwritable(error) else EXIT_CONFIG, error)
