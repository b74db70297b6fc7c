"""``muniment-witness serve``."""

from logging import ERROR, getLogger
from pathlib import Path
from typing import Final

import click

from muniment.http.importing import importing
from muniment.local import logs as logging
from muniment.local.memory import protect_memory
from muniment.local.sqlitefile import is_unwritable
from muniment.tlog.encoding import MunimentError
from muniment_service.process import first_error, run
from muniment_witness.cli.common import CONFIG
from muniment_witness.cli.exits import (
    EXIT_FAILED,
    code_of,
    fail,
)
from muniment_witness.config import load

_LOGGER: Final = getLogger(__name__)


@click.command()
@CONFIG
def serve(config: Path) -> None:
    """Serve until SIGTERM; prints one line of JSON when ready. Logs go to stderr."""
    # Imported here, because the server's HTTP stack nearly doubles the start of every command.
    with importing():
        from muniment_witness import app  # noqa: PLC0415

    protect_memory()
    try:
        loaded = load(config)
        logging.configure(loaded.file.log_level, loaded.file.log_format)
        run(app.serve(loaded))
    except (MunimentError, OSError) as error:
        fail(code_of(error), error)
    except ExceptionGroup as group:
        # TaskGroup's wrapping says nothing; what failed is inside.
        cause = first_error(group)
        if isinstance(cause, OSError) or is_unwritable(cause):
            fail(code_of(cause), cause)
        logging.event(_LOGGER, ERROR, "the service failed", exc_info=group)
        fail(EXIT_FAILED, cause)
    except KeyboardInterrupt:
        fail(EXIT_FAILED, "interrupted")
