"""``muniment-witness serve``."""

from pathlib import Path

import click

from muniment.http.importing import importing
from muniment_service.servicerun import run_service
from muniment_witness.cli.common import CONFIG
from muniment_witness.cli.exits import fail
from muniment_witness.config import load


@click.command()
@CONFIG
def serve(config: Path) -> None:
    """Serve until SIGTERM; prints one line of JSON when ready. Logs go to stderr."""
    # Imported here, because the server's HTTP stack nearly doubles the start of every command.
    with importing():
        from muniment_witness import app  # noqa: PLC0415

    run_service(lambda: load(config), app.serve, fail)
