"""``muniment keygen``."""

from pathlib import Path
from typing import Literal

import click

from muniment.cli.common import FILE
from muniment.errors import InputError, MunimentError


@click.command()
@click.option("--name", required=True, help="The key name: a URL without a scheme, as a rule.")
@click.option(
    "--use",
    type=click.Choice(["log", "witness", "gateway"]),
    required=True,
    help="What the key will sign; part of the vkey.",
)
@click.option(
    "--algorithm",
    type=click.Choice(["ed25519", "mldsa44"]),
    default="ed25519",
    show_default=True,
    help="Ed25519, or the post-quantum ML-DSA-44. Gateways need Ed25519.",
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
    use: Literal["log", "witness", "gateway"],
    algorithm: Literal["ed25519", "mldsa44"],
    out: Path,
    *,
    encrypt: bool,
    passphrase_file: Path | None,
) -> None:
    """Make a key in a new file that only you can read; print its public half, the vkey.

    The file is PKCS#8 in PEM. Give the vkey to those who shall verify the key's signatures.
    """
    from muniment.formats.cosignature import signer_for  # noqa: PLC0415 - imports cryptography
    from muniment.formats.keys import KeyFile, generate  # noqa: PLC0415
    from muniment.keyfiles import check_passphrase, new_passphrase, write_key_file  # noqa: PLC0415

    private = generate(algorithm)
    try:
        passphrase = new_passphrase(passphrase_file)
        if passphrase is None and encrypt:
            answer = click.prompt(
                "Passphrase", hide_input=True, confirmation_prompt="The same again", err=True
            )
            passphrase = check_passphrase(str(answer).encode())
        vkey = signer_for(name, private, use=use).vkey
        write_key_file(out, KeyFile(private, vkey), passphrase)
    except (MunimentError, ValueError) as error:
        raise InputError(str(error)) from None
    click.echo(str(vkey))
