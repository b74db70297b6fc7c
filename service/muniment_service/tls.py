"""TLS 1.3 for services, with client certificates if wanted; renewed files need no restart.

Whether the files have changed is looked at before each handshake, which costs three calls of
stat(2). A set of files that does not load (a certificate was replaced and its key not yet, say) is
logged, and the one before it stays in use. Nothing is resumed: a client whose CA was removed must
not come back on an old session.
"""

import logging
import ssl
from pathlib import Path
from typing import Final

from muniment.http.access import Access, load_certificate
from muniment.local.logs import event
from muniment.local.privatefiles import check_private
from muniment.local.regularfile import open_regular
from muniment.tlog.encoding import MunimentError
from muniment_service.config import Config, ConfigError

_LOGGER: Final = logging.getLogger(__name__)


class TlsTable(Config, frozen=True):
    """The `[tls]` table: how a service is reached; PEM files.

    The certificate comes with its chain; the key is of mode 0600 and not encrypted. With
    `client_ca`, only clients with a certificate of one of its CAs get in.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


class OutgoingTable(Config, frozen=True):
    """The `[outgoing]` table: how a service connects to others; PEM files.

    `ca` has the only CAs to believe, instead of the system's; the certificate is what the service
    shows. The key is of mode 0600 and not encrypted. `contact`, ``mailto:…`` or
    an https URL, is in the User-Agent.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    contact: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError if the contact is none."""
        try:
            Access(contact=self.contact)
        except MunimentError as error:
            raise ValueError(str(error)) from None

    @property
    def access(self) -> Access:
        """The same as clients take it."""
        return Access(self.ca, self.certificate, self.key, contact=self.contact)


def server_context(table: TlsTable | None) -> ssl.SSLContext | None:
    """The TLS side of a server; None when it serves in the clear.

    Raises ConfigError if a file cannot be used; names it.
    """
    if table is None:
        return None
    files = _Files(table)
    try:
        context = files.load()
    except MunimentError as error:
        raise ConfigError(f"tls: {error}") from error
    context.sni_callback = files.select
    return context


class _Files:
    """The files of a `[tls]` table and what was last loaded from them."""

    def __init__(self, table: TlsTable) -> None:
        self._table = table
        self._seen: str | None = None
        self._context: ssl.SSLContext | None = None

    def load(self) -> ssl.SSLContext:
        """Loads the files as they are now; raises `MunimentError` if one cannot be used."""
        table = self._table
        self._seen = self._stamp()
        check_private(table.key, "TLS key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0
        load_certificate(context, table.certificate, table.key)
        if table.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            try:
                open_regular(table.client_ca).close()
                context.load_verify_locations(table.client_ca)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(f"{table.client_ca}: not usable as CAs: {error}") from error
        self._context = context
        return context

    def select(self, connection: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        """Called by OpenSSL before each handshake, with or without a server name."""
        try:
            if self._stamp() != self._seen:
                self.load()
                event(_LOGGER, logging.INFO, "TLS files loaded", file=self._table.certificate)
        except MunimentError as error:
            event(_LOGGER, logging.ERROR, "TLS files not usable, old ones kept", error=error)
        if self._context is not None:
            connection.context = self._context

    def _stamp(self) -> str:
        """Tells one set of files from another."""
        table = self._table
        paths = [path for path in (table.certificate, table.key, table.client_ca) if path]
        try:
            states = [path.stat() for path in paths]
        except OSError as error:
            return str(error)
        # The last one for what `chmod` alone has mended.
        return str([(s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in states])
