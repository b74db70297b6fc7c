"""The command `muniment-gateway mcp`: a gate in front of one server."""

import asyncio
import getpass
import sys
from pathlib import Path
from typing import Any

import click

from muniment.local import logs as logging
from muniment.local.memory import protect_memory
from muniment.tlog.encoding import MunimentError
from muniment_gateway.cli.exits import code_of, fail
from muniment_gateway.config import load


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
@click.argument("command", metavar="-- COMMAND…", nargs=-1, type=click.UNPROCESSED)
def mcp_command(
    config: Path,
    subject: str | None,
    agent: str | None,
    server: str | None,
    passed: tuple[str, ...],
    command: tuple[str, ...],
    **flags: Any,
) -> None:
    """Run an MCP server behind a gate: each of its client's requests is decided first."""
    # Imported here, as in `serve`.
    from muniment_gateway.app.mcp import McpOptions, run_stdio  # noqa: PLC0415

    if not command:
        raise click.UsageError("say the server's command behind --")
    protect_memory()
    try:
        loaded = load(config)
        logging.configure(loaded.file.log_level, loaded.file.log_format)
        options = McpOptions(
            subject=subject or getpass.getuser(),
            server=server or Path(command[0]).name,
            agent=agent,
            passed=frozenset(passed),
            **flags,
        )
        code = asyncio.run(run_stdio(loaded, options, command))
    except (MunimentError, OSError) as error:
        fail(code_of(error), error)
    except KeyboardInterrupt:
        code = 0
    sys.exit(code)
