"""Those who keep keys outside of a process: a command, a real ssh-agent, a real SoftHSM token."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "signer.py"
SOFTHSM = next(
    (
        path
        for folder in ("/usr/lib/softhsm", "/usr/lib64/pkcs11", "/usr/local/lib/softhsm")
        if (path := Path(folder) / "libsofthsm2.so").exists()
    ),
    None,
)
NO_AGENT = "there is no ssh-agent here" if shutil.which("ssh-agent") is None else ""
NO_TOKEN = "there is no SoftHSM here" if SOFTHSM is None else ""


@dataclass(frozen=True)
class Keeper:
    """Who keeps a key: what a reference calls it, its public half, what a process needs to ask.

    Attributes:
        signer: as in a reference file.
        public: 32 bytes.
        environment: variables for whoever asks.
    """

    signer: str
    public: bytes
    environment: Mapping[str, str]


def command(folder: Path, private: Ed25519PrivateKey) -> Keeper:
    """A command, with its key in a file."""
    path = folder / "kept.pem"
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "kept.pub").write_bytes(
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return Keeper(
        f"exec:{sys.executable} {EXAMPLE} {path}", private.public_key().public_bytes_raw(), {}
    )


@contextmanager
def agent(folder: Path, private: Ed25519PrivateKey) -> Iterator[Keeper]:
    """A real ssh-agent that has one key."""
    path = folder / "agent"
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout.readline()  # it says where it listens, and does
        environment = {"SSH_AUTH_SOCK": str(path)}
        key = folder / "ssh"
        key.touch(0o600)
        key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        subprocess.run(
            ["ssh-add", "-q", key], env={**os.environ, **environment}, check=True, timeout=60
        )
        key.unlink()
        shown = subprocess.run(
            ["ssh-add", "-l"],
            env={**os.environ, **environment},
            check=True, timeout=60, capture_output=True, text=True,
        ).stdout.split()[1]  # fmt: skip
        yield Keeper(f"agent:{shown}", private.public_key().public_bytes_raw(), environment)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def token(folder: Path, private: Ed25519PrivateKey) -> Keeper:
    """A SoftHSM token with one key behind a PIN; the module reads SOFTHSM2_CONF at its start."""
    store = folder / "tokens"
    store.mkdir()
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {store}\nlog.level = ERROR\n")
    environment = {"SOFTHSM2_CONF": str(configuration)}
    key, pin = folder / "token.pem", folder / "pin"
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    pin.touch(0o600)
    pin.write_text("8642\n")
    for arguments in (
        ["--init-token", "--free", "--label", "tests", "--so-pin", "1357", "--pin", "8642"],
        [
            "--import",
            str(key),
            "--token",
            "tests",
            "--label",
            "kept",
            "--id",
            "a1",
            "--pin",
            "8642",
        ],
    ):
        subprocess.run(
            ["softhsm2-util", *arguments],
            env={**os.environ, **environment},
            check=True, timeout=60, capture_output=True,
        )  # fmt: skip
    key.unlink()
    return Keeper(
        f"pkcs11:token=tests;object=kept;id=%A1?module-path={SOFTHSM}&pin-source={pin}",
        private.public_key().public_bytes_raw(),
        environment,
    )
