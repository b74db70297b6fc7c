"""The part of `muniment-log check` that is about a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from muniment.tlog.encoding import MunimentError
from muniment_log.cli.cluster import import_cluster_module
from muniment_log.cli.exits import EXIT_DAMAGED, code_of, fail, say_damage
from muniment_service.process import run

if TYPE_CHECKING:
    from muniment_log.config import LogConfig


def check_cluster_command(config: LogConfig, *, quick: bool) -> None:
    """Checks a cluster, prints what is damaged, and ends with the exit code for that."""
    name = config.cluster.object_store
    try:
        checking = import_cluster_module("cluster.check").check_cluster
        findings, size = run(checking(config, full=not quick))
    except MunimentError as error:
        # Whoever has only ever checked a file wonders what the engines have to do with it.
        fail(code_of(error), f"{error}; unlike a log in one file, a cluster is read by its engines")
    say_damage("damaged", findings.damage)
    if findings.damage:
        fail(EXIT_DAMAGED, f"{name}: damaged")
    click.echo(f"{name}: sound, {size} leaves published", err=True)
