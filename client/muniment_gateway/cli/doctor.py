"""``muniment-gateway doctor``."""

import asyncio
import sys
from pathlib import Path

import click

from muniment.tlog.encoding import one_line
from muniment_gateway.app.doctor import examine
from muniment_gateway.cli.common import CONFIG, failing_on_config
from muniment_gateway.cli.exits import EXIT_UNWELL
from muniment_gateway.config import GatewayConfig, load


@click.command()
@CONFIG
def doctor(config: Path) -> None:
    """Check log, witnesses, engines, key, clocks and files, and say what is wrong; exit code 8."""
    with failing_on_config():
        loaded = load(config)

    async def work(of: GatewayConfig) -> bool:
        unwell = False
        async for finding in examine(of):
            if finding.wrong:
                unwell = True
            word = "wrong" if finding.wrong else "ok   "
            said = one_line(finding.wrong or finding.seen)
            click.echo(f"{word}  {finding.subject}: {said}")
        return unwell

    with failing_on_config():
        if asyncio.run(work(loaded)):
            sys.exit(EXIT_UNWELL)
