"""The command `muniment-gateway`; what it ends with is in exits.py.

Commands are imported when they run.
"""

from typing import Final

import click

from muniment import __version__
from muniment.cli.lazy import LazyGroup, Places

_COMMANDS: Final[Places] = {
    "authority": (
        "authority",
        "authority",
        "Run an authority: an engine whose answers are signed.",
    ),
    "doctor": ("doctor", "doctor", "Check everything that it needs, and say what is wrong."),
    "init": ("init", "init_command", "Make a new gateway: a key and gateway.toml."),
    "mcp": ("mcp", "mcp_command", "Stand before an MCP server."),
    "original": ("original", "original", "Print what an OPA has uploaded."),
    "reload": ("running", "reload_command", "Have the running gateway take up its configuration."),
    "rotate-key": ("keys", "rotate_key", "Change the gateway's key, in two steps."),
    "serve": ("serve", "serve", "Serve until SIGTERM."),
    "status": ("running", "status", "Show what a running gateway reports."),
    "vkey": ("keys", "vkey_command", "Print the gateway's public key."),
}


@click.group(cls=LazyGroup, package="muniment_gateway.cli", places=_COMMANDS)
@click.version_option(__version__)
def main() -> None:
    """Run a gateway: policy engines decide, the log has it, and only then is anybody answered."""
