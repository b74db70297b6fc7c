"""The command `muniment-witness`; what it ends with is in exits.py.

Commands are imported when they run.
"""

from typing import Final

import click

from muniment import __version__
from muniment.cli.lazy import LazyGroup, Places

_COMMANDS: Final[Places] = {
    "acknowledge": ("logs", "acknowledge", "Cosign a log again in spite of evidence."),
    "add-log": ("logs", "add_log", "Add a log to the configuration."),
    "add-mirror": ("mirror", "add_mirror_command", "Have the witness keep copies of logs, too."),
    "backup": ("database", "backup_command", "Copy the database, also while the witness runs."),
    "bastion-key": ("keys", "bastion_key", "Print the hash by which bastions know a key."),
    "check": ("database", "check_command", "Check the database, and that of the mirror."),
    "declare-new": (
        "database",
        "declare_new_command",
        "Declare that nothing was signed.",
    ),
    "export": ("queries", "export_command", "Write what a witness holds into a folder."),
    "feed": ("queries", "feed", "Have a witness cosign what a log shows."),
    "init": ("init", "init_command", "Make a new witness: keys, database, witness.toml."),
    "new-database": ("database", "new_database", "Make a new database: the old one is lost."),
    "new-mirror-database": ("mirror", "new_mirror_database", "Make a new one for the mirror."),
    "reload": ("logs", "reload_command", "Have the running witness take up its configuration."),
    "remove-log": ("logs", "remove_log", "Remove a log from the configuration."),
    "rotate-key": ("keys", "rotate_key", "Add and remove keys of a log, or own ones."),
    "serve": ("serve", "serve", "Serve until SIGTERM."),
    "status": ("queries", "status", "Print what a witness holds, and its alarms."),
    "vkeys": ("keys", "vkeys_command", "Print the public keys of the witness."),
}


@click.group(cls=LazyGroup, package="muniment_witness.cli", places=_COMMANDS)
@click.version_option(__version__)
def main() -> None:
    """Run a witness: it cosigns the checkpoints of transparency logs that only ever append."""
