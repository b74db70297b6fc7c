"""TOML 1.0 configuration files as frozen structs: strict, and every error names file and key.

A service declares its file as a `Config` subclass. Unknown keys are errors, `Path` values are
resolved against the folder of the file (or begin with `$CREDENTIALS_DIRECTORY/`), and a value that
only the service can judge (a vkey, say) is reported through `ConfigError` so that it reads like the
rest.
"""

import os
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar, final

import msgspec

from muniment.local.privatefiles import CREDENTIALS
from muniment.local.regularfile import open_regular
from muniment.tlog.encoding import MunimentError

MAX_CONFIG_SIZE: Final = 1 << 20
"""Largest configuration file in bytes; thousands of keys fit, a wrong file does not."""

_T = TypeVar("_T", bound="Config")


class ConfigError(MunimentError):
    """A configuration that cannot be used; the message is one line and names file and key."""


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of configuration structs: frozen, keyword-only, unknown keys are errors.

    Subclasses inherit all of it, but type checkers want `frozen=True` said again.
    """


@final
class Address:
    """A TCP address to listen on, `host:port` or `[v6]:port`; port 0 lets the system choose."""

    __slots__ = ("host", "port")

    def __init__(self, text: str) -> None:
        """Parses the address.

        Raises ValueError if the text is not `host:port` with a port in [0, 65535].
        """
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})", text)
        if match is None or int(match[2]) > 65535:
            raise ValueError("expected host:port, such as 127.0.0.1:8100")
        self.host: Final = match[1].strip("[]")
        self.port: Final = int(match[2])

    def at(self, port: int) -> "Address":
        """The same host at another port."""
        return Address(f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def load_config(path: Path, type_: type[_T]) -> _T:
    """Reads a TOML file into a struct; `Path` values come out relative to the file's folder.

    Raises ConfigError if the file cannot be read, is not TOML, or does not fit the struct.
    """
    data = read_file(path, most=MAX_CONFIG_SIZE)
    try:
        document = tomllib.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    base = path.parent

    def convert(type_: type[Any], value: object) -> object:
        if not isinstance(value, str):
            raise ValueError("expected a string")  # noqa: TRY004  # msgspec adds the key to ValueError
        if type_ is Path:
            if not value:
                raise ValueError("expected a path, got an empty string")
            return base / _expanded(value)
        if type_ is Address:
            return Address(value)
        raise AssertionError(f"no conversion to {type_}")

    try:
        return msgspec.convert(document, type_, dec_hook=convert)
    except msgspec.ValidationError as error:
        from muniment_service.configwords import explain  # noqa: PLC0415 - of errors alone

        raise ConfigError(f"{path}: {explain(str(error), type_)}") from error


@contextmanager
def config_key(path: Path, key: str) -> Iterator[None]:
    """Turns an error about one value into a `ConfigError` that names the file and the key.

    The key is as a reader finds it, such as `gateway[0].vkey`.
    """
    try:
        yield
    except (MunimentError, ValueError, OSError) as error:
        what = str(error)
        if not what.startswith(f"{key}: "):  # what is wrong with a policy begins with "policy: "
            what = f"{key}: {what}"
        raise ConfigError(f"{path}: {what}") from error


def config_error(path: Path, key: str, message: str) -> NoReturn:
    """Raises a `ConfigError` about one key."""
    raise ConfigError(f"{path}: {key}: {message}")


def read_file(path: Path, *, most: int) -> bytes:
    """Reads a file of at most `most` bytes that a service is configured with.

    Raises ConfigError if it cannot be read, is no regular file, or is larger; names it.
    """
    try:
        with open_regular(path) as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    if len(data) > most:
        raise ConfigError(f"{path}: larger than {most} bytes")
    return data


def _expanded(value: str) -> str:
    """A path below `$CREDENTIALS_DIRECTORY/`, where systemd puts a service's secrets."""
    prefix = f"${CREDENTIALS}/"
    if not value.startswith(prefix):
        return value
    folder = os.environ.get(CREDENTIALS)
    if not folder:
        raise ValueError(f"{CREDENTIALS} is not set: systemd gave this process no credentials")
    return f"{folder}/{value.removeprefix(prefix)}"
