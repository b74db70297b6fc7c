"""Makes the folder of a new gateway: its key, and a commented gateway.toml."""

import asyncio
import os
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final

from muniment.http.urls import split_url
from muniment.tlog.encoding import MunimentError
from muniment.tlog.note import VKey
from muniment_gateway.config import load
from muniment_gateway.store.database import open_database
from muniment_service.folder import make_folder, quoted
from muniment_service.rotation import Own

CONFIG_NAME: Final = "gateway.toml"
AUTHORITY_NAME: Final = "authority.toml"

_NO_AUTHORITY: Final = """\
# [[authority]]
# name = "pdp"
# kind = "authzen"
# url = "http://127.0.0.1:3595"
"""


def init(
    folder: Path,
    *,
    name: str,
    listen: str,
    log: str,
    policy: Path,
    authorities: Sequence[str],
    passphrase_file: Path | None,
    passphrase: bytes | None,
) -> VKey:
    """Writes a key and gateway.toml into a folder, which is made when absent.

    Raises MunimentError if a file exists already or cannot be written, or something is malformed.

    Args:
        folder: The folder.
        name: The gateway's key name.
        listen: `host:port`.
        log: The log's base URL.
        policy: The tlog-policy file, which need not be there yet.
        authorities: Texts of `[[authority]]` tables, see `authority_table`.
        passphrase_file: Holds `passphrase`, to be named in the configuration.
        passphrase: Encrypts the key.
    """
    try:
        split_url(log)
    except ValueError as error:
        raise MunimentError(f"--log: {error}") from error
    (vkey,) = make_folder(
        folder / CONFIG_NAME,
        files("muniment_gateway.cli") / CONFIG_NAME,
        name=name,
        use="gateway",
        algorithms=("ed25519",),
        listen=listen,
        database="gateway.db",
        passphrase_file=passphrase_file,
        passphrase=passphrase,
        more={
            "log": quoted(log),
            "policy": quoted(_relative(policy, folder)),
            "authorities": "\n".join(authorities) or _NO_AUTHORITY,
        },
    )
    return vkey


def init_authority(
    folder: Path,
    *,
    name: str,
    listen: str,
    engine: str,
    passphrase_file: Path | None,
    passphrase: bytes | None,
) -> VKey:
    """Writes a key and authority.toml into a folder, as `init`; `engine` is a text, see below."""
    (vkey,) = make_folder(
        folder / AUTHORITY_NAME,
        files("muniment_gateway.cli") / AUTHORITY_NAME,
        name=name,
        use="authority",
        algorithms=("ed25519",),
        listen=listen,
        database="",
        passphrase_file=passphrase_file,
        passphrase=passphrase,
        more={"engine": engine},
    )
    return vkey


def authority_table(kind: str, value: str, folder: Path) -> str:
    """The `[[authority]]` of an option: a URL, or for Cedar a file of policies."""
    return f"[[authority]]\nname = {quoted(kind)}\n" + _engine(kind, value, folder)


def engine_table(kind: str, value: str, folder: Path) -> str:
    """The `[engine]` of an option, likewise."""
    return "[engine]\n" + _engine(kind, value, folder)


def _engine(kind: str, value: str, folder: Path) -> str:
    lines = [f"kind = {quoted(kind)}"]
    if kind == "cedar":
        lines.append(f"policies = [{quoted(_relative(Path(value), folder))}]")
    else:
        lines.append(f"url = {quoted(value)}")
    return "\n".join([*lines, ""])


def _relative(path: Path, folder: Path) -> str:
    """A path of the command line as the configuration has it: from its own folder."""
    return os.path.relpath(path, folder)


def own_keys(config: Path) -> Own:
    """The gateway's own keys, to add the one that is to follow, or to retire the one in force.

    Raises ConfigError if the configuration or a key cannot be used.
    """
    file = load(config).file

    async def commit_stopped(commit: Callable[[], None]) -> None:
        database = await open_database(file.database)  # is refused while the service runs
        try:
            commit()
        finally:
            await database.close()

    def record(keys: Sequence[VKey], changed: VKey, commit: Callable[[], None]) -> None:
        del keys, changed  # which one is in force, the log is told at the next start
        asyncio.run(commit_stopped(commit))

    return Own(
        config,
        name=file.name,
        use="gateway",
        keys=file.keys,
        passphrase_file=file.key_passphrase_file,
        check=load,
        recorded=lambda keys: {str(key) for key in keys},
        record=record,
    )
