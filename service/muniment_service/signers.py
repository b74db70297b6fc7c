"""The signing keys that a service's configuration names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from muniment.local.keyfiles import asking, is_encrypted, read_key_file
from muniment.local.privatefiles import read_secret
from muniment.tlog.cosignature import Use, signer_for
from muniment.tlog.keys.remote import RemoteKey
from muniment.tlog.note import Signer
from muniment_service.config import config_error, config_key

_CHANGE: Final[Mapping[Use, str]] = {
    "log": "`muniment-log rotate-key` and a restart",
    "witness": "`muniment-witness rotate-key` and a restart",
    "gateway": "`muniment-gateway rotate-key` and a restart",
    "authority": "a restart, when gateways and runtimes know the new one",
}


def read_signers(
    config: Path,
    *,
    name: str,
    keys: Sequence[Path],
    passphrase_file: Path | None,
    use: Use,
    table: str = "",
) -> tuple[Signer, ...]:
    """Reads the key files of the members `keys` and `key_passphrase_file`, in their order.

    Raises ConfigError if a file cannot be used, its vkey line is another key's, it holds a key that
    another one holds, or it refers to a key whose keeper does not sign.

    Args:
        config: The configuration file, for messages.
        name: The key name that each must sign with.
        keys: The key files.
        passphrase_file: Holds the passphrase of those that are encrypted; without it the
            terminal is asked, if there is one.
        use: What signs.
        table: The beginning of the members' names where they are in a table, with its dot.
    """
    passphrase, ask = None, asking()
    if passphrase_file is not None:
        with config_key(config, f"{table}key_passphrase_file"):
            passphrase = read_secret(passphrase_file, "passphrase")
    signers: list[Signer] = []
    for number, path in enumerate(keys):
        key = f"{table}keys[{number}]"
        with config_key(config, key):
            file = read_key_file(path, passphrase, ask=ask)
            if isinstance(file.private, RemoteKey):
                file.private.check()
            signer = signer_for(name, file.private, use=use)
        if file.vkey is not None and file.vkey != signer.vkey:
            config_error(config, key, f"{path}: the key of {file.vkey.name}, not of {name}")
        if any(signer.vkey == known.vkey for known in signers):
            config_error(config, key, f"{path}: the same key twice")
        signers.append(signer)
    return tuple(signers)


def check_signers(
    config: Path,
    now: Sequence[Signer],
    *,
    keys: Sequence[Path],
    passphrase_file: Path | None,
    use: Use,
) -> None:
    """Reads the key files of a running service again: they must open, and hold its keys in force.

    Files whose passphrase was typed at the start are not opened again. Raises ConfigError if a file
    cannot be used, or holds another key.
    """
    if passphrase_file is None:
        with config_key(config, "keys"):
            if any(map(is_encrypted, keys)):
                return
    if not now and not keys:
        return  # a service that signs under another table's name
    name = now[0].vkey.name
    found = read_signers(config, name=name, keys=keys, passphrase_file=passphrase_file, use=use)
    if {signer.vkey for signer in found} != {signer.vkey for signer in now}:
        config_error(
            config,
            "keys",
            "a file holds another key than the one in force: own keys are changed by "
            + _CHANGE[use],
        )
