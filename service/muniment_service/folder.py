"""Makes the folder of a new service: its keys, its database, and last of all its configuration."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

from muniment.local.keyfiles import write_key_file
from muniment.tlog.cosignature import signer_for
from muniment.tlog.encoding import MunimentError
from muniment.tlog.keys.keyfile import Algorithm, KeyFile, generate
from muniment.tlog.note import VKey
from muniment_service.config import Address


def make_folder(
    config: Path,
    configuration: Callable[[Sequence[str], Sequence[VKey]], str],
    *,
    name: str,
    use: Literal["log", "witness"],
    algorithms: Sequence[Algorithm],
    listen: str,
    passphrase: bytes | None,
    prepare: Callable[[Sequence[VKey]], object] = lambda _: None,
) -> tuple[VKey, ...]:
    """Writes a service's keys, database and configuration into a folder, made when absent.

    Args:
        config: Where the configuration shall be; its folder is the service's.
        configuration: Makes its text from the key files' names and their vkeys.
        name: The key name.
        use: What signs; also the beginning of the key files' names.
        algorithms: Which keys to make.
        listen: `host:port`, checked here so that no key is made in vain.
        passphrase: Encrypts the keys.
        prepare: Makes what belongs to the keys from their beginning: the database. Called with
            their vkeys before the configuration is written.

    Returns:
        The vkeys.

    Raises:
        MunimentError: A file exists already or cannot be written, or `listen` is malformed; or
            what `prepare` raises.
    """
    try:
        Address(listen)
    except ValueError as error:
        raise MunimentError(f"listen: {error}") from error
    if config.exists():
        raise MunimentError(f"{config}: exists already")
    folder = config.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MunimentError(f"{folder}: {error.strerror}") from error
    vkeys: list[VKey] = []
    files: list[str] = []
    for algorithm in algorithms:
        private = generate(algorithm)
        vkey = signer_for(name, private, use=use).vkey
        file = f"{use}-{algorithm}.pem"
        write_key_file(folder / file, KeyFile(private, vkey), passphrase)
        vkeys.append(vkey)
        files.append(file)
    prepare(vkeys)
    try:
        # Last and exclusively: a folder with a configuration is a complete one.
        with config.open("x", encoding="utf-8") as out:
            out.write(configuration(files, vkeys))
    except OSError as error:
        raise MunimentError(f"{config}: {error.strerror}") from error
    return tuple(vkeys)


TLS_COMMENTS: Final = (
    "# [tls]                  # serve https; renewed files are taken up without a restart",
    '# certificate = "server.crt"',
    '# key = "server.key"     # mode 0600',
    '# client_ca = "clients.pem"   # only clients with a certificate of these CAs get in',
    "",
    "# [outgoing]             # how others are connected to",
    '# ca = "ca.pem"          # the only CAs to believe, instead of the system\'s',
    '# certificate = "client.crt"',
    '# key = "client.key"',
    "",
)
"""The end of a new configuration: tables that both services have."""


def quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's, DEL apart."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
