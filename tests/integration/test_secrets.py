"""Secrets stay secret: with debug logs, when things go wrong, in metrics, in core dumps."""

import os
import pty
import signal
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import processes
from log_deployment import ask, run
from muniment.local.keyfiles import read_key_file
from muniment.tlog.encoding import format_base64

PASSPHRASE = "correct horse battery staple"
TOKEN = "a-token-that-nobody-may-see"
READER = "a-read-token-that-nobody-may-see"


def secrets_of(folder: Path) -> list[bytes]:
    """All that must not leak: passphrase, tokens, and the keys in the forms that programs print."""
    found = [PASSPHRASE.encode(), TOKEN.encode(), READER.encode()]
    for path in folder.glob("*.pem"):
        private = read_key_file(path, PASSPHRASE.encode()).private
        raw = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        found += [raw, raw.hex().encode(), repr(raw).encode()[2:-1], format_base64(raw).encode()]
        found += [format_base64(der)[-40:].encode()]
    return found


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("credentials")
    file = folder / "passphrase"
    file.touch(0o600)
    file.write_text(PASSPHRASE + "\n")
    return folder


def test_nothing_secret_in_logs_errors_and_metrics(credentials: Path, tmp_path: Path) -> None:
    phrase = ("--key-passphrase-file", credentials / "passphrase")
    listen = ("--listen", "127.0.0.1:0")
    log, witness = tmp_path / "log", tmp_path / "w"
    vkeys = run(processes.muniment_log("init", log, "--origin", "log.example/s", *listen, *phrase))
    run(
        processes.muniment_witness(
            "init", witness, "--name", "w.example/s", *listen, *phrase, "--log", vkeys[0]
        )
    )
    where = str((credentials / "passphrase").resolve())
    for config in (log / "log.toml", witness / "witness.toml"):
        text = config.read_text().replace(where, "$CREDENTIALS_DIRECTORY/passphrase")
        assert where not in text
        config.write_text(text.replace('# log_level = "info"', 'log_level = "debug"'))
    with (log / "log.toml").open("a") as out:
        digests = [sha256(token.encode()).hexdigest() for token in (TOKEN, READER)]
        out.write(f'[[token]]\nproducer = "p.example"\nsha256 = "{digests[0]}"\n')
        out.write(f'[[read.token]]\nname = "r"\nsha256 = "{digests[1]}"\n')
    environment = {"CREDENTIALS_DIRECTORY": str(credentials)}
    argvs = [
        processes.muniment_witness("serve", "--config", witness / "witness.toml"),
        processes.muniment_log("serve", "--config", log / "log.toml"),
    ]
    told: list[bytes] = []
    for argv in argvs:
        # With env(1) it is our own child, whose end we can look at.
        with processes.start(["env", *argv], environment=environment) as service:
            limits = Path(f"/proc/{service.pid}/limits").read_text().splitlines()
            (core,) = [line.split()[4:6] for line in limits if line.startswith("Max core file")]
            assert core == ["0", "0"]
            for token in (TOKEN, READER):
                auth = {"Authorization": f"Bearer {token}"}
                for path in ("/metrics", "/v1/entries/0", f"/v1/entries/{token}", "/readyz", "/"):
                    answer = ask(service.url + path, headers=auth)
                    # What a client sent in its own path it may get back.
                    told.append(b"" if token in path else answer.body)
                posts = ("/v1/records", "/v1/batches", "/add-checkpoint", "/gossip/heads")
                told += [ask(service.url + path, b"{", auth).body for path in posts]
            os.kill(service.pid, signal.SIGABRT)
            end = os.waitid(os.P_PID, service.pid, os.WEXITED | os.WNOWAIT)
            assert end.si_code == os.CLD_KILLED  # and not CLD_DUMPED
            service.wait()
            told += [service.stdout.encode(), service.stderr.encode()]
    # A wrong passphrase, and none: both end in one line without it.
    for environment in ({"CREDENTIALS_DIRECTORY": str(tmp_path)}, {}):
        (tmp_path / "passphrase").touch(0o600)
        (tmp_path / "passphrase").write_text("wrong horse battery staple")
        for argv in argvs:
            with processes.Process(argv, environment=environment) as service:
                assert service.wait() == 3
                told += [service.stdout.encode(), service.stderr.encode()]
    everything = b"\0".join(told)
    assert b"wrong horse" not in everything
    for secret in secrets_of(log) + secrets_of(witness):
        assert secret not in everything


def test_a_passphrase_is_asked_for_on_the_terminal(credentials: Path, tmp_path: Path) -> None:
    phrase = ("--key-passphrase-file", credentials / "passphrase")
    run(processes.muniment_log("init", tmp_path, "--origin", "log.example/t", *phrase))
    config = tmp_path / "log.toml"
    config.write_text(config.read_text().replace("key_passphrase_file", "# was"))
    argv = processes.muniment_log("vkeys", "--config", config)
    child, terminal = pty.fork()
    if not child:
        os.execv(sys.executable, argv)
    shown = b""
    deadline = time.monotonic() + 60
    while b"log-ed25519.pem: " not in shown and time.monotonic() < deadline:
        shown += os.read(terminal, 4096)
    os.write(terminal, PASSPHRASE.encode() + b"\n")
    while time.monotonic() < deadline:
        try:
            more = os.read(terminal, 4096)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not more:
            break
        shown += more
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert shown.count(b"Passphrase of") == 1  # once for both keys
    assert shown.count(b"log.example/t+") == 2
    assert PASSPHRASE.encode() not in shown
