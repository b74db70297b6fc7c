"""Commands about the logs of a witness, which a running one takes up."""

from pathlib import Path

import click

from muniment.local.vkeyfile import read_vkeys
from muniment_witness.cli import admin
from muniment_witness.cli.common import CONFIG, failing_on_config, reload_running


@click.command("add-log")
@CONFIG
@click.argument("vkeys", metavar="VKEY|FILE…", nargs=-1, required=True)
@click.option("--origin", help="Its origin, when that is not the name of its keys.")
@click.option("--url", help="Where its checkpoint and tiles are read.")
@click.option("--cosign-pulled", is_flag=True, help="Also cosign the heads that are read.")
def add_log(
    config: Path,
    vkeys: tuple[str, ...],
    origin: str | None,
    url: str | None,
    *,
    cosign_pulled: bool,
) -> None:
    """Add a log, with all VKEYs that it signs with, or a FILE of them, to the configuration."""
    with failing_on_config():
        keys = [str(vkey) for vkey in read_vkeys("VKEY", vkeys)]
        added = admin.add_log(config, keys, url, cosign=cosign_pulled, origin=origin)
        click.echo(f"added {added}; {reload_running(config)}")


@click.command("remove-log")
@CONFIG
@click.argument("origin")
def remove_log(config: Path, origin: str) -> None:
    """Remove a log from the configuration; what was cosigned of it stays readable."""
    with failing_on_config():
        admin.remove_log(config, origin)
        click.echo(f"removed {origin}; {reload_running(config)}")


@click.command()
@CONFIG
@click.argument("origin")
@click.option("--evidence", required=True, metavar="HASH", help="Hash of the evidence, in hex.")
def acknowledge(config: Path, origin: str, evidence: str) -> None:
    """Cosign ORIGIN again in spite of evidence; all open evidence must be acknowledged."""
    with failing_on_config():
        admin.acknowledge(config, origin, evidence.lower())
        click.echo(f"acknowledged; {reload_running(config)}")


@click.command("reload")
@CONFIG
def reload_command(config: Path) -> None:
    """Have the running witness take up its configuration, and the files that this names.

    Logs, peers, read tokens, [outgoing] with its CAs and certificate. Own keys and [tls] are read
    again, too. When anything cannot be used, or has changed that takes a restart, it is refused as
    a whole, and what was in force stays.
    """
    with failing_on_config():
        click.echo(reload_running(config))
