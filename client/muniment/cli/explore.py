"""``muniment explore``."""

import asyncio
import webbrowser
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from muniment.cli.common import (
    file_option,
    gateway_option,
    interval_option,
    log_option,
    old_vkey_option,
    origin_option,
    policy_option,
    read_old_vkeys,
    read_policy,
    run,
    until_stopped,
)
from muniment.cli.exits import describe_exits
from muniment.errors import InputError
from muniment.index.replica import Watched
from muniment.local.privatefiles import read_secret
from muniment.local.vkeyfile import read_vkeys

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from muniment.explore.running import RunningExplorer


@click.command(epilog=describe_exits())
@log_option
@policy_option
@file_option(
    "--replica",
    "replica_path",
    words="The replica: an SQLite file, created when absent, and kept; without it one is made for "
    "the time of the command.",
)
@old_vkey_option
@origin_option
@gateway_option("A gateway whose word counts, instead of those that the replica keeps.")
@click.option(
    "--addenda",
    is_flag=True,
    help="Take along what the records withhold, as muniment follow --addenda does.",
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:0",
    show_default=True,
    help="Where to serve the pages; port 0 is any that is free.",
)
@file_option(
    "--token-file",
    words="A file of mode 0600 whose first line browsers have to show; needed where other machines "
    "reach the pages.",
)
@click.option(
    "--evidence",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    metavar="DIR",
    help="Show the evidence files of this folder, such as muniment monitor --evidence-dir writes.",
)
@file_option(
    "--monitor",
    "monitor_state",
    words="Show what a monitor told last, which keeps its state in this file (muniment monitor "
    "--state).",
)
@click.option(
    "--ask-witnesses",
    is_flag=True,
    help="Ask the witnesses whose URLs the policy has what they show, when a page is about them.",
)
@click.option("--no-open", is_flag=True, help="Do not open a browser.")
@interval_option("How often to look for a new checkpoint.")
def explore(
    log_url: str,
    policy_path: Path,
    replica_path: Path | None,
    old_vkeys: tuple[str, ...],
    origin: str | None,
    gateways: tuple[str, ...],
    listen: str,
    token_file: Path | None,
    evidence: Path | None,
    monitor_state: Path | None,
    interval: float,
    *,
    addenda: bool,
    ask_witnesses: bool,
    no_open: bool,
) -> None:
    """Look at a log in a browser: local pages over a verified replica.

    The pages come from this machine and ask no other. The replica follows the log meanwhile, until
    the command is stopped; each page says what it rests on, and what was not verified.
    """
    try:
        from muniment.explore.app import PagesAddress  # noqa: PLC0415 - an extra, and slow to import
        from muniment.explore.running import running  # noqa: PLC0415
        from muniment.explore.site import Beyond  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name not in {"jinja2", "markupsafe"}:
            raise
        raise InputError(
            "the pages need the extra `explore`: pip install 'muniment[explore]'"
        ) from None
    policy = read_policy(policy_path)
    named = read_vkeys("--gateway", gateways) if gateways else None
    old = read_old_vkeys(old_vkeys, policy)
    watched = Watched(log_url, policy, origin, named, old, addenda)
    beyond = Beyond(evidence, ask_witnesses, tuple(old), monitor_state)
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise click.UsageError("--listen: expected HOST:PORT, as 127.0.0.1:8080")
    address = PagesAddress(host.strip("[]"), int(port))
    token = None
    if token_file is not None:
        token = read_secret(token_file, "token").decode("utf-8", "replace")
        # Not opened: every user of the machine could read the token in the browser's arguments.
        click.echo("A browser shows its token once: the URL with ?token= and it.", err=True)
    with ExitStack() as stack:
        if replica_path is None:
            place = stack.enter_context(TemporaryDirectory(prefix="muniment-"))
            replica_path = Path(place) / "replica"
        opened = running(watched, replica_path, address, token, interval=interval, beyond=beyond)
        run(_explore(opened, opens=not no_open and token is None))


async def _explore(opened: "AbstractAsyncContextManager[RunningExplorer]", *, opens: bool) -> None:
    async with opened as explorer:
        click.echo(explorer.url)
        if opens:
            await asyncio.to_thread(webbrowser.open, explorer.url)
        await until_stopped(explorer.wait())
