"""Key files on disk (PKCS#8 PEM, see `tlog.keys`): private modes, never overwritten."""

import os
import sys
from collections.abc import Callable
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from muniment.local.privatefiles import read_private, read_secret
from muniment.local.regularfile import sync_names
from muniment.tlog.encoding import FormatError, MunimentError
from muniment.tlog.keys import keyfile as keys
from muniment.tlog.keys.keyfile import MAX_KEY_FILE_SIZE, KeyFile, format_key_file, parse_key_file
from muniment.tlog.keys.reference import (
    KeyReference,
    format_reference,
    is_reference,
    parse_reference,
)

if TYPE_CHECKING:
    from muniment.tlog.keys.foreign import ForeignKey

MIN_PASSPHRASE: Final = 16
"""Shortest passphrase of a new key, in bytes. The library derives the encryption key with 2,048
rounds of PBKDF2 and lets nobody ask for more, so guessing is cheap: length must make up for it."""

_MODE: Final = 0o600


def read_key_file(
    path: Path, passphrase: bytes | None = None, *, ask: Callable[[Path], bytes] | None = None
) -> KeyFile:
    """Reads a private key from a regular file, or a link to one, that only its owner can read.

    A reference file (`tlog.keys.reference`) stands for a key that somebody else keeps; they are not
    asked before something is signed.

    ``ask`` is asked for the passphrase when the key is encrypted and none, or an empty one, was
    given.

    Raises:
        FormatError: If the content is not a key file, or the passphrase is wrong.
        MunimentError: If the file cannot be read, or others could read it. Messages name the
            path and tell nothing of the content.
    """
    data = read_private(path, "private key", most=MAX_KEY_FILE_SIZE)
    try:
        if is_reference(data):
            # Only where a key is kept elsewhere: every service and command comes through here.
            from muniment.local.remotekeys import open_remote  # noqa: PLC0415

            reference = parse_reference(data)
            return KeyFile(open_remote(reference), reference.vkey)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None
    if ask is not None and not passphrase and keys.is_encrypted(data):
        passphrase = ask(path)
    try:
        return parse_key_file(data, passphrase)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None


def read_foreign_key(
    path: Path,
    algorithm: keys.Algorithm,
    passphrase: bytes | None = None,
    *,
    ask: Callable[[Path], bytes] | None = None,
) -> "ForeignKey":
    """Reads a private key as another tool wrote it; see `tlog.keys`, and `read_key_file`.

    ``algorithm`` is that of a key that does not tell: a seed.
    """
    from muniment.tlog.keys import foreign as foreignkeys  # noqa: PLC0415  # by hand, once a key

    data = read_private(path, "private key", most=MAX_KEY_FILE_SIZE)
    try:
        if ask is not None and not passphrase and foreignkeys.is_encrypted(data):
            passphrase = ask(path)
        return foreignkeys.parse_foreign_key(data, passphrase, algorithm)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None


def write_key_file(path: Path, key: KeyFile, passphrase: bytes | None = None) -> None:
    """Writes a private key to a new file of mode 0600, durably; never replaces a file.

    A passphrase encrypts it; the vkey is in the file if the key has one.

    Raises:
        MunimentError: If the file exists or cannot be written; nothing is left behind then.
        ValueError: If the passphrase is empty or longer than the library takes.
    """
    _write_new(path, format_key_file(key.private, key.vkey, passphrase))


def write_reference(path: Path, reference: KeyReference) -> None:
    """Writes a reference file; as `write_key_file`, and FormatError if it cannot be written so."""
    _write_new(path, format_reference(reference))


def _write_new(path: Path, data: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    except FileExistsError:
        raise MunimentError(f"{path}: exists already; keys are never overwritten") from None
    except OSError as error:
        raise MunimentError(f"{path}: cannot write the key file: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        sync_names(path.parent)
    except OSError as error:
        # Half a key is of no use, and would stand in the way of the next attempt.
        path.unlink(missing_ok=True)
        raise MunimentError(f"{path}: cannot write the key file: {error.strerror}") from error


def is_encrypted(path: Path) -> bool:
    """Whether a key file is encrypted, which a reference is not; raises as `read_key_file`."""
    return keys.is_encrypted(read_private(path, "private key", most=MAX_KEY_FILE_SIZE))


def asking() -> Callable[[Path], bytes] | None:
    """Asks on the terminal, once for all keys of a service; None where there is no terminal."""
    if not sys.stdin.isatty():
        return None
    known: list[bytes] = []

    def ask(path: Path) -> bytes:
        if not known:
            known.append(getpass(f"Passphrase of {path}: ").encode())
        return known[0]

    return ask


def new_passphrase(path: Path | None) -> bytes | None:
    """Reads the passphrase that new keys shall be encrypted with; None without a file."""
    return None if path is None else check_passphrase(read_secret(path, "passphrase"))


def check_passphrase(passphrase: bytes) -> bytes:
    """Returns a passphrase that is good enough for a new key; an error for a short one."""
    if len(passphrase) < MIN_PASSPHRASE:
        raise MunimentError(f"the passphrase is shorter than {MIN_PASSPHRASE} bytes")
    return passphrase
