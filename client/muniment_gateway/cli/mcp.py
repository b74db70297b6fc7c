"""The command `muniment-gateway mcp`: a gate in front of one server."""

import getpass
import sys
from pathlib import Path
from typing import Any

import click

from muniment.http.urls import split_url
from muniment.local import logs as logging
from muniment.local.memory import protect_memory
from muniment.tlog.encoding import MunimentError
from muniment_gateway.cli.exits import fail
from muniment_gateway.config import load
from muniment_service.config import Address
from muniment_service.exits import code_of
from muniment_service.process import run


@click.command("mcp")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("gateway.toml"),
    show_default=True,
    envvar="MUNIMENT_GATEWAY_CONFIG",
    show_envvar=True,
    help="The configuration file, gateway.toml.",
)
@click.option("--subject", help="For whom the client acts; without one, who runs this.")
@click.option("--agent", help="What the client is.")
@click.option("--server", help="The server's name in the policy; without one, its program's.")
@click.option(
    "--pass",
    "passed",
    metavar="METHOD",
    multiple=True,
    help="Let a method through without a decision, such as tools/list. Repeatable.",
)
@click.option(
    "--ask-unknown", is_flag=True, help="Ask the policy about methods that are not known."
)
@click.option("--declared", is_flag=True, help="Heed the mappings that the server declares.")
@click.option("--filter", "filters", is_flag=True, help="Show in listings only what is allowed.")
@click.option("--upstream", metavar="URL", help="Stand before a server's URL, on streamable HTTP.")
@click.option("--listen", default="127.0.0.1:8112", show_default=True, help="host:port, for that.")
@click.option("--host", "hosts", multiple=True, help="Another host:port of this gate. Repeatable.")
@click.argument("command", metavar="[-- COMMAND…]", nargs=-1, type=click.UNPROCESSED)
def mcp_command(
    config: Path,
    subject: str | None,
    agent: str | None,
    server: str | None,
    passed: tuple[str, ...],
    upstream: str | None,
    listen: str,
    hosts: tuple[str, ...],
    command: tuple[str, ...],
    **flags: Any,
) -> None:
    """Stand before an MCP server: each of its clients' requests is decided and logged first.

    A command is run, and spoken to on stdio; an upstream is another server's URL.
    """
    # Imported here, as in `serve`.
    from muniment_gateway.app.mcp import McpOptions, run_http, run_stdio  # noqa: PLC0415

    if bool(command) is (upstream is not None):
        raise click.UsageError("say the server's command behind --, or its URL: --upstream")
    try:
        address = Address(listen)
        if upstream is not None:
            split_url(upstream)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    protect_memory()
    try:
        loaded = load(config)
        logging.configure(loaded.file.log_level, loaded.file.log_format)
        options = McpOptions(
            subject=subject or getpass.getuser(),
            server=server or (Path(command[0]).name if upstream is None else upstream),
            agent=agent,
            passed=frozenset(passed),
            **flags,
        )
        if upstream is None:
            work = run_stdio(loaded, options, command)
        else:
            work = run_http(loaded, options, upstream, address, hosts)
        code = run(work)
    except (MunimentError, OSError) as error:
        fail(code_of(error), error)
    except KeyboardInterrupt:
        code = 0
    sys.exit(code)
