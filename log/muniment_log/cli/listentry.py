"""``muniment-log list-entry``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from muniment.tlog.encoding import FormatError
from muniment.tlog.loglist import MAX_PER_DAY, ListedLog
from muniment_log.cli.exits import failing
from muniment_log.cli.options import CONFIG
from muniment_log.config import load
from muniment_service.exits import EXIT_CONFIG

if TYPE_CHECKING:
    from pathlib import Path

PER_DAY = 86_400
"""Once a second: what the public network grants the busiest logs."""


@click.command("list-entry")
@CONFIG
@click.option(
    "--per-day",
    type=click.IntRange(1, MAX_PER_DAY),
    default=PER_DAY,
    show_default=True,
    help="How often the log will ask a witness.",
)
@click.option("--contact", help="How you are reached; `contact` of [outgoing] if not given.")
def list_entry(config: Path, per_day: int, contact: str | None) -> None:
    """Print this log's entry for a list from which witnesses learn of logs (C2SP tlog-list).

    A list has one key of a log, the Ed25519 one. Witnesses that take the log from it may be asked
    --per-day times a day: write them into the policy, and their rate into log.toml.
    """
    with failing(EXIT_CONFIG):
        loaded = load(config)
        reached = contact or loaded.file.outgoing.contact
        if reached is None:
            raise FormatError("say how you are reached: --contact, or contact in [outgoing]")
        vkey = loaded.signers[0].vkey
        entry = ListedLog(vkey, loaded.file.origin, per_day, reached)
    click.echo(entry.lines, nl=False)
