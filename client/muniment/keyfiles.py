"""Key files on disk (PKCS#8 PEM, see `formats.keys`): private modes, never overwritten."""

import os
import stat
from pathlib import Path
from typing import Final

from muniment.formats.encoding import FormatError, MunimentError
from muniment.formats.keys import MAX_KEY_FILE_SIZE, KeyFile, format_key_file, parse_key_file

_MODE: Final = 0o600
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def read_key_file(path: Path, passphrase: bytes | None = None) -> KeyFile:
    """Reads a private key that only its owner can read.

    Args:
        path: A regular file, or a symbolic link to one, that gives group and others no right.
        passphrase: What decrypts the key; None (or empty) if it is not encrypted.

    Raises:
        FormatError: If the content is not a key file, or the passphrase is wrong.
        MunimentError: If the file cannot be read, or others could read it. Messages name the
            path and tell nothing of the content.
    """
    try:
        # Non-blocking, because opening a FIFO without a writer would wait for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            # The open file is asked, not the path, which may by now lead elsewhere.
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise MunimentError(f"{path}: not a regular file")
            if mode & _OTHERS:
                raise MunimentError(
                    f"{path}: group or others have rights on this private key "
                    f"(mode {stat.S_IMODE(mode):04o}); make it 0600"
                )
            data = file.read(MAX_KEY_FILE_SIZE + 1)
    except OSError as error:
        raise MunimentError(f"{path}: cannot read the key file: {error.strerror}") from None
    try:
        return parse_key_file(data, passphrase)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None


def write_key_file(path: Path, key: KeyFile, passphrase: bytes | None = None) -> None:
    """Writes a private key to a new file of mode 0600, durably; never replaces a file.

    Args:
        path: Where; its directory exists.
        key: The key, with its vkey if the file shall tell it.
        passphrase: Encrypts the key; None for no encryption.

    Raises:
        MunimentError: If the file exists or cannot be written; nothing is left behind then.
        ValueError: If the passphrase is empty or longer than the library takes.
    """
    data = format_key_file(key.private, key.vkey, passphrase)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    except FileExistsError:
        raise MunimentError(f"{path}: exists already; keys are never overwritten") from None
    except OSError as error:
        raise MunimentError(f"{path}: cannot write the key file: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _sync_directory(path.parent)
    except OSError as error:
        # Half a key is of no use, and would stand in the way of the next attempt.
        path.unlink(missing_ok=True)
        raise MunimentError(f"{path}: cannot write the key file: {error.strerror}") from None


def _sync_directory(path: Path) -> None:
    """Makes a new directory entry durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
