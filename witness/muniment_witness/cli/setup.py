"""Makes the folder of a new witness: keys, the database, and a commented witness.toml."""

import asyncio
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final

from muniment.tlog.encoding import MunimentError
from muniment.tlog.keys.keyfile import Algorithm
from muniment.tlog.note import VKey, parse_vkey
from muniment_service.folder import make_folder, quoted
from muniment_witness.store.database import create

CONFIG_NAME: Final = "witness.toml"
DATABASE_NAME: Final = "witness.db"

_NO_LOG: Final = '# [[log]]\n# vkeys = ["log.example/decisions+..."]\n'


def init(
    folder: Path,
    *,
    name: str,
    listen: str,
    logs: Sequence[str],
    algorithms: Sequence[Algorithm],
    passphrase_file: Path | None,
    passphrase: bytes | None,
) -> tuple[VKey, ...]:
    """Writes keys, their database and witness.toml into a folder, which is made when absent.

    Those of `logs` (vkeys) that have one name become one log. `passphrase` encrypts the keys; the
    configuration names the file that holds it. Gives the vkeys of the witness. Raises MunimentError
    if a file exists already or cannot be written, or a vkey or `listen` is malformed.
    """
    entries: dict[str, list[str]] = {}
    for number, text in enumerate(logs):
        entries.setdefault(parse_vkey(text, f"log {number + 1}").name, []).append(text)
    database = folder / DATABASE_NAME
    if database.exists():
        raise MunimentError(f"{database}: exists already")
    return make_folder(
        folder / CONFIG_NAME,
        files("muniment_witness.cli") / CONFIG_NAME,
        name=name,
        use="witness",
        algorithms=algorithms,
        listen=listen,
        database=DATABASE_NAME,
        passphrase_file=passphrase_file,
        passphrase=passphrase,
        more={
            "logs": "".join(map(_log, entries.values())),
            "no_log": "" if entries else _NO_LOG,
        },
        prepare=lambda vkeys: asyncio.run(create(database, vkeys, "init")),
    )


def _log(vkeys: Sequence[str]) -> str:
    return "\n".join(
        ["[[log]]", "vkeys = [", *(f"    {quoted(vkey)}," for vkey in vkeys), "]", "", ""]
    )
