"""witness.toml, the keys it names, and what `muniment-witness init` writes."""

from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner

from muniment.local.keyfiles import write_key_file
from muniment.tlog.keys.keyfile import KeyFile, generate
from muniment_service.config import ConfigError
from muniment_service.exits import EXIT_CONFIG
from muniment_witness.cli import main
from muniment_witness.config import WitnessConfig, load
from witness_tools import ORIGIN, log_signer, witness_signer

NAME = "witness.example/w1"
ED25519 = log_signer().vkey
PEER = witness_signer(name="w2.example").vkey
MLDSA44 = log_signer(algorithm="mldsa44").vkey


def write(folder: Path, *, keys: str = '["key.pem"]', more: str = "", name: str = NAME) -> Path:
    if not (folder / "key.pem").exists():
        write_key_file(folder / "key.pem", KeyFile(generate("ed25519"), None), None)
    path = folder / "witness.toml"
    path.write_text(
        f'name = "{name}"\nlisten = "127.0.0.1:0"\ndatabase = "witness.db"\nkeys = {keys}\n{more}',
        encoding="utf-8",
    )
    return path


def fails(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_the_file_of_issue_2(tmp_path: Path) -> None:
    other = log_signer("other.example").vkey
    more = f'[[log]]\nvkeys = ["{ED25519}", "{MLDSA44}"]\n[[log]]\nvkeys = ["{other}"]\n'
    config = load(write(tmp_path, more=more))
    assert isinstance(config, WitnessConfig)
    assert set(config.logs) == {ORIGIN, "other.example"}
    assert [v.vkey for v in config.logs[ORIGIN].verifiers] == [ED25519, MLDSA44]
    assert config.file.database == tmp_path / "witness.db"
    assert [signer.vkey.algorithm for signer in config.signers] == [4]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("colour = 1", "colour: unknown key"),
        ("[[log]]\nvkeys = []", "log[0].vkeys: Expected `array` of length >= 1"),
        ('[[log]]\nvkeys = ["x"]', "log[0].vkeys[0]: vkey: "),
        (f'[[log]]\nvkeys = ["{ED25519}", "{ED25519}"]', "log[0].vkeys[1]: the same key twice"),
        (
            f'[[log]]\nvkeys = ["{ED25519}"]\n[[log]]\nvkeys = ["{MLDSA44}"]',
            f"log[1]: {ORIGIN} is configured twice",
        ),
        (
            f'[[log]]\nvkeys = ["{ED25519}", "{log_signer("other.example").vkey}"]',
            f"log[0].vkeys[1]: other.example is another log than {ORIGIN}",
        ),
        (
            f'[[log]]\nvkeys = ["{witness_signer().vkey}"]',
            "log[0].vkeys[0]: signature type 0x04 is not one of a log",
        ),
        ('key_passphrase_file = "absent"', "key_passphrase_file: "),
        ("[gossip]\nperiod_seconds = 0", "gossip.period_seconds: Expected `float` >= 0.01"),
        (f'[[log]]\nvkeys = ["{ED25519}"]\nurl = "ftp://x"', "log[0].url: must begin with http"),
        (f'[[log]]\nvkeys = ["{ED25519}"]\ncosign_pulled = true', "needs a url to pull from"),
        (f'[[log]]\nvkeys = ["{ED25519}"]\nacknowledged = ["x"]', "log[0].acknowledged[0]"),
        (f'[[peer]]\nvkeys = ["{ED25519}"]\nurl = "http://x"', "not one of a witness (4 or 6)"),
        (f'[[peer]]\nvkeys = ["{PEER}"]\nurl = "http://x/?q"', "peer[0].url: a base URL has no"),
        (f'[[peer]]\nvkeys = ["{PEER}"]', "peer[0].url: missing"),
        ('log_level = "loud"', "log_level: 'loud' is none of 'debug', 'error', 'info', 'warning'"),
    ],
    ids=count(),  # the keys in the texts are new in each process
)
def test_errors_name_the_key(tmp_path: Path, more: str, message: str) -> None:
    assert message in fails(write(tmp_path, more=more))


def test_keys_that_cannot_be_used(tmp_path: Path) -> None:
    assert fails(write(tmp_path, keys='["absent.pem"]')).startswith("keys[0]: ")
    assert fails(write(tmp_path, keys='["key.pem", "key.pem"]')).endswith("the same key twice")
    assert fails(write(tmp_path, keys="[]")).startswith("keys: Expected")
    assert fails(write(tmp_path, name="two words")).startswith("name: ")
    (tmp_path / "key.pem").chmod(0o644)
    assert "key.pem" in fails(write(tmp_path))


def test_the_key_of_another_witness_is_refused(tmp_path: Path) -> None:
    private = generate("ed25519")
    from muniment.tlog.cosignature import signer_for

    other = signer_for("witness.example/w2", private, use="witness").vkey
    write_key_file(tmp_path / "key.pem", KeyFile(private, other), None)
    message = fails(write(tmp_path))
    assert message.startswith("keys[0]: ")
    assert "witness.example/w2" in message


def test_an_origin_that_mldsa44_cannot_sign_is_refused_at_start(tmp_path: Path) -> None:
    """tlog-cosignature, "ML-DSA-44 signed message": log_origin<1..2^8-1>."""
    vkey = log_signer("x" * 256).vkey
    more = f'[[log]]\nvkeys = ["{vkey}"]\n'
    assert load(write(tmp_path, more=more)).logs
    write_key_file(tmp_path / "m.pem", KeyFile(generate("mldsa44"), None), None)
    assert fails(write(tmp_path, keys='["m.pem"]', more=more)).startswith("log[0]: ML-DSA-44")


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize(
    ("algorithm", "types"), [("both", [4, 6]), ("ed25519", [4]), ("mldsa44", [6])]
)
def test_init_writes_what_serve_can_load(tmp_path: Path, algorithm: str, types: list[int]) -> None:
    folder = tmp_path / "new" / "witness"
    logs = [f"--log={vkey}" for vkey in (ED25519, log_signer("b.example").vkey, MLDSA44)]
    code, out, _ = invoke("init", folder, "--name", NAME, "--algorithm", algorithm, *logs)
    assert code == 0
    config = load(folder / "witness.toml")
    assert [signer.vkey.algorithm for signer in config.signers] == types
    assert out.split() == [str(signer.vkey) for signer in config.signers]
    assert {origin: len(log.verifiers) for origin, log in config.logs.items()} == {
        ORIGIN: 2,
        "b.example": 1,
    }
    assert invoke("vkeys", "--config", folder / "witness.toml")[:2] == (0, out)
    code, _, err = invoke("init", folder, "--name", NAME)
    assert code == EXIT_CONFIG
    assert "exists already" in err


def test_init_with_a_passphrase(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("a long passphrase\n")
    folder = tmp_path / "w"
    code, out, _ = invoke("init", folder, "--name", NAME, "--key-passphrase-file", secret)
    assert code == 0
    assert b"ENCRYPTED" in (folder / "witness-mldsa44.pem").read_bytes()
    assert invoke("vkeys", "--config", folder / "witness.toml")[:2] == (0, out)
    secret.write_text("another\n")
    code, _, err = invoke("vkeys", "--config", folder / "witness.toml")
    assert code == EXIT_CONFIG
    assert "keys[0]" in err
    assert "another" not in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--name", "two words"),
        ("--name", NAME, "--log", "nonsense"),
        ("--name", NAME, "--listen", "nowhere"),
        ("--name", NAME, "--key-passphrase-file", "/absent/file"),
    ],
)
def test_init_says_what_is_wrong_in_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, out, err = invoke("init", tmp_path / "w", *arguments)
    assert (code, out) == (EXIT_CONFIG, "")
    assert err.startswith("muniment-witness: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "w" / "witness.toml").exists()


def test_a_quoted_name_survives(tmp_path: Path) -> None:
    name = 'w"\\\u2028\u00e9'.replace("\u2028", "")
    assert invoke("init", tmp_path, "--name", name, "--algorithm", "ed25519")[0] == 0
    assert load(tmp_path / "witness.toml").file.name == name
