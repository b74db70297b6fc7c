"""The command `muniment-log`; its exit codes are in `exits`. Commands are imported to be run."""

from typing import Final

import click

from muniment import __version__
from muniment.cli.lazy import LazyGroup, Places

_COMMANDS: Final[Places] = {
    "backup": ("backup", "backup_command", "Copy the database, also while the log runs."),
    "check": ("check", "check_command", "Check the database against its own leaves."),
    "copy": ("copy", "copy", "Copy a log from one file to a cluster."),
    "erase": ("erase", "erase", "Erase what records withhold, and log that."),
    "export": ("export", "export", "Write the log as static files, once or as it grows."),
    "frontend": ("cluster", "frontend", "Serve a cluster's HTTP API."),
    "init": ("setup", "init_command", "Make a new log: keys, database, log.toml."),
    "integrator": ("cluster", "integrator", "Make and publish a cluster's tree."),
    "list-entry": ("listentry", "list_entry", "Print the log's entry for a list of logs."),
    "migrate": ("cluster", "migrate", "Make or update the schema of a cluster."),
    "new-addenda": ("addenda", "new_addenda", "Go on without addenda that are lost."),
    "new-database": ("setup", "new_database", "Make an empty database for keys that exist."),
    "new-index-log": ("indexlog", "new_index_log", "Make the database of the index log."),
    "prune": ("prune", "prune_command", "Move old entries into an archive."),
    "reload": ("running", "reload_command", "Have the running log take up its configuration."),
    "repair": ("check", "repair_command", "Rebuild what can be from the leaves."),
    "restore": ("restore", "restore", "Make the database again from a mirror."),
    "restore-index-log": ("indexlog", "restore_index_log", "Make the index log's again."),
    "rotate-key": ("rotate", "rotate_key", "Add a key or retire one."),
    "serve": ("serve", "serve", "Serve until SIGTERM."),
    "status": ("running", "status_command", "Print the state of the running log."),
    "token": ("token", "token", "Make a bearer token."),
    "unprune": ("prune", "unprune_command", "Bring pruned entries back from an archive."),
    "vkeys": ("rotate", "vkeys_command", "Print the public keys of the log."),
}


@click.group(cls=LazyGroup, package="muniment_log.cli", places=_COMMANDS)
@click.version_option(__version__)
def main() -> None:
    """Run a transparency log of authorization decisions."""


def program() -> None:
    """What the installed command runs."""
    from muniment_log.cli.ending import end_with  # noqa: PLC0415

    end_with(main)
