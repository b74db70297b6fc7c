"""The `[[bastion]]` tables of witness.toml, and what they name."""

from collections.abc import Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Meta, Struct

from muniment.http.urls import split_url
from muniment.local.keyfiles import read_key_file
from muniment.tlog.encoding import FormatError
from muniment_service.config import Config, config_error, config_key

_PORT: Final = 443


class BastionEntry(Config, frozen=True):
    """One `[[bastion]]` table.

    Attributes:
        url: Where it takes backends, and below which it serves them: https, without a path.
        key: PEM file of the Ed25519 key by which it knows this witness, of mode 0600.
        certificate: PEM file with a certificate for that key, for bastions that go by a CA; it is
            self-signed if not given.
        logs: Origins of the logs that may submit this way, or all.
    """

    url: str
    key: Path
    certificate: Path | None = None
    logs: Literal["all"] | Annotated[tuple[str, ...], Meta(min_length=1)] = "all"


class Bastion(Struct, frozen=True):
    """A bastion to serve through.

    Attributes:
        host: Its name or address.
        port: Its port.
        prefix: The submission prefix that it gives this witness, which names the key.
        key: File of the key.
        certificate: File of its certificate; None for a self-signed one.
        logs: Origins of the logs that may submit this way; None for all.
    """

    host: str
    port: int
    prefix: str
    key: Path
    certificate: Path | None = None
    logs: frozenset[str] | None = None


def read_bastions(
    path: Path, entries: Sequence[BastionEntry], known: frozenset[str] | None
) -> tuple[Bastion, ...]:
    """Checks the tables of a configuration file; a ConfigError names it and the key.

    `known` are the origins of all logs; None when more may come.
    """
    if entries and find_spec("h2") is None:
        config_error(path, "bastion", "HTTP/2 is needed; install muniment[bastion]")
    found: dict[str, Bastion] = {}
    for number, entry in enumerate(entries):
        table = f"bastion[{number}]"
        with config_key(path, f"{table}.url"):
            parts = split_url(entry.url)
            if parts.scheme != "https":
                raise ValueError("must begin with https://")
            if parts.path.strip("/") or parts.query or parts.fragment:
                raise ValueError("a bastion's URL has no path: the key decides that")
        with config_key(path, f"{table}.key"):
            hashed = hash_of(entry.key)
        origins = None if entry.logs == "all" else frozenset(entry.logs)
        for origin in sorted((origins or frozenset()) - (known or origins or frozenset())):
            config_error(path, f"{table}.logs", f"no log {origin} is configured")
        prefix = f"{entry.url.rstrip('/')}/{hashed}"
        if prefix in found:
            config_error(path, table, "the same bastion with the same key twice")
        found[prefix] = Bastion(
            parts.hostname or "",
            parts.port or _PORT,
            prefix,
            entry.key,
            entry.certificate,
            origins,
        )
    return tuple(found.values())


def hash_of(key: Path) -> str:
    """The lowercase hexadecimal hash by which bastions know the key of a file.

    Raises FormatError if it is no Ed25519 key, or MunimentError if it cannot be read.
    """
    private = read_key_file(key).private
    if not isinstance(private, Ed25519PrivateKey):
        raise FormatError(f"{key}: a bastion needs an Ed25519 key that is in the file itself")
    return sha256(private.public_key().public_bytes_raw()).hexdigest()
