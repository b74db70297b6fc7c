"""``muniment-gateway status`` and ``reload``: they ask the running gateway."""

import json
from pathlib import Path
from typing import Any

import click

from muniment.tlog.encoding import one_line
from muniment_gateway.cli.common import CONFIG, failing_on_config
from muniment_gateway.cli.exits import EXIT_NOT_RUNNING, EXIT_REFUSED, fail
from muniment_gateway.config import GatewayFile
from muniment_service import unixsocket
from muniment_service.config import load_config


@click.command()
@CONFIG
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(config: Path, *, as_json: bool) -> None:
    """Show what a running gateway reports."""
    with failing_on_config():
        found = _ask(config, "GET", "/status")
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(f"gateway  {found['name']}: {found['mode']}, quorum {found['quorum']}")
    click.echo(_line("log", found["log"]["url"], found["log"]["away"] or "answers"))
    click.echo(f"spool    {found['spool']} records wait for the log")
    for name, trouble in found["authorities"].items():
        click.echo(_line("engine", name, trouble or "well, as far as it was asked"))
    for name, calls in found.get("approvals", {}).items():
        oldest = f", the oldest for {calls['oldest_seconds']} s" if calls["waiting"] else ""
        click.echo(f"people   {name}: {calls['waiting']} calls wait for them{oldest}")


def _line(what: str, name: str, said: str) -> str:
    """One line about a part; what it says of itself may begin with its name, or its URL."""
    if said.startswith((f"{name}: ", f"{name}/")):
        said = said[len(name) :].removeprefix(": ")
    return f"{what:8} {name}: {one_line(said)}"


@click.command("reload")
@CONFIG
def reload_command(config: Path) -> None:
    """Have the running gateway take up its configuration; a new mode is logged before.

    Mode, quorum, authorities, clients and permits. When anything cannot be used, or has changed
    that takes a restart, it is refused as a whole, and what was in force stays.
    """
    with failing_on_config():
        _ask(config, "POST", "/reload")
    click.echo("taken up")


def _ask(config: Path, method: str, target: str) -> dict[str, Any]:
    path = load_config(config, GatewayFile).admin
    if path is None:
        fail(EXIT_NOT_RUNNING, f"{config}: names no admin socket")
    try:
        return unixsocket.ask(path, method, target)
    except unixsocket.NotRunningError as error:
        fail(EXIT_NOT_RUNNING, error)
    except unixsocket.NotDoneError as error:
        fail(EXIT_REFUSED, error)
