"""``muniment-gateway init``."""

import socket
from pathlib import Path

import click

from muniment.local.keyfiles import new_passphrase
from muniment_gateway.cli.common import PASSPHRASE, PATH, engine_options, failing_on_config
from muniment_gateway.cli.setup import CONFIG_NAME, authority_table, init


@click.command("init")
@click.argument("folder", metavar="DIR", type=PATH)
@click.option("--name", help="Key name; gateway.example/<this host> without one.")
@click.option("--log", default="http://127.0.0.1:8100", show_default=True, help="The log's URL.")
@click.option(
    "--policy",
    type=PATH,
    default=Path("trust.policy"),
    show_default=True,
    help="The tlog-policy file: which log and witnesses are believed.",
)
@click.option("--listen", default="127.0.0.1:8110", show_default=True, help="host:port.")
@engine_options
@PASSPHRASE
def init_command(
    folder: Path,
    name: str | None,
    log: str,
    policy: Path,
    listen: str,
    key_passphrase_file: Path | None,
    **engines: str | None,
) -> None:
    """Write a key and a commented gateway.toml into DIR, and print the vkey for the log."""
    with failing_on_config():
        vkey = init(
            folder,
            name=name or f"gateway.example/{socket.gethostname()}",
            listen=listen,
            log=log,
            policy=policy,
            authorities=[
                authority_table(kind, value, folder) for kind, value in engines.items() if value
            ],
            passphrase_file=key_passphrase_file,
            passphrase=new_passphrase(key_passphrase_file),
        )
    click.echo(str(vkey))
    click.echo(f"wrote {folder / CONFIG_NAME}", err=True)
