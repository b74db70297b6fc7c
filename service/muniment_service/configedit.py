"""Changes to a configuration file by command: to its text, at once or not at all.

The text keeps its comments. The new file replaces the old one only when it loads, and says what was
meant.
"""

import os
import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from muniment.tlog.encoding import MunimentError
from muniment_service.config import ConfigError
from muniment_service.folder import quoted

_KEYS: Final = re.compile(r"^keys\s*=\s*(\[[^\]\n]*\])", re.MULTILINE)


def replace_config(path: Path, text: str, is_meant: Callable[[Path], bool]) -> None:
    """Puts a new configuration in place of the old one.

    Args:
        path: The configuration.
        text: Its new text.
        is_meant: Loads the file at a path, and says whether it is what was meant.

    Raises:
        MunimentError: If it cannot be written, does not load, or is not what was meant; the old
            one stays.
    """
    draft = path.with_name(path.name + ".new")
    try:
        out = draft.open("x", encoding="utf-8")
    except OSError as error:
        raise MunimentError(f"{draft}: {error.strerror}") from error
    try:
        with out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        draft.chmod(path.stat().st_mode & 0o777)
        if not is_meant(draft):
            raise ConfigError(f"{path}: cannot be changed by command; change it by hand")
        draft.replace(path)
    except OSError as error:
        raise MunimentError(f"{draft}: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)


def with_keys(path: Path, change: Callable[[list[str]], Sequence[str]]) -> str:
    """A configuration's text with another list of key files.

    Raises:
        ConfigError: If the list is not an array on one line.
    """
    text = path.read_text(encoding="utf-8-sig")
    match = _KEYS.search(text)
    if match is None:
        raise ConfigError(f"{path}: keys: not an array on one line; change it by hand")
    names = change(tomllib.loads(f"keys = {match[1]}")["keys"])
    line = f"keys = [{', '.join(quoted(name) for name in names)}]"
    return text[: match.start()] + line + text[match.end() :]
