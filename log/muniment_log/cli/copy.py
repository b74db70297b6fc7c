"""The command `muniment-log copy`: from one file to a cluster."""

from __future__ import annotations

from pathlib import Path

import click

from muniment.tlog.encoding import MunimentError
from muniment_log.cli.cluster import import_cluster_module
from muniment_log.cli.exits import EXIT_DATABASE, code_of, fail
from muniment_log.cli.progress import PROGRESS, Progress
from muniment_log.config import addenda_beside, load
from muniment_service.process import run

_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--from", "source", required=True, type=_PATH, help="The log's database, log.db.")
@click.option("--to", "config", required=True, type=_PATH, help="The cluster's configuration.")
@click.option("--without-addenda", is_flag=True, help="Leave behind what records withhold.")
@PROGRESS
def copy(
    source: Path,
    config: Path,
    without_addenda: bool,  # noqa: FBT001  # click's way
    progress: bool | None,  # noqa: FBT001  # likewise
) -> None:
    """Copy a log from one file to a cluster: same origin, same keys, same checkpoint.

    The log must not run, neither on the file nor on the cluster, and never again on the file
    afterwards. Every leaf is verified on the way. Run it again after it was interrupted. A cluster
    keeps no addenda: those of the log stay behind, and only if you say so.
    """
    if not source.is_file():
        fail(EXIT_DATABASE, f"{source}: no such database")
    addenda = addenda_beside(source)
    if addenda.exists() and not without_addenda:
        fail(
            EXIT_DATABASE,
            f"{addenda}: a cluster keeps no addenda, and records may say that this log keeps them; "
            "--without-addenda leaves them behind",
        )
    try:
        loaded = load(config)
        done = run(import_cluster_module("cluster.adopt").copy(source, loaded, Progress(progress)))
    except MunimentError as error:
        fail(code_of(error), error)
    what = "copied" if done.is_new else "was copied already"
    click.echo(
        f"{source}: {what}, {done.size} leaves, {done.published} of them published", err=True
    )
