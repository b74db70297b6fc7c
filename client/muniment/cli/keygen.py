"""``muniment keygen``."""

from pathlib import Path
from typing import Literal

import click
from click.core import ParameterSource

from muniment.cli.common import file_option
from muniment.errors import FormatError, InputError, MunimentError
from muniment.local.atomicfile import read_bounded
from muniment.local.keyfiles import (
    asking,
    check_passphrase,
    new_passphrase,
    read_foreign_key,
    write_key_file,
    write_reference,
)
from muniment.local.memory import protect_memory
from muniment.local.privatefiles import read_secret
from muniment.local.remotekeys import open_remote, parse_public, public_of
from muniment.tlog.cosignature import Use, signer_for
from muniment.tlog.keys.keyfile import (
    MAX_KEY_FILE_SIZE,
    KeyFile,
    PrivateKey,
    algorithm_of,
    generate,
)
from muniment.tlog.keys.reference import KeyReference
from muniment.tlog.note import COSIGNATURE_ED25519, ED25519, VKey


@click.command()
@click.option("--name", required=True, help="The key name: a URL without a scheme, as a rule.")
@click.option(
    "--use",
    type=click.Choice(["log", "witness", "gateway", "authority", "approver", "root"]),
    required=True,
    help="What the key will sign; part of the vkey.",
)
@click.option(
    "--algorithm",
    type=click.Choice(["ed25519", "mldsa44"]),
    default="ed25519",
    show_default=True,
    help="Ed25519, or the post-quantum ML-DSA-44, which only logs and witnesses can have. With "
    "--from, what a seed is for; other keys tell it themselves.",
)
@file_option(
    "--from",
    "source",
    words="Take the private key of this file, which another tool made, instead of a new one.",
)
@file_option("--from-passphrase-file", words="Decrypt that key with the first line of this file.")
@click.option(
    "--signer",
    metavar="WHO",
    help="Who keeps the key, instead of a new one: exec:COMMAND, agent:FINGERPRINT (ssh-agent) or "
    "a pkcs11: URI. The new file then refers to it.",
)
@file_option(
    "--public",
    "public_path",
    words="The public half of the key that a command signs with: PEM, OpenSSH or base64.",
)
@file_option("--out", words="The new key file.", required=True)
@click.option("--encrypt", is_flag=True, help="Ask for a passphrase and encrypt the key with it.")
@file_option("--passphrase-file", words="Encrypt the key with the first line of this file.")
def keygen(
    name: str,
    use: Use,
    algorithm: Literal["ed25519", "mldsa44"],
    source: Path | None,
    from_passphrase_file: Path | None,
    signer: str | None,
    public_path: Path | None,
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

    With --signer, the key is one that a command, ssh-agent or a PKCS#11 token keeps. The file says
    who, and stands wherever a key file does; the key is tried once. A command gets what it signs on
    its stdin, and writes the Ed25519 signature to its stdout, as 64 bytes or in base64.
    """
    if from_passphrase_file is not None and source is None:
        raise InputError("--from-passphrase-file needs --from")
    if signer is None and public_path is not None:
        raise InputError("--public needs --signer")
    if signer is not None and (source is not None or encrypt or passphrase_file is not None):
        raise InputError("--signer: the file holds no key to import or encrypt")
    if signer is not None and algorithm != "ed25519":
        raise InputError("--signer: only Ed25519 keys can be kept elsewhere")
    try:
        if signer is not None:
            click.echo(str(_refer(signer, public_path, name, use, out)))
            return
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


def _refer(signer: str, public_path: Path | None, name: str, use: Use, out: Path) -> VKey:
    """Writes a file that refers to a key that somebody else keeps, and returns its vkey."""
    if public_path is None:
        public = public_of(signer)
    else:
        try:
            public = parse_public(read_bounded(public_path, "public key", most=MAX_KEY_FILE_SIZE))
        except FormatError as error:
            raise InputError(f"{public_path}: {error}") from None
    algorithm = COSIGNATURE_ED25519 if use == "witness" else ED25519
    reference = KeyReference(signer, VKey.of(name, algorithm, public))
    open_remote(reference).check()
    write_reference(out, reference)
    return reference.vkey


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
