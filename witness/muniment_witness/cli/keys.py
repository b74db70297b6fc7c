"""Commands about keys: those of the witness, and those of logs."""

from pathlib import Path

import click

from muniment.local.keyfiles import write_key_file
from muniment.local.vkeyfile import read_vkeys
from muniment.tlog.keys.keyfile import Algorithm, KeyFile, generate
from muniment_witness.bastion.table import hash_of
from muniment_witness.cli import admin
from muniment_witness.cli.common import CONFIG, PATH, failing_on_config, reload_running
from muniment_witness.cli.mirror import (
    mirror_of,
)
from muniment_witness.config import load


@click.command("vkeys")
@CONFIG
@click.option("--mirror", is_flag=True, help="Those of its mirror.")
def vkeys_command(config: Path, *, mirror: bool) -> None:
    """Print the public keys of the witness, one vkey a line."""
    with failing_on_config():
        loaded = load(config)
        signers = mirror_of(loaded).signers if mirror else loaded.signers
    for signer in signers:
        click.echo(str(signer.vkey))


@click.command("rotate-key")
@CONFIG
@click.argument("origin", required=False)
@click.option("--add", multiple=True, metavar="VKEY|FILE", help="New key of the log; repeat.")
@click.option(
    "--remove", multiple=True, metavar="VKEY|FILE", help="Key that the log gave up; repeat."
)
@click.option("--own", type=click.Choice(["ed25519", "mldsa44"]), help="Make another own key.")
@click.option("--key", "key_path", type=PATH, help="Take up the key of this file as an own one.")
@click.option("--retire", metavar="KEYID", help="Sign no more with this own key.")
def rotate_key(
    config: Path,
    origin: str | None,
    add: tuple[str, ...],
    remove: tuple[str, ...],
    own: Algorithm | None,
    key_path: Path | None,
    retire: str | None,
) -> None:
    """Add and remove keys of the log ORIGIN, or own keys of the witness.

    While an old and a new key are both listed, either counts: add the new one, wait until nobody
    needs the old one, remove it. Own keys change while the witness is stopped; --own and --key
    print the vkey of the new one.
    """
    of_log = origin is not None and (add or remove)
    chosen = [bool(of_log), own is not None, key_path is not None, retire is not None]
    if chosen.count(True) != 1 or ((origin is not None or add or remove) and not of_log):
        raise click.UsageError(
            "either ORIGIN with --add or --remove, or --own, or --key, or --retire"
        )
    with failing_on_config():
        if own is not None:
            click.echo(str(admin.own_keys(config).add(own)))
        elif key_path is not None:
            click.echo(str(admin.own_keys(config).take_up(key_path)))
        elif retire is not None:
            admin.own_keys(config).retire(retire)
        elif origin is not None:
            new, old = read_vkeys("--add", add), read_vkeys("--remove", remove)
            admin.rotate_log_key(config, origin, list(map(str, new)), list(map(str, old)))
        result = "start the witness" if origin is None else reload_running(config)
        click.echo(f"changed; {result}", err=True)


@click.command("bastion-key")
@click.argument("file", type=PATH)
def bastion_key(file: Path) -> None:
    """Print the hash by which bastions know the Ed25519 key of FILE, which is made if absent.

    A bastion's operator allows it; it is also the first part of the path at which logs reach a
    witness through the bastion.
    """
    with failing_on_config():
        if not file.exists():
            write_key_file(file, KeyFile(generate("ed25519"), None))
            click.echo(f"wrote {file}", err=True)
        click.echo(hash_of(file))
