"""``muniment keygen``: keys that are made, imported and refused."""

import shutil
from pathlib import Path

import pytest

from commands import muniment, one_line
from muniment.local.keyfiles import read_key_file
from muniment.tlog.note import parse_vkey

SESAME = "a sesame that is long"


@pytest.mark.parametrize(
    ("use", "algorithm", "kind"),
    [
        ("log", "ed25519", 1),
        ("log", "mldsa44", 6),
        ("witness", "ed25519", 4),
        ("witness", "mldsa44", 6),
        ("gateway", "ed25519", 1),
    ],
)
def test_keygen_writes_the_key_and_prints_the_vkey(
    gateway_folder: Path, use: str, algorithm: str, kind: int
) -> None:
    options = ["--name", "x.example/y", "--use", use, "--algorithm", algorithm]
    printed = muniment("keygen", *options, "--out", "new.pem").stdout
    vkey = parse_vkey(printed.removesuffix("\n"))
    assert (vkey.name, vkey.algorithm) == ("x.example/y", kind)
    assert read_key_file(gateway_folder / "new.pem").vkey == vkey
    assert (gateway_folder / "new.pem").stat().st_mode & 0o777 == 0o600
    error = one_line(muniment("keygen", *options, "--out", "new.pem", code=7))
    assert "exists already" in error


def test_keygen_encrypts(gateway_folder: Path) -> None:
    options = ["--name", "x.example/y", "--use", "gateway", "--encrypt", "--out", "new.pem"]
    result = muniment("keygen", *options, stdin=f"{SESAME}\n{SESAME}\n")
    assert result.stdout.startswith("x.example/y+")
    assert read_key_file(gateway_folder / "new.pem", SESAME.encode()).vkey is not None
    muniment("keygen", *options[:-1], "other.pem", stdin=f"{SESAME}\ndifferent\n", code=1)
    short = muniment("keygen", *options[:-1], "short.pem", stdin="sesame\nsesame\n", code=7)
    assert "shorter than 16" in short.stderr
    (gateway_folder / "pass").touch(0o600)
    (gateway_folder / "pass").write_text(f"{SESAME}\n")
    options = [*options[:4], "--passphrase-file", "pass", "--out", "third.pem"]
    muniment("keygen", *options)
    assert read_key_file(gateway_folder / "third.pem", SESAME.encode()).vkey is not None
    (gateway_folder / "pass").write_text("\n")
    assert "empty" in one_line(muniment("keygen", *options[:-1], "fourth.pem", code=7))
    (gateway_folder / "pass").write_text("sesame\n")
    assert "shorter than 16" in one_line(muniment("keygen", *options[:-1], "5.pem", code=7))
    (gateway_folder / "pass").chmod(0o640)
    assert "0640" in one_line(muniment("keygen", *options[:-1], "6.pem", code=7))
    assert not list(gateway_folder.glob("short.pem")) + list(gateway_folder.glob("[4-6]*.pem"))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--name", "x y", "--use", "log"], "key name"),
        (["--name", "x", "--use", "gateway", "--algorithm", "mldsa44"], "Ed25519"),
    ],
)
def test_keygen_refuses(gateway_folder: Path, options: list[str], word: str) -> None:
    assert word in one_line(muniment("keygen", *options, "--out", "new.pem", code=7))
    assert not (gateway_folder / "new.pem").exists()


KEYS = Path(__file__).parents[1] / "keys"


def private_copy(place: Path, name: str) -> str:
    """A key of another tool, which the checkout keeps without the mode of a private file."""
    shutil.copyfile(KEYS / name, place / name)
    (place / name).chmod(0o600)
    return name


@pytest.mark.parametrize(
    ("name", "kind"),
    [("openssl-mldsa44-seed-priv.pem", 6), ("openssh-ed25519", 1), ("ring-ed25519.der", 1)],
)
def test_keygen_imports_a_key(gateway_folder: Path, name: str, kind: int) -> None:
    source = private_copy(gateway_folder, name)
    options = ["--from", source, "--name", "x.example/y", "--use", "log"]
    printed = muniment("keygen", *options, "--out", "new.pem").stdout
    vkey = parse_vkey(printed.removesuffix("\n"))
    assert (vkey.name, vkey.algorithm) == ("x.example/y", kind)
    assert read_key_file(gateway_folder / "new.pem").vkey == vkey
    assert (gateway_folder / "new.pem").stat().st_mode & 0o777 == 0o600
    # What was imported may be imported again, and stays what it was.
    options[1] = "new.pem"
    assert muniment("keygen", *options, "--out", "again.pem").stdout == printed
    assert (gateway_folder / "again.pem").read_bytes() == (gateway_folder / "new.pem").read_bytes()
    assert (gateway_folder / source).read_bytes() == (KEYS / source).read_bytes()


def test_keygen_imports_a_key_with_a_passphrase(gateway_folder: Path) -> None:
    options = [
        "--from",
        private_copy(gateway_folder, "openssh-ed25519-encrypted"),
        "--name",
        "x.example/y",
    ]
    options += ["--use", "gateway", "--out", "new.pem"]
    assert "no passphrase given" in one_line(muniment("keygen", *options, code=7))
    (gateway_folder / "theirs").touch(0o600)
    (gateway_folder / "theirs").write_text("test passphrase of fixtures\n")
    (gateway_folder / "ours").touch(0o600)
    (gateway_folder / "ours").write_text(f"{SESAME}\n")
    muniment("keygen", *options, "--from-passphrase-file", "theirs", "--passphrase-file", "ours")
    assert read_key_file(gateway_folder / "new.pem", SESAME.encode()).vkey is not None
    options[-1] = "plain.pem"
    plain = muniment("keygen", *options, "--from-passphrase-file", "theirs")
    assert "openssh-ed25519-encrypted is encrypted, plain.pem is not" in plain.stderr


def test_keygen_says_when_a_note_key_gets_another_name(gateway_folder: Path) -> None:
    options = ["--from", private_copy(gateway_folder, "go-note-ed25519.key"), "--use", "log"]
    named = muniment("keygen", *options, "--name", "note.example/test", "--out", "new.pem")
    assert named.stdout == (KEYS / "go-note-ed25519.vkey").read_text()
    assert named.stderr == ""
    other = muniment("keygen", *options, "--name", "x.example/y", "--out", "other.pem")
    assert "names its key note.example/test; as x.example/y it has another vkey" in other.stderr
    assert other.stdout.startswith("x.example/y+")


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("openssl-mldsa44-seed-priv.pem", ["--use", "gateway"], "Ed25519"),
        ("openssl-mldsa44-priv-only.pem", ["--use", "log"], "seed-only"),
        ("openssl-ed25519.pem", ["--use", "log", "--algorithm", "mldsa44"], "is for ed25519"),
        ("openssh-ecdsa", ["--use", "log"], "not Ed25519"),
    ],
)
def test_keygen_refuses_to_import(
    gateway_folder: Path, name: str, options: list[str], word: str
) -> None:
    source = private_copy(gateway_folder, name)
    options = ["--from", source, "--name", "x", *options, "--out", "new.pem"]
    assert word in one_line(muniment("keygen", *options, code=7))
    assert not (gateway_folder / "new.pem").exists()
    (gateway_folder / source).chmod(0o644)
    assert "make it 0600" in one_line(muniment("keygen", *options, code=7))
