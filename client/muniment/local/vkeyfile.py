"""Public keys that a command is given: as vkeys, or in files of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from muniment.errors import FormatError, InputError
from muniment.local.atomicfile import read_bounded
from muniment.tlog.note import VKey, parse_vkey

_MAX_FILE: Final = 1 << 20


def read_vkeys(option: str, given: Iterable[str]) -> tuple[VKey, ...]:
    """Reads vkeys of an option: each value is a vkey, several with one a line, or a file of these.

    Raises InputError if one is no vkey, or a file cannot be read; names the option or the file.
    """
    keys: list[VKey] = []
    for value in given:
        try:
            # A vkey has two plus signs; a path of that form can be written with ./ before it.
            if value.count("+") > 1 and not value.startswith((".", "/")):
                keys += [parse_vkey(line, option) for line in value.split("\n") if line]
                continue
            lines = read_bounded(Path(value), "keys", most=_MAX_FILE).decode().split("\n")
            if any(line.startswith("-----BEGIN ") for line in lines):
                raise InputError(f"{option}: {value}: a key file; a vkey is wanted, the public key")
            lines = [line for line in lines if line and not line.startswith("#")]
            if not lines:  # who gave a file must not be taken for one who gave no keys
                raise InputError(f"{option}: {value}: there is no vkey in it")
            keys += [parse_vkey(line, value) for line in lines]
        except UnicodeDecodeError:
            raise InputError(f"{option}: {value}: not UTF-8") from None
        except FormatError as error:
            raise InputError(f"{option}: {error}") from None
    return tuple(dict.fromkeys(keys))
