"""Makes the folder of a new witness, or of a mirror alone: keys, databases, a commented file."""

import asyncio
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final

from muniment.local.vkeyfile import read_vkeys
from muniment.tlog.encoding import MunimentError
from muniment.tlog.keys.keyfile import Algorithm
from muniment.tlog.note import VKey
from muniment_service.folder import make_folder, quoted
from muniment_witness.store.database import create
from muniment_witness.store.mirrordb import create_mirror

CONFIG_NAME: Final = "witness.toml"
DATABASE_NAME: Final = "witness.db"
MIRROR_NAME: Final = "mirror.db"

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
    mirror: bool = False,
) -> tuple[VKey, ...]:
    """Writes keys, their database and witness.toml into a folder, which is made when absent.

    With `mirror` it is that of a mirror alone. Those of `logs` (vkeys, or files of them) that have
    one name become one log. `passphrase` encrypts the keys; the configuration names the file that
    holds it. Gives the vkeys. Raises MunimentError if a file exists already or cannot be written,
    or a vkey or `listen` is malformed.
    """
    entries: dict[str, list[str]] = {}
    for vkey in read_vkeys("--log", logs):
        entries.setdefault(vkey.name, []).append(str(vkey))
    database, copies = folder / DATABASE_NAME, folder / MIRROR_NAME
    for file in (database, copies) if mirror else (database,):
        if file.exists():
            raise MunimentError(f"{file}: exists already")

    async def prepare(vkeys: Sequence[VKey]) -> None:
        await create(database, vkeys, "init")
        if mirror:
            await create_mirror(copies, vkeys)

    return make_folder(
        folder / CONFIG_NAME,
        files("muniment_witness.cli") / ("mirror.toml" if mirror else CONFIG_NAME),
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
            "copies": quoted(MIRROR_NAME),
        },
        prepare=lambda vkeys: asyncio.run(prepare(vkeys)),
        stem="mirror" if mirror else None,
    )


def _log(vkeys: Sequence[str]) -> str:
    return "\n".join(
        ["[[log]]", "vkeys = [", *(f"    {quoted(vkey)}," for vkey in vkeys), "]", "", ""]
    )
