"""Changes to a configuration file by command: to its text, at once or not at all.

The text keeps its comments. The new file replaces the old one only when it loads, and says what was
meant.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import tomlkit
from tomlkit import TOMLDocument
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array

from muniment.local.regularfile import sync_names
from muniment.tlog.encoding import MunimentError
from muniment_service.config import ConfigError


def replace_config(path: Path, before: str, text: str, is_meant: Callable[[Path], bool]) -> None:
    """Puts a new configuration in place of the old one, whose text was `before` it was changed.

    `is_meant` loads the file at a path, and says whether it is what was meant. Raises MunimentError
    if it cannot be written, does not load, is not what was meant, or the old one is another by now:
    that one stays.
    """
    # Of a name that nobody gives a file by hand: what is there is taken for a draft of ours.
    draft = path.with_name(f".{path.name}.new")
    try:
        with _alone(draft) as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
            if path.read_text(encoding="utf-8") not in {before, text}:
                raise BlockingIOError  # it would take back what another command has changed
            draft.chmod(path.stat().st_mode & 0o777)
            if not is_meant(draft):
                raise ConfigError(f"{path}: cannot be changed by command; change it by hand")
            draft.replace(path)
            sync_names(path.parent)  # what the database commits next may be on another disk
    except ConfigError as error:  # it is about what the file would say, and the draft goes
        raise ConfigError(str(error).replace(str(draft), str(path))) from error
    except BlockingIOError:
        raise MunimentError(f"{path}: another command is changing it") from None
    except OSError as error:
        raise MunimentError(f"{draft}: {error.strerror}") from error


@contextmanager
def _alone(draft: Path) -> Iterator[TextIO]:
    """A draft that no other command writes meanwhile, empty; what is left of it in the end goes.

    One that a killed command has left is nobody's. Raises BlockingIOError if another one writes it,
    OSError if it cannot be written.
    """
    with open(draft, "a", encoding="utf-8", opener=_not_through_a_link) as out:
        fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it may have put it in its place meanwhile: then it is the configuration.
        if not _is_at(draft, out):
            raise BlockingIOError
        try:
            out.truncate(0)
            yield out
        finally:
            # Where it is in its place, what is here by now is another command's.
            if _is_at(draft, out):
                draft.unlink()


def _is_at(path: Path, file: TextIO) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _not_through_a_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def with_keys(path: Path, change: Callable[[list[str]], Sequence[str]]) -> str:
    """Makes a configuration's text with another list of key files.

    Raises ConfigError if the list is not an array on one line.
    """
    document = read_document(path)
    keys = document.get("keys")
    # A comment within an array of many lines may be about the line that goes.
    if not isinstance(keys, Array) or "\n" in keys.as_string():
        raise ConfigError(f"{path}: keys: not an array on one line; change it by hand")
    names = change([str(name) for name in keys])
    keys.clear()
    keys.extend(names)
    return tomlkit.dumps(document)


def read_document(path: Path) -> TOMLDocument:
    """Reads a configuration with its comments; ConfigError if it is not TOML."""
    try:
        return tomlkit.parse(path.read_text(encoding="utf-8-sig"))
    except TOMLKitError as error:
        raise ConfigError(f"{path}: {error}; change it by hand") from error
