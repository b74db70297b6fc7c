"""``muniment keygen``."""

from pathlib import Path
from typing import Literal

import click
from click.core import ParameterSource

from muniment.cli.common import FILE
from muniment.errors import InputError, MunimentError
from muniment.local.keyfiles import (
    asking,
    check_passphrase,
    new_passphrase,
    read_foreign_key,
    write_key_file,
)
from muniment.local.memory import protect_memory
from muniment.local.privatefiles import read_secret
from muniment.tlog.cosignature import signer_for
from muniment.tlog.keys.keyfile import KeyFile, PrivateKey, algorithm_of, generate


@click.command()
@click.option("--name", required=True, help="The key name: a URL without a scheme, as a rule.")
@click.option(
    "--use",
    type=click.Choice(["log", "witness", "gateway", "approver"]),
    required=True,
    help="What the key will sign; part of the vkey.",
)
@click.option(
    "--algorithm",
    type=click.Choice(["ed25519", "mldsa44"]),
    default="ed25519",
    show_default=True,
    help="Ed25519, or the post-quantum ML-DSA-44. Gateways and approvers need Ed25519. With "
    "--from, what a seed is for; other keys tell it themselves.",
)
@click.option(
    "--from",
    "source",
    type=FILE,
    metavar="FILE",
    help="Take the private key of this file, which another tool made, instead of a new one.",
)
@click.option(
    "--from-passphrase-file",
    type=FILE,
    metavar="FILE",
    help="Decrypt that key with the first line of this file.",
)
@click.option("--out", type=FILE, required=True, metavar="FILE", help="The new key file.")
@click.option("--encrypt", is_flag=True, help="Ask for a passphrase and encrypt the key with it.")
@click.option(
    "--passphrase-file",
    type=FILE,
    metavar="FILE",
    help="Encrypt the key with the first line of this file.",
)
def keygen(
    name: str,
    use: Literal["log", "witness", "gateway", "approver"],
    algorithm: Literal["ed25519", "mldsa44"],
    source: Path | None,
    from_passphrase_file: Path | None,
    out: Path,
    *,
    encrypt: bool,
    passphrase_file: Path | None,
) -> None:
    """Make a key in a new file that only you can read; print its public half, the vkey.

    The file is PKCS#8 in PEM. Give the vkey to those who shall verify the key's signatures.

    With --from, the key is one that you have: PKCS#8 in PEM or DER (OpenSSL, BouncyCastle, ring,
    dalek), an OpenSSH private key, a note key of Go, or a seed of 32 bytes, as it is or in
    hexadecimal or base64. The file that it comes from stays as it is.
    """
    if from_passphrase_file is not None and source is None:
        raise InputError("--from-passphrase-file needs --from")
    try:
        if source is None:
            private, was_encrypted = generate(algorithm), False
        else:
            private, was_encrypted = _import(source, from_passphrase_file, name, algorithm)
        passphrase = new_passphrase(passphrase_file)
        if passphrase is None and encrypt:
            answer = click.prompt(
                "Passphrase", hide_input=True, confirmation_prompt="The same again", err=True
            )
            passphrase = check_passphrase(str(answer).encode())
        vkey = signer_for(name, private, use=use).vkey
        write_key_file(out, KeyFile(private, vkey), passphrase)
        if was_encrypted and passphrase is None:
            click.echo(f"muniment: {source} is encrypted, {out} is not (see --encrypt)", err=True)
    except (MunimentError, ValueError) as error:
        raise InputError(str(error)) from None
    click.echo(str(vkey))


def _import(
    source: Path, passphrase_file: Path | None, name: str, algorithm: Literal["ed25519", "mldsa44"]
) -> tuple[PrivateKey, bool]:
    """The private key that another tool keeps in a file, and whether it is encrypted there."""
    protect_memory()
    passphrase = None if passphrase_file is None else read_secret(passphrase_file, "passphrase")
    key = read_foreign_key(source, algorithm, passphrase, ask=asking())
    found = algorithm_of(key.private)
    asked = click.get_current_context().get_parameter_source("algorithm")
    if found != algorithm and asked != ParameterSource.DEFAULT:
        raise InputError(f"{source}: the key is for {found}, not for {algorithm}")
    if key.vkey is not None and key.vkey.name != name:
        click.echo(
            f"muniment: {source} names its key {key.vkey.name}; as {name} it has another vkey",
            err=True,
        )
    return key.private, key.was_encrypted
