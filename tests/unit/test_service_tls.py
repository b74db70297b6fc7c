"""TLS files of a service: checked at start, followed when they change, kept when they break."""

import shutil
import socket
import ssl
import threading
from pathlib import Path

import pytest

from certificates import Authority
from muniment_service.config import ConfigError
from muniment_service.tls import TlsTable, server_context
from waiting import SECONDS

REFUSED = r"\[SSL: |reset by peer|[Bb]roken pipe"


def shown(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """One handshake; the common name that the server shows. Raises what the client sees."""
    near, far = socket.socketpair()

    def serve() -> None:
        try:
            with server.wrap_socket(far, server_side=True) as connection:
                connection.sendall(b"ok")
        except OSError:
            far.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        near.settimeout(SECONDS)
        with client.wrap_socket(near, server_hostname="127.0.0.1") as connection:
            assert connection.recv(2) == b"ok"
            assert connection.version() == "TLSv1.3"
            certificate = connection.getpeercert()
    finally:
        near.close()
        thread.join(SECONDS)
    ((((_, name),),)) = certificate["subject"]
    return str(name)


def believing(authority: Authority, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.file)
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


def test_nothing_configured_is_no_tls() -> None:
    assert server_context(None) is None


def test_files_are_checked_at_start(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("log")
    _, other = authority.issue("other")
    for table, words in (
        (TlsTable(certificate=certificate, key=other), "mismatch"),
        (TlsTable(certificate=tmp_path / "none", key=key), "No such file"),
        (TlsTable(certificate=certificate, key=tmp_path / "none"), "No such file"),
        (TlsTable(certificate=key, key=key), r"log\.key"),
        (TlsTable(certificate=certificate, key=key, client_ca=key), r"log\.key: not usable"),
    ):
        with pytest.raises(ConfigError, match=words):
            server_context(table)
    key.chmod(0o604)
    with pytest.raises(ConfigError, match="0604"):
        server_context(TlsTable(certificate=certificate, key=key))


def test_older_protocols_are_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("log")
    server = server_context(TlsTable(certificate=certificate, key=key))
    assert server is not None
    client = believing(authority)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        shown(server, client)


def test_renewed_files_are_taken_up_and_broken_ones_are_not(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    live = TlsTable(certificate=tmp_path / "live.crt", key=tmp_path / "live.key")

    def put(name: str) -> None:
        certificate, key = authority.issue(name)
        shutil.copy(certificate, live.certificate)
        shutil.copy(key, live.key)

    put("first")
    server, client = server_context(live), believing(authority)
    assert server is not None
    assert shown(server, client) == "first"
    put("second")
    assert shown(server, client) == "second"
    live.certificate.write_text("half a certif")
    assert shown(server, client) == "second"
    live.key.unlink()
    assert shown(server, client) == "second"
    put("third")
    assert shown(server, client) == "third"


def test_a_key_that_others_could_read_is_taken_up_when_they_cannot(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    live = TlsTable(certificate=tmp_path / "live.crt", key=tmp_path / "live.key")

    def put(name: str, mode: int) -> None:
        certificate, key = authority.issue(name)
        key.chmod(mode)
        shutil.copy(certificate, live.certificate)
        shutil.copy(key, live.key)  # with its mode

    put("first", 0o600)
    server, client = server_context(live), believing(authority)
    assert server is not None
    put("second", 0o644)
    assert shown(server, client) == "first"
    since = live.key.stat().st_ctime_ns
    while live.key.stat().st_ctime_ns == since:  # of the file system's clock
        live.key.chmod(0o600)
    assert shown(server, client) == "second"


def test_a_removed_client_ca_shuts_its_clients_out(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    theirs = Authority(tmp_path, "theirs")
    certificate, key = ours.issue("log")
    trusted = tmp_path / "clients.pem"
    shutil.copy(theirs.file, trusted)
    server = server_context(TlsTable(certificate=certificate, key=key, client_ca=trusted))
    assert server is not None
    mine, stranger = theirs.issue("gateway"), ours.issue("stranger")
    assert shown(server, believing(ours, mine)) == "log"
    for client in (believing(ours), believing(ours, stranger)):
        with pytest.raises(OSError, match=r"\[SSL: |reset by peer|[Bb]roken pipe"):
            shown(server, client)
    with pytest.raises(OSError, match=r"\[SSL: |reset by peer|[Bb]roken pipe"):
        shown(server, believing(ours, theirs.issue("late", days=-1)))
    shutil.copy(ours.file, trusted)
    assert shown(server, believing(ours, stranger)) == "log"
    with pytest.raises(OSError, match=r"\[SSL: |reset by peer|[Bb]roken pipe"):
        shown(server, believing(ours, mine))
