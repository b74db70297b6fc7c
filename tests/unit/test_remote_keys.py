"""Keys that others keep: what references say, real keepers, and what becomes of bad answers."""

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.exceptions import UnsupportedAlgorithm

import keepers
import processes
from commands import muniment
from muniment.local.keyfiles import is_encrypted, read_key_file, write_key_file
from muniment.local.remotekeys import command, open_remote, parse_public, public_of
from muniment.local.remotekeys.token import parse_uri
from muniment.tlog.cosignature import signer_for
from muniment.tlog.encoding import FormatError, MunimentError
from muniment.tlog.keys.keyfile import KeyFile, public_bytes
from muniment.tlog.keys.reference import KeyReference, format_reference, parse_reference
from muniment.tlog.keys.remote import RemoteKey, SigningError
from muniment.tlog.note import (
    COSIGNATURE_ED25519,
    ED25519,
    Ed25519Verifier,
    VKey,
    is_remote,
    parse_vkey,
    sign_note,
)
from muniment_log.core.ports import NEW_STREAM
from muniment_log.core.tokens import TokenFramer, token_key
from signing import ed25519, mldsa44

KEY = ed25519("kept elsewhere")
PUBLIC = public_bytes(KEY)
NAME = "gateway.example/remote"
VKEY = VKey.of(NAME, ED25519, PUBLIC)
MLDSA = signer_for("w.example", mldsa44("w"), use="witness").vkey
MESSAGE = b"a message\n"


@contextmanager
def environment(of: keepers.Keeper, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        for name, value in of.environment.items():
            patch.setenv(name, value)
        yield


def test_a_command_signs(tmp_path: Path) -> None:
    keeper = keepers.command(tmp_path, KEY)
    key = open_remote(KeyReference(keeper.signer, VKEY))
    assert key.sign(MESSAGE) == KEY.sign(MESSAGE)
    signer = signer_for(NAME, key, use="gateway")
    assert is_remote(signer)
    assert not is_remote(signer_for(NAME, KEY, use="gateway"))
    note = sign_note("text\n", [signer], 0)
    Ed25519Verifier(VKEY).verify("text\n", note.signatures[0].signature)
    with pytest.raises(FormatError, match="--public"):
        public_of(keeper.signer)


@pytest.mark.skipif(bool(keepers.NO_AGENT), reason=keepers.NO_AGENT or "")
def test_an_ssh_agent_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with keepers.agent(tmp_path, KEY) as keeper, environment(keeper, monkeypatch):
        assert public_of(keeper.signer) == PUBLIC
        listed = processes.run(["ssh-add", "-l"], environment=keeper.environment).stdout
        comment = listed.split(maxsplit=2)[2].removesuffix("(ED25519)\n").strip()
        assert public_of(f"agent:{comment}") == PUBLIC
        key = open_remote(KeyReference(keeper.signer, VKEY))
        assert key.sign(MESSAGE) == KEY.sign(MESSAGE)
        assert key.sign(bytes(200_000)) == KEY.sign(bytes(200_000))
        with pytest.raises(SigningError, match=r"no key SHA256:x; `ssh-add -l`"):
            public_of("agent:SHA256:x")
        other = VKey.of(NAME, ED25519, public_bytes(ed25519("other")))
        with pytest.raises(SigningError, match="refused"):
            open_remote(KeyReference(keeper.signer, other)).sign(MESSAGE)
    with environment(keeper, monkeypatch), pytest.raises(SigningError, match="ssh-agent: /"):
        key.sign(MESSAGE)  # it has ended
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(SigningError, match="SSH_AUTH_SOCK is not set"):
        key.sign(MESSAGE)


@pytest.mark.skipif(bool(keepers.NO_TOKEN), reason=keepers.NO_TOKEN or "")
def test_a_token_signs(tmp_path: Path) -> None:
    keeper = keepers.token(tmp_path, KEY)
    # In a process of its own: the module reads its configuration once.
    script = tmp_path / "sign.py"
    script.write_text(
        "import sys\nfrom muniment.local.remotekeys import open_remote, public_of\n"
        "from muniment.tlog.keys.reference import KeyReference\n"
        "from muniment.tlog.note import ED25519, VKey\n"
        "public = public_of(sys.argv[1])\n"
        "key = open_remote(KeyReference(sys.argv[1], VKey.of('a.example', ED25519, public)))\n"
        "print(public.hex(), key.sign(b'a message\\n').hex(), key.sign(b'').hex())\n"
    )

    def run(signer: str) -> processes.Done:
        return processes.run([sys.executable, str(script), signer], environment=keeper.environment)

    done = run(keeper.signer)
    assert done.stdout.split() == [PUBLIC.hex(), KEY.sign(MESSAGE).hex(), KEY.sign(b"").hex()]
    for wrong, said in (
        (keeper.signer.replace("object=kept", "object=other"), "0 private keys are meant"),
        (keeper.signer.replace("token=tests", "token=none"), "0 tokens are meant"),
        (keeper.signer.replace("libsofthsm2", "no-such-module"), "pkcs11: "),
        (keeper.signer.replace("/pin", "/no-pin"), "cannot read the PIN"),
    ):
        assert f"{said}" in run(wrong).stderr.splitlines()[-1]
    (tmp_path / "pin").write_text("9999\n")
    assert "SigningError: pkcs11: " in run(keeper.signer).stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 3", "sh: ended with 3"),
        ("echo no luck >&2; exit 1", "ended with 1: no luck"),
        ("true", "0 bytes instead of an Ed25519 signature"),
        ("head -c 64 /dev/zero", "the signature does not verify: it keeps another key"),
        ("head -c 65 /dev/zero", "65 bytes instead"),
        ("printf '\\033[31mred' >&2; exit 1", r"\?\[31mred"),
    ],
)
def test_what_a_command_may_do_wrong(script: str, said: str) -> None:
    reference = KeyReference(f"exec:sh -c '{script}'".replace("printf '", 'printf "').replace(
        "red' >", 'red" >'), VKEY)  # fmt: skip
    with pytest.raises(SigningError, match=said):
        open_remote(reference).sign(MESSAGE)


def test_a_command_that_is_not_there_or_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SigningError, match="cannot be run: No such file"):
        open_remote(KeyReference("exec:no-such-command-here", VKEY)).sign(MESSAGE)
    monkeypatch.setattr(command, "DEADLINE", 0.2)
    with pytest.raises(SigningError, match="no signature within"):
        open_remote(KeyReference("exec:sleep 600", VKEY)).sign(MESSAGE)


def test_base64_is_taken_and_a_failure_is_tried_once_more(tmp_path: Path) -> None:
    keeper = keepers.command(tmp_path, KEY)
    script = tmp_path / "flaky"
    script.write_text(
        f"#!/bin/sh\nif [ ! -e {tmp_path}/tried ]; then touch {tmp_path}/tried; exit 1; fi\n"
        f"{keeper.signer.removeprefix('exec:')} | base64 -w 0\n"
    )
    script.chmod(0o700)
    assert open_remote(KeyReference(f"exec:{script}", VKEY)).sign(MESSAGE) == KEY.sign(MESSAGE)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0\0\0\0",
        b"\0\0\0\1\5",
        b"\xff\xff\xff\xff",
        b"\0\0\0\2\x0e\0",
        b"\0\0\0\5\x0e\0\0\0\x09",
        b"\0\0\0\x09\x0e\0\0\0\4\0\0\0\0",
        b"\0\0\0\x10\x0e\0\0\0\x0b\0\0\0\x03ssh\0\0\0\0",
    ],
)
def test_an_agent_that_answers_nonsense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    path = tmp_path / "agent"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        server.settimeout(60)

        def serve() -> None:
            for _ in range(2):  # it is asked once more
                connection, _ = server.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(SigningError, match="ssh-agent: "):
            open_remote(KeyReference("agent:x", VKEY)).sign(MESSAGE)
        thread.join()


def test_reference_files(tmp_path: Path) -> None:
    reference = KeyReference('exec:sign --key "a b"', VKEY)
    path = tmp_path / "reference"
    path.touch(0o600)
    path.write_bytes(format_reference(reference))
    assert parse_reference(path.read_bytes()) == reference
    found = read_key_file(path)
    assert found.vkey == VKEY
    assert isinstance(found.private, RemoteKey)
    assert not is_encrypted(path)
    path.chmod(0o644)  # who can write it decides who signs; others have no rights on it
    with pytest.raises(MunimentError, match="make it 0600"):
        read_key_file(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("signer = 1\nvkey = 'x'", "signer: expected a string"),
        ("signer = 'exec:a'", "vkey: expected a string"),
        (f"signer = 'exec:a'\nvkey = '{VKEY}'\nmore = 1", "unknown member 'more'"),
        (f"signer = 'exec: '\nvkey = '{VKEY}'", "expected exec:COMMAND"),
        (f"signer = 'vault:a'\nvkey = '{VKEY}'", "expected exec:COMMAND"),
        (f"signer = '''exec:a \"b'''\nvkey = '{VKEY}'", "exec: No closing quotation"),
        ("signer = 'exec:a'\nvkey = 'no vkey'", "vkey: not of the form"),
        (f"signer = 'exec:a'\nsigner = 'exec:b'\nvkey = '{VKEY}'", "not TOML"),
        (f"signer = 'exec:a'\nvkey = '{MLDSA}'", "only Ed25519 keys"),
    ],
)
def test_what_a_reference_may_have_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "reference"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(FormatError, match=f"^{path}: .*{said}"):
        read_key_file(path)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("object=a", "no module-path"),
        ("token=a?module-path=/m", "neither object nor id"),
        ("object=a;object=b?module-path=/m", "object twice"),
        ("object=a;slot-id=3?module-path=/m", "unknown attribute 'slot-id'"),
        ("object=a?module-path=/m&pin-value=1", "unknown attribute 'pin-value'"),
        ("object=a;module-path=/m", "unknown attribute 'module-path'"),
    ],
)
def test_uris_that_are_not_understood(uri: str, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        parse_uri(uri)


def test_the_private_half_is_not_given_away(tmp_path: Path) -> None:
    key = open_remote(KeyReference("exec:a", VKEY))
    with pytest.raises(UnsupportedAlgorithm, match="does not give it away"):
        key.private_bytes_raw()
    with pytest.raises(UnsupportedAlgorithm, match="does not give it away"):
        write_key_file(tmp_path / "copy", KeyFile(key, VKEY))
    assert not (tmp_path / "copy").exists()


def test_public_keys_in_files() -> None:
    for good in (
        b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f c\n",
        b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
    ):
        assert parse_public(good) == bytes(range(32))
    for bad in (b"", b"x", b"ssh-rsa AAAA", b"AAECAwQ=", b"-----BEGIN PUBLIC KEY-----\n"):
        with pytest.raises(FormatError):
            parse_public(bad)


def test_keygen_refers_to_a_key(tmp_path: Path) -> None:
    keeper = keepers.command(tmp_path, KEY)
    out = tmp_path / "reference"
    options = ("--name", NAME, "--signer", keeper.signer, "--public", str(tmp_path / "kept.pub"))
    said = muniment("keygen", *options, "--use", "gateway", "--out", str(out)).stdout
    assert parse_vkey(said.strip()) == VKEY == read_key_file(out).vkey
    assert out.stat().st_mode & 0o777 == 0o600
    witness = muniment("keygen", *options, "--use", "witness", "--out", f"{out}-w").stdout
    assert parse_vkey(witness.strip()) == VKey.of(NAME, COSIGNATURE_ED25519, PUBLIC)
    again = muniment("keygen", *options, "--use", "gateway", "--out", str(out), code=7)
    assert "exists already" in again.stderr
    # The public half of another key: it is tried before anything is written.
    (tmp_path / "kept.pub").write_text("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n")
    other = muniment("keygen", *options, "--use", "gateway", "--out", f"{out}-2", code=7)
    assert "the signature does not verify" in other.stderr
    assert not Path(f"{out}-2").exists()
    for wrong in (("--algorithm", "mldsa44"), ("--encrypt",), ("--from", str(out))):
        muniment("keygen", *options, *wrong, "--use", "gateway", "--out", f"{out}-3", code=7)
    muniment(
        "keygen", "--name", NAME, "--use", "gateway", "--public", str(out), "--out", "x", code=7
    )


async def test_signing_afar_does_not_stop_the_loop(tmp_path: Path) -> None:
    """The command waits for a FIFO that only the event loop opens."""
    keeper = keepers.command(tmp_path, KEY)
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = tmp_path / "slow"
    script.write_text(f"#!/bin/sh\ncat {gate} >&2\nexec {keeper.signer.removeprefix('exec:')}\n")
    script.chmod(0o700)
    key = open_remote(KeyReference(f"exec:{script}", VKEY))
    framer = TokenFramer("log.example", signer_for(NAME, key, use="log"))
    framing = asyncio.create_task(framer.frame(token_key("p.example"), NEW_STREAM, [b"{}"]))
    writer = await asyncio.to_thread(gate.open, "w")
    assert not framing.done()
    writer.close()
    batch = await framing
    assert batch.manifest.count == 1
