"""``muniment-log serve``."""

from pathlib import Path

import click

from muniment.http.importing import importing
from muniment_log.cli.cluster import import_cluster_module
from muniment_log.cli.exits import run_service
from muniment_log.cli.options import CONFIG
from muniment_log.config import LogConfig


@click.command()
@CONFIG
def serve(config: Path) -> None:
    """Serve until SIGTERM; prints one line of JSON when ready. Logs go to stderr.

    With a [cluster] table this is a frontend and an integrator in one process.
    """

    async def start(loaded: LogConfig) -> None:
        if loaded.file.cluster is not None:
            with importing():
                cluster = import_cluster_module("app.cluster")
            await cluster.serve(loaded, is_frontend=True, is_integrator=True)
            return
        # Half a second: it brings the HTTP library, which the other commands do without.
        with importing():
            from muniment_log.app import embedded  # noqa: PLC0415

        await embedded.serve(loaded)

    run_service(config, start)
