"""``muniment-gateway original``."""

import sys
from pathlib import Path

import click

from muniment_gateway.cli.common import CONFIG, failing_on_config
from muniment_gateway.cli.exits import fail
from muniment_gateway.config import GatewayFile
from muniment_gateway.store.originals import read_original
from muniment_service.config import load_config
from muniment_service.exits import EXIT_FAILED


@click.command()
@CONFIG
@click.argument("digest", metavar="SHA256")
def original(config: Path, digest: str) -> None:
    """Print what an OPA has uploaded, of which a record has the SHA-256 instead."""
    try:
        wanted = bytes.fromhex(digest.removeprefix("sha256:"))
    except ValueError:
        raise click.BadParameter("expected hexadecimal digits", param_hint="SHA256") from None
    with failing_on_config():
        found = read_original(load_config(config, GatewayFile).database, wanted)
    if found is None:
        fail(EXIT_FAILED, f"{digest}: nothing of that digest is kept")
    sys.stdout.buffer.write(found)
