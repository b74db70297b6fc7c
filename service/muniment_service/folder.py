"""Makes the folder of a new service: its keys, its database, and last of all its configuration."""

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Final

from muniment.local.keyfiles import write_key_file
from muniment.tlog.cosignature import Use, signer_for
from muniment.tlog.encoding import MunimentError
from muniment.tlog.keys.keyfile import Algorithm, KeyFile, generate
from muniment.tlog.note import VKey
from muniment_service.config import Address


def make_folder(
    config: Path,
    template: Traversable,
    *,
    name: str,
    use: Use,
    algorithms: Sequence[Algorithm],
    listen: str,
    database: str,
    passphrase_file: Path | None,
    passphrase: bytes | None,
    more: Mapping[str, str] | None = None,
    prepare: Callable[[Sequence[VKey]], object] = lambda _: None,
    stem: str | None = None,
) -> tuple[VKey, ...]:
    """Writes a service's keys, database and configuration into a folder, made when absent.

    Raises MunimentError if a file exists already or cannot be written, or `listen` is malformed; or
    what `prepare` raises.

    Args:
        config: Where the configuration shall be; its folder is the service's.
        template: Its text, with `$name`, `$listen`, `$database`, `$vkeys`, `$keys`,
            `$passphrase_file` and `$tls` where these go.
        name: The key name.
        use: What signs.
        algorithms: Which keys to make.
        listen: `host:port`, checked here so that no key is made in vain.
        database: The file's name.
        passphrase_file: File that holds `passphrase`, to be named in the configuration.
        passphrase: Encrypts the keys.
        more: Other texts for the template.
        prepare: Makes what belongs to the keys from their beginning: the database. Called with
            their vkeys before the configuration is written.
        stem: The beginning of the key files' names; `use` if not given.
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
    vkeys, files = make_keys(
        folder,
        name=name,
        use=use,
        algorithms=algorithms,
        passphrase=passphrase,
        stem=stem or use,
    )
    prepare(vkeys)
    text = Template(template.read_text("utf-8")).substitute(
        more or {},
        name=quoted(name),
        listen=quoted(listen),
        database=quoted(database),
        # A post-quantum vkey is 1,800 characters: name and key ID say which it is.
        vkeys="\n".join(f"#   {vkey.name}+{vkey.key_id:08x}+…" for vkey in vkeys),
        keys=f"[{', '.join(map(quoted, files))}]",
        passphrase_file='# key_passphrase_file = "passphrase"   # for encrypted keys'
        if passphrase_file is None
        else f"key_passphrase_file = {quoted(str(passphrase_file.resolve()))}",
        tls=_TLS,
    )
    try:
        # Last and exclusively: a folder with a configuration is a complete one.
        with config.open("x", encoding="utf-8") as out:
            out.write(text.rstrip("\n") + "\n")
    except OSError as error:
        raise MunimentError(f"{config}: {error.strerror}") from error
    return vkeys


def make_keys(
    folder: Path,
    *,
    name: str,
    use: Use,
    algorithms: Sequence[Algorithm],
    passphrase: bytes | None,
    stem: str,
) -> tuple[tuple[VKey, ...], list[str]]:
    """Makes keys of one name, and gives their vkeys and files, `<stem>-<algorithm>.pem`.

    `passphrase` encrypts them. Raises MunimentError if a file exists already, or cannot be written.
    """
    vkeys: list[VKey] = []
    files: list[str] = []
    for algorithm in algorithms:
        private = generate(algorithm)
        vkey = signer_for(name, private, use=use).vkey
        file = f"{stem}-{algorithm}.pem"
        write_key_file(folder / file, KeyFile(private, vkey), passphrase)
        vkeys.append(vkey)
        files.append(file)
    return tuple(vkeys), files


_TLS: Final = """\
# [tls]                  # serve https; renewed files are taken up without a restart
# certificate = "server.crt"
# key = "server.key"     # mode 0600
# client_ca = "clients.pem"   # only clients with a certificate of these CAs get in

# [outgoing]             # how others are connected to
# ca = "ca.pem"          # the only CAs to believe, instead of the system's
# certificate = "client.crt"
# key = "client.key"\
"""
"""The end of a new configuration: tables that both services have."""


def quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's, DEL apart."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
