"""How a client connects: whom it believes (CA), who it is (certificate, contact), what it may read.

Nothing of it is ever given on a command line, where every user of the machine could read it. The
commands and the SDK take it from the environment unless they are told otherwise:

| variable | is |
| --- | --- |
| `MUNIMENT_TLS_CA` | PEM file: the only CAs to believe, instead of the system's |
| `MUNIMENT_TLS_CERTIFICATE`, `MUNIMENT_TLS_KEY` | PEM files: the client's certificate and key |
| `MUNIMENT_READ_TOKEN_FILE` | file with a read token of the log |
| `MUNIMENT_READ_TOKEN` | the token itself, where files are not at hand |
| `MUNIMENT_CONTACT` | ``mailto:…`` or an https URL, for the User-Agent |
"""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal, NoReturn, Self
from urllib.parse import urlsplit

from muniment.errors import InputError
from muniment.local.privatefiles import check_private, read_secret
from muniment.local.regularfile import open_regular
from muniment.tlog.encoding import MunimentError

TLS_CA: Final = "MUNIMENT_TLS_CA"
TLS_CERTIFICATE: Final = "MUNIMENT_TLS_CERTIFICATE"
TLS_KEY: Final = "MUNIMENT_TLS_KEY"
READ_TOKEN: Final = "MUNIMENT_READ_TOKEN"  # noqa: S105 - the name of a variable
READ_TOKEN_FILE: Final = "MUNIMENT_READ_TOKEN_FILE"  # noqa: S105 - the name of a variable


CONTACT: Final = "MUNIMENT_CONTACT"

_CONTACT: Final = re.compile(r"(?:mailto:|https://)[!#-'*-\[\]-~]{3,200}")
"""A URI that fits into a comment of a header (RFC 9110 section 5.6.5)."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a client shows and believes; each part may be None.

    Attributes:
        ca: PEM file with the only CAs to believe; None for the system's.
        certificate: PEM file with the client's certificate and its chain.
        key: PEM file with the private key of `certificate`, of mode 0600.
        token: A read token of the log. Never part of the repr.
        contact: Whom the operator of a service may write to: a ``mailto:`` or ``https:`` URI. Some
            public logs allow those who say so more requests.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token: str | None = field(default=None, repr=False)
    contact: str | None = None

    def __post_init__(self) -> None:
        """Raises InputError if the contact is none."""
        if self.contact is not None and not _CONTACT.fullmatch(self.contact):
            raise InputError(
                f"contact: expected mailto:ADDRESS or an https URL, got {self.contact!a}"
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Reads the variables above.

        Raises InputError if both variables of the token are set, or its file cannot be used.
        """

        def path(name: str) -> Path | None:
            value = environment.get(name)
            return Path(value) if value else None

        token = _read_token_of(environment)
        contact = environment.get(CONTACT) or None
        return cls(path(TLS_CA), path(TLS_CERTIFICATE), path(TLS_KEY), token, contact)

    def agent(self, product: str = "muniment") -> str:
        """The User-Agent of a product, with the contact (RFC 9110 section 10.1.5)."""
        return product if self.contact is None else f"{product} ({self.contact})"

    def with_read_token(self, environment: Mapping[str, str] = os.environ) -> Self:
        """The same with the environment's read token, for a service that has the rest elsewhere.

        Raises InputError as `from_environment`.
        """
        return replace(self, token=_read_token_of(environment))

    def without_token(self) -> Self:
        """The same for parties that are not the log."""
        return replace(self, token=None)

    def ssl(self) -> ssl.SSLContext | Literal[True]:
        """What the HTTP library takes: a context, or True for its own.

        Raises InputError if a file cannot be used; names it.
        """
        if (self.certificate is None) != (self.key is None):
            raise InputError("TLS: a client certificate needs its key, and a key its certificate")
        if self.ca is None and self.certificate is None:
            return True
        try:
            if self.ca is not None:
                open_regular(self.ca).close()
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError) as error:
            raise InputError(f"TLS: CA {self.ca}: {_reason(error)}") from None
        if self.certificate is not None and self.key is not None:
            try:
                check_private(self.key, "TLS key")
                load_certificate(context, self.certificate, self.key)
            except MunimentError as error:
                raise InputError(f"TLS: {error}") from None
        return context

    def fingerprint(self) -> bytes:
        """A digest of the files' content: when it is another one, connections are made anew."""
        digest = sha256()
        for path in (self.ca, self.certificate, self.key):
            data = b""
            if path is not None:
                try:
                    with open_regular(path) as file:
                        data = file.read()
                except OSError as error:
                    raise InputError(f"TLS: {path}: {_reason(error)}") from None
            digest.update(b"%d:" % len(data) + data)
        return digest.digest()

    def headers(self, url: str) -> dict[str, str]:
        """The headers for a log; ``InputError`` if the token would travel in the clear."""
        if self.token is None:
            return {}
        check_token_url(url)
        return {"Authorization": f"Bearer {self.token}"}


ANYBODY: Final = Access()
"""The system's CAs, no certificate, no token."""


def _read_token_of(environment: Mapping[str, str]) -> str | None:
    token, file = environment.get(READ_TOKEN) or None, environment.get(READ_TOKEN_FILE) or None
    if token and file is not None:
        raise InputError(f"{READ_TOKEN} and {READ_TOKEN_FILE}: set one of them")
    return token if file is None else read_token(Path(file))


def read_token(path: Path) -> str:
    """Reads a token from a private file's first line; ``InputError`` if it is none."""
    try:
        token = read_secret(path, "token").decode("ascii")
    except MunimentError as error:
        raise InputError(str(error)) from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: the token is not ASCII") from None
    if not token.isprintable() or " " in token:
        raise InputError(f"{path}: the token has blanks or control characters")
    return token


def check_token_url(url: str) -> None:
    """Checks that a bearer token may be sent to a URL (RFC 6750 section 5.3: TLS)."""
    parts = urlsplit(url)
    if parts.scheme == "https" or is_loopback(parts.hostname or ""):
        return
    raise InputError(f"{url}: a token is not sent without TLS; use https")


def load_certificate(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Loads a certificate and its key; ``InputError`` unless they belong together, unencrypted."""
    try:
        open_regular(certificate).close()
        context.load_cert_chain(certificate, key, _refuse)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"{certificate}, {key}: {_reason(error)}") from None


def _refuse() -> NoReturn:
    # Otherwise OpenSSL asks on the terminal, and a service waits for ever.
    raise InputError("the TLS key is encrypted; TLS keys are protected by their mode alone")


def is_loopback(host: str) -> bool:
    """Whether a host of a URL is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    return error.strerror or str(error)
