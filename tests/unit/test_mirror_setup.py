"""`[mirror]` in witness.toml: what can be configured, what cannot, and commands that make it."""

from pathlib import Path

import pytest

from commands import change_file, invoked
from muniment_service.config import ConfigError
from muniment_witness.cli import main
from muniment_witness.config import load
from muniment_witness.store.mirrordb import MirrorStore
from witness_tools import ORIGIN, log_signer

MIRROR = "mirror.example/m1"
LOG = str(log_signer().vkey)
OTHER = str(log_signer("other.example/log").vkey)


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A witness to which a mirror was added."""
    config = tmp_path / "w1" / "witness.toml"
    made = invoked(
        main, "init", config.parent, "--name", "w.example/w1", "--log", LOG, "--log", OTHER
    )
    assert made.exit_code == 0, made.output
    added = invoked(main, "add-mirror", "--config", config, "--name", MIRROR)
    assert added.exit_code == 0, added.output
    return config


def refused(config: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(config)
    return str(caught.value).removeprefix(f"{config}: ")


async def test_a_mirror_is_added_to_a_witness(beside: Path) -> None:
    loaded = load(beside)
    assert loaded.mirror.table.name == MIRROR
    assert [signer.vkey.name for signer in loaded.mirror.signers] == [MIRROR, MIRROR]
    assert set(loaded.mirrored) == {ORIGIN, "other.example/log"}
    assert loaded.owner == [signer.vkey for signer in loaded.signers]
    keys = [signer.vkey for signer in loaded.mirror.signers]
    assert invoked(main, "vkeys", "--mirror", "--config", beside).output.split() == list(
        map(str, keys)
    )
    store = await MirrorStore.open(loaded.mirror.table.database, keys)
    await store.close()
    again = invoked(main, "add-mirror", "--config", beside, "--name", "m.example/m2")
    assert again.exit_code != 0
    assert "there is a [mirror] already" in again.output


def test_a_mirror_alone_is_no_witness(tmp_path: Path) -> None:
    config = tmp_path / "m1" / "witness.toml"
    made = invoked(main, "init", config.parent, "--mirror", "--name", MIRROR, "--log", LOG)
    assert made.exit_code == 0, made.output
    loaded = load(config)
    assert (loaded.signers, loaded.name) == ((), MIRROR)
    assert loaded.owner == [signer.vkey for signer in loaded.mirror.signers]
    assert invoked(main, "check", "--config", config).exit_code == 0


def test_the_name_of_the_witness_is_no_name_for_its_mirror(beside: Path) -> None:
    change_file(beside, f'name = "{MIRROR}"', 'name = "w.example/w1"')
    assert "a mirror is a cosigner of its own" in refused(beside)


def test_the_keys_of_the_witness_are_none_of_its_mirror(beside: Path) -> None:
    pem = (beside.parent / "witness-ed25519.pem").read_bytes()
    (beside.parent / "mirror-ed25519.pem").write_bytes(pem[pem.index(b"-----BEGIN") :])
    assert refused(beside).startswith("mirror.keys")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('logs = ["unknown.example"]', "mirror.logs[0]: no log unknown.example is configured"),
        ('path = "mirror"', "mirror.path"),
        ('path = "/"', "mirror.path"),
        ('path = "/mirror/"', "mirror.path"),
        ("upload_seconds = 0", "mirror.upload_seconds"),
        ('submission = "x"', "mirror.submission: unknown key"),
    ],
)
def test_what_cannot_be_configured(beside: Path, line: str, why: str) -> None:
    change_file(beside, "[mirror]\n", f"[mirror]\n{line}\n")
    assert refused(beside).startswith(why)


def test_a_key_that_is_missing_is_named(beside: Path) -> None:
    (beside.parent / "mirror-mldsa44.pem").unlink()
    assert refused(beside).startswith("mirror.keys[1]")


def test_some_logs_alone_are_mirrored(beside: Path) -> None:
    change_file(beside, "[mirror]\n", f'[mirror]\nlogs = ["{ORIGIN}"]\n')
    assert list(load(beside).mirrored) == [ORIGIN]


def test_copies_that_are_lost_are_begun_anew_by_command_alone(beside: Path) -> None:
    database = beside.parent / "mirror.db"
    there = invoked(main, "new-mirror-database", "--config", beside)
    assert there.exit_code != 0
    database.unlink()
    assert invoked(main, "new-mirror-database", "--config", beside).exit_code == 0
    assert database.exists()


def test_a_file_that_is_neither_witness_nor_mirror(tmp_path: Path) -> None:
    config = tmp_path / "witness.toml"
    config.write_text('listen = "127.0.0.1:0"\ndatabase = "w.db"\n')
    assert refused(config).startswith("name: ")
    config.write_text('name = "w"\nlisten = "127.0.0.1:0"\ndatabase = "w.db"\n')
    assert refused(config) == "keys: a witness has at least one key"
