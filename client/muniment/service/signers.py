"""The signing keys that a service's configuration names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from muniment.formats.cosignature import signer_for
from muniment.formats.note import Signer
from muniment.keyfiles import asking, read_key_file
from muniment.privatefiles import read_secret
from muniment.service.config import config_error, config_key


def read_signers(
    config: Path,
    *,
    name: str,
    keys: Sequence[Path],
    passphrase_file: Path | None,
    use: Literal["log", "witness"],
) -> tuple[Signer, ...]:
    """Reads the key files of the members `keys` and `key_passphrase_file`.

    Args:
        config: The configuration file, for messages.
        name: The key name that each must sign with.
        keys: The key files.
        passphrase_file: Holds the passphrase of those that are encrypted; without it the
            terminal is asked, if there is one.
        use: What signs.

    Returns:
        Their signers, in the configuration's order.

    Raises:
        ConfigError: A file cannot be used, its vkey line is another key's, or it holds a key that
            another one holds.
    """
    passphrase, ask = None, asking()
    if passphrase_file is not None:
        with config_key(config, "key_passphrase_file"):
            passphrase = read_secret(passphrase_file, "passphrase")
    signers: list[Signer] = []
    for number, path in enumerate(keys):
        key = f"keys[{number}]"
        with config_key(config, key):
            file = read_key_file(path, passphrase, ask=ask)
            signer = signer_for(name, file.private, use=use)
        if file.vkey is not None and file.vkey != signer.vkey:
            config_error(config, key, f"{path}: the key of {file.vkey.name}, not of {name}")
        if any(signer.vkey == known.vkey for known in signers):
            config_error(config, key, f"{path}: the same key twice")
        signers.append(signer)
    return tuple(signers)
