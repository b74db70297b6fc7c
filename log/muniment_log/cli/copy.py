"""The command `muniment-log copy`: from one file to a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from muniment_log.cli.cluster import import_cluster_module
from muniment_log.cli.exits import fail, failing
from muniment_log.cli.options import PATH
from muniment_log.cli.progress import PROGRESS, Progress
from muniment_log.config import addenda_beside, load
from muniment_service.exits import EXIT_DATABASE
from muniment_service.process import run

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.option("--from", "source", required=True, type=PATH, help="The log's database, log.db.")
@click.option("--to", "config", required=True, type=PATH, help="The cluster's configuration.")
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
    afterwards. Every leaf and every addendum is verified on the way. Run it again after it was
    interrupted.
    """
    if not source.is_file():
        fail(EXIT_DATABASE, f"{source}: no such database")
    beside = addenda_beside(source)
    addenda = beside if beside.exists() and not without_addenda else None
    with failing():
        copying = import_cluster_module("cluster.adopt").copy
        done = run(copying(source, load(config), Progress(progress), addenda))
    what = "copied" if done.is_new else "was copied already"
    more = "" if done.addenda is None else f"; {done.addenda} addenda"
    click.echo(
        f"{source}: {what}, {done.size} leaves, {done.published} of them published{more}", err=True
    )
