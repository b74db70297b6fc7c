"""How a witness shows a bastion who it is: TLS 1.3 with an Ed25519 certificate (https-bastion)."""

import datetime as dt
import ssl
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from muniment.errors import InputError
from muniment.http.access import load_certificate
from muniment.local.keyfiles import read_key_file
from muniment.local.regularfile import open_regular
from muniment_witness.bastion.table import Bastion

ALPN: Final = "bastion/0"
"""The protocol that a backend asks for in the handshake."""

_HOUR: Final = dt.timedelta(hours=1)


def client_context(bastion: Bastion, ca: Path | None) -> ssl.SSLContext:
    """TLS as the specification wants it: 1.3, the protocol, and a certificate of the key.

    The bastion's own certificate is verified as usual, by the CAs of a file or the system's. Raises
    MunimentError if a file cannot be used.
    """
    try:
        if ca is not None:
            open_regular(ca).close()
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"TLS: CA {ca}: {error.strerror or error}") from None
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    if bastion.certificate is not None:
        load_certificate(context, bastion.certificate, bastion.key)
        return context
    # OpenSSL's Python binding takes files only; the key stays in its own.
    with NamedTemporaryFile(prefix="muniment-bastion-", suffix=".pem") as file:
        file.write(_self_signed(bastion.key, dt.datetime.now(dt.UTC)))
        file.flush()
        load_certificate(context, Path(file.name), bastion.key)
    return context


def _self_signed(key: Path, now: dt.datetime) -> bytes:
    """A new certificate of a day, as PEM: each connection has its own, as clocks may differ."""
    # A witness with a port of its own starts sooner without.
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415

    private = read_key_file(key).private
    assert isinstance(private, Ed25519PrivateKey)  # noqa: S101  # so says the configuration
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bastion backend")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _HOUR)
        .not_valid_after(now + 24 * _HOUR)
        .public_key(private.public_key())
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(private, None)
    )
    return made.public_bytes(Encoding.PEM)
