"""``muniment-gateway vkey`` and ``rotate-key``."""

from pathlib import Path

import click

from muniment.tlog.encoding import MunimentError
from muniment_gateway.cli.common import CONFIG, PATH, failing_on_config
from muniment_gateway.cli.exits import fail
from muniment_gateway.cli.setup import own_keys
from muniment_gateway.config import load
from muniment_service.exits import code_of


@click.command("vkey")
@CONFIG
def vkey_command(config: Path) -> None:
    """Print the gateway's public key, which the log has to know."""
    with failing_on_config():
        loaded = load(config)
    click.echo(str(loaded.signer.vkey))


@click.command("rotate-key")
@CONFIG
@click.option("--add", is_flag=True, help="Make the key that is to follow; prints its vkey.")
@click.option("--key", "key_path", type=PATH, help="The key of this file is to follow.")
@click.option("--retire", metavar="KEYID", help="Sign no more with this key, but with the other.")
def rotate_key(config: Path, *, add: bool, key_path: Path | None, retire: str | None) -> None:
    """Change the gateway's key, in two steps, while the gateway is stopped.

    It signs with the first of its keys. Add the new one, start the gateway, have the log take the
    new vkey up beside the old one, and then retire the old one. Its file stays. The change is
    logged when the gateway starts, by the new key.
    """
    if [add, key_path is not None, retire is not None].count(True) != 1:
        raise click.UsageError("either --add, --key or --retire")
    try:
        own = own_keys(config)
        if retire is not None:
            own.retire(retire)
        else:
            if len(own.vkeys) > 1:
                raise MunimentError(f"{own.vkeys[1]} is to follow already: retire the one in force")
            click.echo(str(own.add("ed25519") if key_path is None else own.take_up(key_path)))
    except (MunimentError, OSError) as error:
        fail(code_of(error), error)
    click.echo("changed; start the gateway again", err=True)
