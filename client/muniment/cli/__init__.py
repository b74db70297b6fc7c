"""The command ``muniment``. Each command parses, calls one function, prints.

Results go to stdout, progress and errors to stderr. Commands are imported when they run: most
calls of ``muniment`` are short, and none should wait for the imports of the others.
"""

import importlib
import sys
from collections.abc import Mapping
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from muniment.cli.exits import INTERRUPTED, describe_exits, exit_code
from muniment.tlog.encoding import MunimentError

# name: (module, attribute, one line for the overview)
_COMMANDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "approve": ("approve", "approve", "Decide on calls that a gateway holds for a person."),
    "audit": ("audit", "audit", "Check a log from its checkpoint down to every leaf."),
    "disclose": ("disclose", "disclose", "Disclose a value that a log has a commitment to."),
    "evidence": ("evidence", "evidence", "Verify and explain evidence against a log, offline."),
    "explore": ("explore", "explore", "Look at a log in a browser, verified."),
    "export": ("export", "export", "Export a replica's records to a SIEM, a collector, a file."),
    "find": ("find", "find", "Find decisions by what they say."),
    "follow": ("follow", "follow", "Keep a verified replica of a log, to ask instead of it."),
    "keygen": ("keygen", "keygen", "Make a key; prints its public half, the vkey."),
    "lineage": ("lineage", "lineage", "Trace who allowed what, through every delegation."),
    "monitor": ("monitor", "monitor", "Compare what a log shows with what witnesses hold."),
    "permit": ("permit", "permit", "Say whether a runtime may do what it wants to do."),
    "policy": ("policy", "policy", "Explain trust policies; keep one in versions, over time."),
    "prove": ("prove", "prove", "Write a leaf's proof to a file that verifies offline."),
    "prove-complete": ("complete", "prove_complete", "Prove that an answer leaves nothing out."),
    "pseudonym": ("pseudonym", "pseudonym", "Print the pseudonym under which an id is logged."),
    "refresh": ("refresh", "refresh", "Add cosignatures that came later to a proof or permit."),
    "report": ("report", "report", "Write a report that stands alone, or make one again."),
    "revoke": ("revoke", "revoke", "Take an authorization back."),
    "spool": ("spool", "spool", "Deliver what gateways left; read and erase what they keep."),
    "submit": ("submit", "submit", "Log records, one JSON object a line, as a signed stream."),
    "tail": ("tail", "tail", "Show records as they come, live and verified."),
    "verify": ("verify", "verify", "Verify a proof, offline."),
}


class MunimentGroup(click.Group):
    """A group whose commands are imported on demand and whose errors are one line each."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in order."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"muniment.cli.{module}"), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - the table above is wrong
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the overview without importing a command."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, _, words) in _COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Completes names and options without importing a command: it is waited for."""
        names = [
            CompletionItem(name, help=words)
            for name, (_, _, words) in _COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; turns the errors it may raise into one line and an exit code."""
        try:
            return super().invoke(ctx)
        except MunimentError as error:
            fail(ctx, error)
        except KeyboardInterrupt:
            click.echo("muniment: interrupted", err=True)
            ctx.exit(INTERRUPTED)


def fail(ctx: click.Context, error: MunimentError) -> None:
    """Prints an error in one line and ends the command with its exit code."""
    words = " ".join(str(error).split())
    # Names and details come from files and from the network; a terminal must not obey them.
    click.echo(f"muniment: {''.join(c if c.isprintable() else '?' for c in words)}", err=True)
    ctx.exit(exit_code(error))


@click.group(
    cls=MunimentGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=describe_exits(),
)
@click.version_option(package_name="muniment", message="muniment %(version)s")
def cli() -> None:
    """A transparency log for authorization decisions: keys, gateway and auditor commands."""


def main() -> None:
    """The entry point ``muniment``."""
    # Names of policies are opaque octets; printing one must not end in a traceback.
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    cli(prog_name="muniment")


if __name__ == "__main__":
    main()
