"""The configuration file that every service has, and reading it again while the service runs."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

from msgspec import Meta

from muniment.local.logs import LogFormat, LogLevel
from muniment.tlog.cosignature import Use
from muniment.tlog.encoding import check_key_name
from muniment.tlog.note import Signer
from muniment_service.config import Address, Config, config_error, config_key, load_config
from muniment_service.limits import Limits
from muniment_service.signers import check_signers, read_signers
from muniment_service.tls import OutgoingTable, TlsTable, server_context


class ServiceFile(Config, frozen=True):
    """What the configuration files of all services have; a service adds its own members."""

    listen: Address
    keys: Annotated[tuple[Path, ...], Meta(min_length=1)]
    key_passphrase_file: Path | None = None
    limits: Limits = Limits()
    tls: TlsTable | None = None
    outgoing: OutgoingTable = OutgoingTable()
    admin: Path | None = None
    log_level: LogLevel = "info"
    log_format: LogFormat = "text"


class NamedFile(ServiceFile, frozen=True, kw_only=True):
    """The configuration file of a service that signs under a name of its own."""

    name: str


_T = TypeVar("_T", bound=ServiceFile)
_N = TypeVar("_N", bound=NamedFile)


def read_named(path: Path, kind: type[_N], *, use: Use) -> tuple[_N, tuple[Signer, ...]]:
    """Reads a service's configuration file, and the keys that it names.

    Raises ConfigError if the name is no key name, or a file cannot be used; names file and key.
    """
    file = load_config(path, kind)
    with config_key(path, "name"):
        check_key_name(file.name, "key name")
    return file, signers_of(path, file, file.name, use=use)


def signers_of(path: Path, file: ServiceFile, name: str, *, use: Use) -> tuple[Signer, ...]:
    """Reads the keys that a service's file names, see `read_signers`."""
    return read_signers(
        path, name=name, keys=file.keys, passphrase_file=file.key_passphrase_file, use=use
    )


def reread_file(
    path: Path,
    now: _T,
    signers: Sequence[Signer],
    *,
    use: Use,
    taken: Collection[str],
) -> _T:
    """Reads the configuration file of a running service again, with its keys and TLS files.

    Raises ConfigError if it cannot be used, or something else in it has changed; names it.

    Args:
        path: The file.
        now: What is in force.
        signers: The keys in force, which only a restart changes.
        use: What signs.
        taken: The members that a reload takes up; all else takes a restart.
    """
    file = load_config(path, type(now))
    for name in now.__struct_fields__:
        if name not in taken and getattr(file, name) != getattr(now, name):
            config_error(path, name, "has changed; that takes a restart")
    check_signers(path, signers, keys=file.keys, passphrase_file=file.key_passphrase_file, use=use)
    server_context(file.tls)
    return file
