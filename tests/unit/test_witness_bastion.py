"""A witness's side of https-bastion: who it says it is, what it believes, and what it serves."""

import asyncio
import contextlib
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

import signing
from bastions import Client, client_of
from certificates import Authority
from muniment.local.keyfiles import write_key_file
from muniment.tlog.keys.keyfile import KeyFile, generate
from muniment.tlog.witnesswire import origin_hash
from muniment_service.config import ConfigError
from muniment_service.http import Request, Response, text_response
from muniment_service.limits import Budget, Limits
from muniment_witness.bastion import link as links
from muniment_witness.bastion.identity import _self_signed, client_context
from muniment_witness.bastion.link import BastionLink, BastionState, Way, forwarded_for
from muniment_witness.bastion.links import Bastions
from muniment_witness.bastion.table import Bastion, BastionEntry, hash_of, read_bastions
from muniment_witness.cli import main
from muniment_witness.gossip.alarms import Situation, alarms
from muniment_witness.witnessfile import Gossip
from waiting import at_work, until

NOW = 1_790_000_000
ORIGIN = "log.example"
PUBLIC = signing.ed25519("bastion").public_key().public_bytes_raw()
CONFIG = Path("witness.toml")


class Asked:
    """An app that remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    async def respond(self, request: Request) -> Response:
        self.requests.append(request)
        return text_response("answered")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "bastion.pem"
    write_key_file(path, KeyFile(signing.ed25519("bastion"), None))
    return path


def read(*entries: BastionEntry, known: Sequence[str] | None = (ORIGIN,)) -> tuple[Bastion, ...]:
    return read_bastions(CONFIG, entries, None if known is None else frozenset(known))


def fails(*entries: BastionEntry) -> str:
    with pytest.raises(ConfigError) as caught:
        read(*entries)
    return str(caught.value).removeprefix("witness.toml: ")


def test_a_bastion_gives_a_prefix_of_the_hash_of_the_public_key(key: Path) -> None:
    [bastion] = read(BastionEntry("https://bastion.example:8443/", key))
    hashed = sha256(PUBLIC).hexdigest()
    assert hash_of(key) == hashed
    assert bastion.prefix == f"https://bastion.example:8443/{hashed}"
    assert (bastion.host, bastion.port, bastion.logs) == ("bastion.example", 8443, None)
    [bastion] = read(BastionEntry("https://[::1]", key, logs=(ORIGIN,)))
    assert (bastion.host, bastion.port, bastion.logs) == ("::1", 443, {ORIGIN})


def test_what_a_table_must_not_say(key: Path, tmp_path: Path) -> None:
    url = "https://bastion.example"
    assert (
        fails(BastionEntry("http://a.example", key)) == "bastion[0].url: must begin with https://"
    )
    assert "has no path" in fails(BastionEntry(f"{url}/a", key))
    assert "has no path" in fails(BastionEntry(f"{url}?a", key))
    assert "twice" in fails(BastionEntry(url, key), BastionEntry(f"{url}/", key))
    assert "bastion[0].logs: no log a.example" in fails(BastionEntry(url, key, logs=("a.example",)))
    assert read(BastionEntry(url, key, logs=("a.example",)), known=None)  # a list may bring it
    assert "bastion[0].key: " in fails(BastionEntry(url, tmp_path / "absent"))
    other = tmp_path / "mldsa44.pem"
    write_key_file(other, KeyFile(generate("mldsa44"), None))
    assert "needs an Ed25519 key" in fails(BastionEntry(url, other))
    key.chmod(0o644)
    assert "make it 0600" in fails(BastionEntry(url, key))


def test_without_h2_it_says_what_to_install(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muniment_witness.bastion.table.find_spec", lambda _: None)
    assert read() == ()
    assert "install muniment[bastion]" in fails(BastionEntry("https://bastion.example", key))


def test_the_command_makes_a_key_once(tmp_path: Path) -> None:
    file = str(tmp_path / "new.pem")
    results = [CliRunner().invoke(main, ["bastion-key", file]) for _ in range(2)]
    assert [result.exit_code for result in results] == [0, 0]
    assert {result.stdout.strip() for result in results} == {hash_of(tmp_path / "new.pem")}
    assert [bool(result.stderr) for result in results] == [True, False]


def test_the_certificate_is_self_signed_with_the_key(key: Path) -> None:
    now = dt.datetime.fromtimestamp(NOW, dt.UTC)
    made = x509.load_pem_x509_certificate(_self_signed(key, now))
    public = made.public_key()
    assert isinstance(public, Ed25519PublicKey)
    assert public.public_bytes_raw() == PUBLIC
    made.verify_directly_issued_by(made)
    assert made.not_valid_before_utc < now < made.not_valid_after_utc


def test_it_speaks_tls_1_3_and_verifies_the_bastion(key: Path) -> None:
    [bastion] = read(BastionEntry("https://bastion.example", key))
    context = client_context(bastion, None)
    assert context.minimum_version == context.maximum_version == ssl.TLSVersion.TLSv1_3
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


class Listening:
    """A bastion of the test: it listens, shakes hands, and is an HTTP/2 client."""

    def __init__(self, folder: Path, key: Path) -> None:
        self.authority = Authority(folder)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*self.authority.issue("server"))
        self.context.set_alpn_protocols(["bastion/0"])
        self.certificate = folder / "backend.crt"
        self.certificate.write_bytes(_issued())
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.load_verify_locations(self.certificate)
        self.ca = self.authority.file
        self.key = key
        self.state = BastionState()
        self.app = Asked()
        self.accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            asyncio.Queue()
        )

    @contextlib.asynccontextmanager
    async def linked(self, logs: frozenset[str] | None = None) -> AsyncIterator[BastionLink]:
        listening = await asyncio.start_server(
            lambda *ends: self.accepted.put_nowait(ends), "127.0.0.1", 0, ssl=self.context
        )
        port = listening.sockets[0].getsockname()[1]
        bastion = Bastion("127.0.0.1", port, "prefix", self.key, self.certificate, logs)
        link = BastionLink(
            bastion, self.state, self.app, Limits(), Budget(1 << 20), lambda: self.ca, lambda: NOW
        )
        try:
            async with at_work(link.run()):
                yield link
        finally:
            listening.close()
            while not self.accepted.empty():
                self.accepted.get_nowait()[1].transport.abort()
            await listening.wait_closed()

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with client_of(*await self.accepted.get()) as client:
            await client.begin()
            yield client

    async def error(self) -> str:
        await until(lambda: bool(self.state.error))
        return self.state.error


def _issued() -> bytes:
    """A certificate that a bastion knows beforehand: Python's ssl takes no unknown ones."""
    private = signing.ed25519("bastion")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "witness")])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .public_key(private.public_key())
    )
    return builder.sign(private, None).public_bytes(Encoding.PEM)


@pytest.fixture
def listening(tmp_path: Path, key: Path) -> Listening:
    return Listening(tmp_path, key)


async def test_it_serves_whom_the_bastion_forwards(listening: Listening) -> None:
    async with listening.linked(), listening.client() as client:
        shown = client.writer.get_extra_info("ssl_object")
        assert shown.version() == "TLSv1.3"
        assert shown.selected_alpn_protocol() == "bastion/0"
        certificate = x509.load_der_x509_certificate(shown.getpeercert(binary_form=True))
        public = certificate.public_key()
        assert isinstance(public, Ed25519PublicKey)
        assert public.public_bytes_raw() == PUBLIC
        forwarded = [("x-forwarded-for", "192.0.2.7")]
        assert (await client.ask("/add-checkpoint", b"x", headers=forwarded))[0] == 200
        [request] = listening.app.requests
        assert (request.path, request.client, request.about) == (
            "/add-checkpoint", "192.0.2.7", None,
        )  # fmt: skip
        state = listening.state
        assert (state.since, state.connections, state.requests, state.error) == (NOW, 1, 1, "")


async def test_it_comes_again_and_ends_when_it_is_told(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "FIRST_PAUSE", 0.01)
    async with listening.linked() as link:
        async with listening.client():
            await until(lambda: listening.state.since == NOW)
        await until(lambda: listening.state.since == 0)
        assert "closed the connection" in listening.state.error
        assert listening.state.reached == NOW
        async with listening.client() as client:
            await until(lambda: listening.state.since == NOW)
            await link.finish()
            await client.ended()
        assert listening.state.connections == 2


async def test_a_bastion_of_another_ca_is_not_believed(
    listening: Listening, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    listening.ca = Authority(tmp_path / "other").file
    async with listening.linked():
        assert "its certificate: " in await listening.error()
    assert listening.app.requests == []


async def test_older_tls_is_refused(listening: Listening) -> None:
    listening.context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with listening.linked():
        assert await listening.error()
        assert listening.state.connections == 0
        assert listening.accepted.empty()


async def test_a_server_without_the_protocol_is_no_bastion(listening: Listening) -> None:
    listening.context.set_alpn_protocols(["http/1.1"])
    async with listening.linked():
        # OpenSSL's server goes on without a protocol when it knows none of those offered.
        assert "bastion/0" in await listening.error()


async def test_a_key_that_is_not_allowed_is_named(listening: Listening, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(listening.authority.file.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*listening.authority.issue("strict"))
    context.set_alpn_protocols(["bastion/0"])
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(other)
    listening.context = context
    async with listening.linked():
        assert "has its operator allowed the key prefix?" in await listening.error()


async def test_nobody_listens(key: Path, tmp_path: Path) -> None:
    bastion = Bastion("127.0.0.1", 1, "prefix", key)
    state = BastionState()
    app, limits = Asked(), Limits()
    link = BastionLink(bastion, state, app, limits, Budget(1), lambda: None, lambda: NOW)
    async with at_work(link.run()):
        await until(lambda: bool(state.error))
        assert "no connection" in state.error


async def test_a_reload_brings_and_takes_bastions(listening: Listening) -> None:
    class Config:
        bastions: tuple[Bastion, ...] = ()
        ca: Path | None = None

    config = Config()
    serving = Bastions(lambda: config, Limits(), lambda: NOW)
    async with at_work(serving.run(listening.app)):
        config.bastions = (Bastion("127.0.0.1", 1, "prefix", listening.key),)
        await until(lambda: "prefix" in serving.state and bool(serving.state["prefix"].error))
        config.bastions = ()
        await until(lambda: not serving.state)
        await serving.finish()


OWN, OTHER = origin_hash(ORIGIN), origin_hash("other.example")
FOR_ALL = (
    "/add-checkpoint", "/sign-subtree", f"/{OWN}/checkpoint", f"/{OTHER}/tile/0/000",
    "/gossip/heads", "/gossip/evidence", "/gossip/evidence/00", "/witness.v0.json",
)  # fmt: skip
FOR_ONE = ("/add-checkpoint", "/sign-subtree", f"/{OWN}/checkpoint", f"/{OWN}/history/3")
NEVER = ("/", "/metrics", "/healthz", "/readyz", "/status.json", "/about", "/openapi.json", "//")


@pytest.mark.parametrize(
    ("logs", "open_"), [(None, FOR_ALL + FOR_ONE), (frozenset({ORIGIN}), FOR_ONE)]
)
async def test_what_leads_through(logs: frozenset[str] | None, open_: Sequence[str]) -> None:
    app = Asked()
    way = Way(app, logs)
    for path in dict.fromkeys([*FOR_ALL, *FOR_ONE, *NEVER]):
        app.requests.clear()
        request = Request("GET", path, {}, None)  # type: ignore[arg-type]
        answer = await way.respond(request)
        assert answer.status == (200 if path in open_ else 404)
        assert len(app.requests) == (path in open_)
        assert all(each.about == logs for each in app.requests)


def test_one_forwarded_address_is_observed() -> None:
    assert forwarded_for(" 192.0.2.7") == "192.0.2.7"
    assert forwarded_for("2001:DB8::1") == "2001:db8::1"
    for text in ("", "192.0.2.7, 192.0.2.8", "a.example", "192.0.2.7:80", "é"):
        assert forwarded_for(text) == ""


def test_a_bastion_that_is_away_too_long_is_an_alarm() -> None:
    limits = Gossip(deadline_seconds=60)
    away = BastionState(reached=NOW - 50, error="no connection")

    def raised(now: int) -> list[tuple[str, str]]:
        at = Situation(now, 0, "w.example", limits, {}, bastions={"https://b/0": away})
        return [(alarm.kind, alarm.subject) for alarm in alarms(at)]

    assert raised(NOW) == []
    assert raised(NOW + 11) == [("unreachable", "https://b/0")]
    away.error = ""
    assert raised(NOW + 11) == []
