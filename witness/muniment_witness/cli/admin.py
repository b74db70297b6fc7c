"""Changes to witness.toml by command: logs, keys, acknowledgements.

The configuration is the one place where an operator says what a witness trusts, so that is what the
commands change, and nothing else: a running witness has to reload it. A change is made to the text,
which keeps the comments of the other tables; it replaces the file only when the new one loads and
says exactly what was meant. What cannot be changed is a `MunimentError`.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from muniment.tlog.note import parse_vkey
from muniment_service.config import ConfigError, load_config
from muniment_service.configedit import replace_config
from muniment_service.folder import quoted
from muniment_service.rotation import Own
from muniment_witness.config import load
from muniment_witness.store.database import rebind, recorded
from muniment_witness.witnessfile import LogEntry, WitnessFile

_TABLE: Final = re.compile(r"\s*\[\[?\s*[A-Za-z_\"]")
_LOG: Final = re.compile(r"\s*\[\[\s*log\s*\]\]\s*(#.*)?\n?")

_Change = Callable[[list[LogEntry]], list[LogEntry | None]]
"""Gives each entry back, changed, or None to remove it; and then those to add."""


def add_log(
    path: Path, vkeys: Sequence[str], url: str | None, *, cosign: bool, origin: str | None = None
) -> str:
    """Adds a log, whose origin is the name of its keys unless it is given; gives its origin."""
    entry = LogEntry(vkeys=tuple(vkeys), origin=origin, url=url, cosign_pulled=cosign)
    origin = _origin(entry)

    def change(entries: list[LogEntry]) -> list[LogEntry | None]:
        if any(_origin(known) == origin for known in entries):
            raise ConfigError(f"{path}: {origin} is configured already")
        return [*entries, entry]

    _change(path, change)
    return origin


def remove_log(path: Path, origin: str) -> None:
    """Removes a log; what was cosigned of it stays readable."""

    def change(entries: list[LogEntry]) -> list[LogEntry | None]:
        target = _find(path, entries, origin)
        return [None if entry is target else entry for entry in entries]

    _change(path, change)


def rotate_log_key(path: Path, origin: str, add: Sequence[str], remove: Sequence[str]) -> None:
    """Adds and removes keys of a log. While both are listed, a signature of either counts."""

    def change(entry: LogEntry) -> LogEntry:
        for vkey in remove:
            if vkey not in entry.vkeys:
                raise ConfigError(f"{path}: {origin} has no key {vkey}")
        vkeys = (*(vkey for vkey in entry.vkeys if vkey not in remove), *add)
        return msgspec.structs.replace(entry, vkeys=vkeys)

    _change_one(path, origin, change)


def acknowledge(path: Path, origin: str, evidence: str) -> None:
    """Acknowledges evidence (hash, hexadecimal): the witness cosigns again in spite of it."""

    def change(entry: LogEntry) -> LogEntry:
        if evidence in entry.acknowledged:
            raise ConfigError(f"{path}: {evidence} is acknowledged already")
        return msgspec.structs.replace(entry, acknowledged=(*entry.acknowledged, evidence))

    _change_one(path, origin, change)


def own_keys(path: Path) -> Own:
    """The witness's own keys, to add one or retire one."""
    loaded = load(path)
    file = loaded.file
    if not loaded.signers:
        raise ConfigError(f"{path}: of a mirror alone: change the keys of [mirror] by hand")
    return Own(
        path,
        name=file.name,
        use="witness",
        keys=file.keys,
        passphrase_file=file.key_passphrase_file,
        check=load,
        recorded=lambda keys: asyncio.run(recorded(file.database, keys)),
        record=lambda keys, _, commit: asyncio.run(rebind(file.database, keys, commit)),
    )


def _change_one(path: Path, origin: str, change: Callable[[LogEntry], LogEntry]) -> None:
    def change_all(entries: list[LogEntry]) -> list[LogEntry | None]:
        target = _find(path, entries, origin)
        return [change(entry) if entry is target else entry for entry in entries]

    _change(path, change_all)


def _find(path: Path, entries: Sequence[LogEntry], origin: str) -> LogEntry:
    for entry in entries:
        if _origin(entry) == origin:
            return entry
    raise ConfigError(f"{path}: no log {origin} is configured")


def _origin(entry: LogEntry) -> str:
    return entry.origin or parse_vkey(entry.vkeys[0]).name


def _change(path: Path, change: _Change) -> None:
    """Rewrites those `[[log]]` tables that a change touches."""
    text = path.read_text(encoding="utf-8")
    load(path)
    before = load_config(path, WitnessFile).log
    after = change(list(before))
    chunks = _chunks(text)
    tables = [at for at, chunk in enumerate(chunks) if _LOG.match(chunk)]
    if len(tables) != len(before):
        raise ConfigError(f"{path}: its [[log]] tables cannot be told apart; change it by hand")
    for at, old, new in zip(tables, before, after, strict=False):
        if new is not old:
            chunks[at] = ("" if new is None else _render(new, path.parent)) + _tail(chunks[at])
    chunks += ["\n" + _render(new, path.parent) for new in after[len(before) :] if new is not None]
    meant = [entry for entry in after if entry is not None]
    replace_config(path, text, "".join(chunks), lambda draft: list(load(draft).file.log) == meant)


def _chunks(text: str) -> list[str]:
    """The text before the first table, and each table with what follows it."""
    # By lines, not by tomlkit: that takes the comment before a table for a part of the table above
    # it, and would remove it with that.
    chunks = [""]
    for line in text.splitlines(keepends=True):
        if _TABLE.match(line):
            chunks.append("")
        chunks[-1] += line
    if not chunks[-1].endswith("\n"):
        chunks[-1] += "\n"
    return chunks


def _tail(chunk: str) -> str:
    """Blank lines and comments at the end of a table: they are about what comes next."""
    lines = chunk.splitlines(keepends=True)
    at = len(lines)
    while at and (not lines[at - 1].strip() or lines[at - 1].lstrip().startswith("#")):
        at -= 1
    return "".join(lines[at:])


def _render(entry: LogEntry, folder: Path) -> str:
    lines = ["[[log]]"]
    for name in entry.__struct_fields__:
        value = getattr(entry, name)
        if name != "vkeys" and value == getattr(_DEFAULTS, name):
            continue
        if isinstance(value, tuple):
            lines += [f"{name} = [", *[f"    {quoted(each)}," for each in value], "]"]
        elif isinstance(value, Path):
            inside = value.is_relative_to(folder)
            shown = value.relative_to(folder) if inside else value
            lines.append(f"{name} = {quoted(str(shown))}")
        elif isinstance(value, str):
            lines.append(f"{name} = {quoted(value)}")
        else:
            lines.append(f"{name} = {str(value).lower()}")
    return "\n".join([*lines, ""])


_DEFAULTS: Final = LogEntry(vkeys=("",))
