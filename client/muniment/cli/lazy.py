"""Groups of commands that are imported when they run.

Most calls of a command are short, and none should wait for what the others import.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from muniment.local.collecting import not_collecting

Places = Mapping[str, tuple[str, str, str]]
"""By name: the module within the package, the command's name there, one line for the overview."""


class LazyGroup(click.Group):
    """A group that knows the names of its commands, and imports the one that is asked for."""

    def __init__(self, *args: Any, package: str, places: Places, **settings: Any) -> None:
        """Takes what click takes, and where the commands are.

        Args:
            args: click's.
            package: which all modules of the commands are in.
            places: the commands, in the order of the overview.
            settings: click's.
        """
        super().__init__(*args, **settings)
        self.context_settings.setdefault("help_option_names", ["-h", "--help"])
        self._package = package
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in order."""
        del ctx
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command."""
        del ctx
        if cmd_name not in self._places:
            return None
        module, attribute, _ = self._places[cmd_name]
        with not_collecting():
            command = getattr(importlib.import_module(f"{self._package}.{module}"), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - the table is wrong
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the overview without importing a command."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, _, words) in self._places.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Completes names and options without importing a command: it is waited for."""
        names = [
            CompletionItem(name, help=words)
            for name, (_, _, words) in self._places.items()
            if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]
