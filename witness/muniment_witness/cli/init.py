"""``muniment-witness init``."""

from pathlib import Path

import click

from muniment.local.keyfiles import new_passphrase
from muniment_witness.cli.common import PATH, failing_on_config
from muniment_witness.cli.mirror import (
    ALGORITHMS,
    with_algorithm,
    with_passphrase,
)
from muniment_witness.cli.setup import CONFIG_NAME, init


@click.command("init")
@click.argument("folder", metavar="DIR", type=PATH)
@click.option("--name", required=True, help="Key name, such as witness.example/w1.")
@click.option(
    "--log", "logs", multiple=True, metavar="VKEY|FILE", help="Public keys of a log; repeat."
)
@click.option("--listen", default="127.0.0.1:8101", show_default=True, help="host:port.")
@with_algorithm
@with_passphrase
@click.option("--mirror", is_flag=True, help="Make a mirror alone, which is no witness.")
def init_command(
    folder: Path,
    name: str,
    logs: tuple[str, ...],
    listen: str,
    algorithm: str,
    key_passphrase_file: Path | None,
    *,
    mirror: bool,
) -> None:
    """Write keys, a database and a commented witness.toml into DIR, and print the vkeys."""
    with failing_on_config():
        vkeys = init(
            folder,
            name=name,
            listen=listen,
            logs=logs,
            algorithms=ALGORITHMS[algorithm],
            passphrase_file=key_passphrase_file,
            passphrase=new_passphrase(key_passphrase_file),
            mirror=mirror,
        )
    for vkey in vkeys:
        click.echo(str(vkey))
    click.echo(f"wrote {folder / CONFIG_NAME}", err=True)
