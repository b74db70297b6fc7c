"""The command ``muniment``. Each command parses, calls one function, prints.

Results go to stdout, progress and errors to stderr. Commands are imported when they run.
"""

import sys
from typing import Any, Final

import click

from muniment import __version__
from muniment.cli.lazy import LazyGroup, Places
from muniment.local.collecting import end_without_collecting
from muniment.tlog.encoding import MunimentError, one_line

_COMMANDS: Final[Places] = {
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


class MunimentGroup(LazyGroup):
    """A group whose commands are imported on demand and whose errors are one line each."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the exit codes, which are imported when somebody reads them."""
        from muniment.cli.exits import describe_exits  # noqa: PLC0415

        self.epilog = describe_exits()
        super().format_epilog(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; turns the errors it may raise into one line and an exit code."""
        try:
            return super().invoke(ctx)
        except MunimentError as error:
            fail(ctx, error)
        except KeyboardInterrupt:
            from muniment.cli.exits import INTERRUPTED  # noqa: PLC0415  # as in `fail`

            click.echo("muniment: interrupted", err=True)
            ctx.exit(INTERRUPTED)


def fail(ctx: click.Context, error: MunimentError) -> None:
    """Prints an error in one line and ends the command with its exit code."""
    from muniment.cli.exits import advice, exit_code  # noqa: PLC0415  # what succeeds needs neither

    click.echo(f"muniment: {one_line(f'{error}{advice(error)}')}", err=True)
    ctx.exit(exit_code(error))


@click.group(
    cls=MunimentGroup,
    package="muniment.cli",
    places=_COMMANDS,
    context_settings={"max_content_width": 100},
)
@click.version_option(__version__, message="muniment %(version)s")
def cli() -> None:
    """A transparency log for authorization decisions: keys, gateway and auditor commands."""


def main() -> None:
    """The entry point ``muniment``."""
    # Names of policies are opaque octets; printing one must not end in a traceback.
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    end_without_collecting()
    cli(prog_name="muniment")


if __name__ == "__main__":
    main()
