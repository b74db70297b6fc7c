"""TLS with client certificates between real processes: log, witness, gateway, auditor, monitor."""

import json
import shutil
import socket
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import processes
from certificates import Authority
from log_deployment import run
from muniment.cli.exits import BAD_INPUT, UNREACHABLE
from muniment.errors import Unreachable
from muniment.http.access import Access
from muniment.http.logclient import LogClient
from ports import free_port

ORIGIN = "log.example/tls"


@dataclass
class Place:
    """A log and a witness that let nobody in without a certificate of `authority`."""

    folder: Path
    authority: Authority
    log: processes.Process
    witness: processes.Process

    def environment(self, ca: Path, pair: tuple[Path, Path] | None) -> dict[str, str]:
        found = {"MUNIMENT_TLS_CA": str(ca)}
        if pair is not None:
            found |= {"MUNIMENT_TLS_CERTIFICATE": str(pair[0]), "MUNIMENT_TLS_KEY": str(pair[1])}
        return found

    def muniment(
        self, *arguments: str, environment: dict[str, str], code: int = 0, module: str = "muniment"
    ) -> str:
        argv = [sys.executable, "-m", module, *arguments]
        done = processes.run(argv, cwd=self.folder, environment=environment, code=code)
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    listen = f"127.0.0.1:{free_port()}"
    (log_key, _) = run(
        processes.muniment_log("init", folder / "log", "--origin", ORIGIN, "--listen", listen)
    )
    (witness_key,) = run(
        processes.muniment_witness(
            "init", folder / "w", "--name", "w.example/w", "--listen", "127.0.0.1:0",
            "--algorithm", "ed25519", "--log", log_key,
        )
    )  # fmt: skip
    for name in ("log", "w"):
        certificate, key = authority.issue(name)
        tables = (
            f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\nclient_ca = "{authority.file}"\n'
            f'[outgoing]\nca = "{authority.file}"\ncertificate = "{certificate}"\nkey = "{key}"\n'
        )
        config = folder / name / ("log.toml" if name == "log" else "witness.toml")
        text = config.read_text()
        if name == "w":
            text = text.replace("]\n\n# More", f']\nurl = "https://{listen}"\n\n# More', 1)
            tables += "[gossip]\nperiod_seconds = 0.2\n"
        config.write_text(text + tables)
    run_ = [sys.executable, "-m", "muniment", "keygen", "--name", "gw.example/tls"]
    (gateway,) = run([*run_, "--use", "gateway", "--out", str(folder / "gateway.pem")])
    with processes.start(
        processes.muniment_witness("serve", "--config", folder / "w" / "witness.toml")
    ) as witness:
        assert witness.url.startswith("https://127.0.0.1:")
        (folder / "trust.policy").write_text(
            f"log {log_key}\nwitness w {witness_key} {witness.url}\nquorum w\n"
        )
        config = folder / "log" / "log.toml"
        config.write_text(
            config.read_text().replace("# policy =", 'policy = "../trust.policy"\n#')
            + f'[[gateway]]\nvkey = "{gateway}"\n'
        )
        with processes.start(processes.muniment_log("serve", "--config", config)) as log:
            assert log.url == f"https://{listen}"
            (folder / "one.ndjson").write_text(
                '{"request":{"subject":{"type":"agent","id":"a"},"action":{"name":"read"},'
                '"resource":{"type":"file","id":"f"}},"response":{"decision":true}}\n'
            )
            yield Place(folder, authority, log, witness)
            for process in (log, witness):
                assert "Traceback" not in process.stderr


def test_everybody_with_a_certificate_gets_on(place: Place) -> None:
    environment = place.environment(place.authority.file, place.authority.issue("gateway"))
    trust = ("--policy", "trust.policy")
    submit = ("submit", "--log", place.log.url, "--key", "gateway.pem", "--wait", "published")
    said = place.muniment(*submit, *trust, "one.ndjson", environment=environment)
    assert json.loads(said)["count"] == 1
    audit = ("audit", "--log", place.log.url, *trust)
    assert "clean" in place.muniment(*audit, environment=environment)
    monitor = ("monitor", "--once", *trust, place.log.url, place.witness.url)
    place.muniment(*monitor, environment=environment)
    status = json.loads(
        place.muniment(
            "status", "--url", place.witness.url, "--json",
            environment=environment, module="muniment_witness.cli",
        )
    )  # fmt: skip
    assert status["logs"][0]["cosigned"]["size"] == 2
    assert status["logs"][0]["read"]["error"] is None  # it pulls over TLS, too


async def test_others_do_not(place: Place) -> None:
    stranger = Authority(place.folder, "stranger")
    ours = place.authority
    expired, valid = ours.issue("expired", days=-1), ours.issue("valid")
    nothing = (None, None)
    for url in (place.log.url, place.witness.url):
        for access in (
            Access(stranger.file, *valid),
            Access(None, *valid),
            Access(ours.file, *nothing),
            Access(ours.file, *expired),
            Access(ours.file, *stranger.issue("strange")),
        ):
            async with LogClient(url, access=access) as client:
                with pytest.raises(Unreachable):
                    await client.submit_batch(b"never read")  # tried once, as reads are not
    prove = ("prove", "--index", "0", "--out", "never", "--log")
    environment = place.environment(ours.file, None)
    place.muniment(*prove, place.log.url, environment=environment, code=UNREACHABLE)
    environment = place.environment(ours.file, (expired[0], valid[1]))
    assert "mismatch" in place.muniment(
        *prove, place.log.url, environment=environment, code=BAD_INPUT
    )
    plain = place.log.url.replace("https", "http")
    place.muniment(*prove, plain, environment={}, code=UNREACHABLE)


async def test_plain_bytes_and_half_handshakes_harm_nobody(place: Place) -> None:
    port = int(place.log.url.rpartition(":")[2])
    for start in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"", b"\x16\x03\x01\x00\x10"):
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(start)
            connection.shutdown(socket.SHUT_WR)
            assert b"HTTP" not in connection.recv(100)
    context = ssl.create_default_context(cafile=place.authority.file)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", port), 10) as connection,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(connection, server_hostname="127.0.0.1")
    pair = place.authority.issue("after")
    async with LogClient(place.log.url, access=Access(place.authority.file, *pair)) as client:
        assert (await client.checkpoint()).startswith(ORIGIN.encode())


def test_a_renewed_certificate_is_served_without_a_restart(place: Place) -> None:
    pair = place.authority.issue("reader")
    context = ssl.create_default_context(cafile=place.authority.file)
    context.load_cert_chain(*pair)
    port = int(place.log.url.rpartition(":")[2])

    def serial() -> object:
        with (
            socket.create_connection(("127.0.0.1", port), 10) as connection,
            context.wrap_socket(connection, server_hostname="127.0.0.1") as tls,
        ):
            certificate = tls.getpeercert()
            return certificate["serialNumber"]

    before = serial()
    for source, target in zip(place.authority.issue("new"), ("log.crt", "log.key"), strict=True):
        shutil.copy(source, place.folder / target)
    assert serial() != before


def test_the_table_is_checked_before_anything_is_served(place: Place) -> None:
    config = place.folder / "bad.toml"
    text = (place.folder / "log" / "log.toml").read_text()
    text = text.replace('"log.db"', '"other.db"').replace('"log-', '"log/log-')
    text = text.replace('"../trust', '"trust')
    open_key = place.folder / "open.key"
    shutil.copy(place.folder / "log.key", open_key)
    open_key.chmod(0o644)
    config.write_text(text.replace(str(place.folder / "log.key"), str(open_key), 1))
    done = processes.run(processes.muniment_log("serve", "--config", config))
    assert (done.returncode, done.stdout) == (3, "")
    assert "0644" in done.stderr
