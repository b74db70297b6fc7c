"""The index log in the log's configuration: its origin, its keys, its file, and what is refused."""

from pathlib import Path

import pytest

from commands import invoked
from muniment.tlog.checkpoint import Checkpoint, parse_signed_checkpoint, sign_checkpoint
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.merkle import EMPTY_ROOT
from muniment.tlog.note import parse_vkey, verify_note
from muniment.tlog.policy import parse_policy
from muniment_log.cli import main
from muniment_log.config import load
from muniment_service.config import ConfigError

ORIGIN = "log.example/decisions"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    assert invoked(main, "init", tmp_path / "log", "--origin", ORIGIN).exit_code == 0
    path = tmp_path / "log" / "log.toml"
    path.write_text(path.read_text() + "[complete]\nenabled = true\n")
    return path


def test_it_has_the_same_keys_under_its_own_origin(config: Path) -> None:
    log = load(config)
    index_log = log.index_log
    assert index_log.file.origin == f"{ORIGIN}/index"
    assert index_log.database == config.with_name("indexlog.db")
    assert log.map == config.with_name("map.db")
    pairs = list(zip(log.signers, index_log.signers, strict=True))
    assert len(pairs) == 2
    for own, other in pairs:
        assert other.vkey.name == index_log.file.origin
        assert other.vkey.public == own.vkey.public
        assert other.vkey.key_id != own.vkey.key_id
    assert invoked(main, "vkeys", "--index", "--config", config).stdout.split() == index_log.vkeys
    assert invoked(main, "vkeys", "--config", config).stdout.split() == log.vkeys


def test_what_one_log_signs_is_not_the_other_s(config: Path) -> None:
    log = load(config)
    signed = sign_checkpoint(
        Checkpoint(f"{ORIGIN}/index", 0, EMPTY_ROOT), log.index_log.signers, 1_790_000_000
    )
    verify_note(signed.note, [verifier_for(parse_vkey(key)) for key in log.index_log.vkeys])
    with pytest.raises(VerificationError):
        verify_note(signed.note, log.verifiers)
    assert parse_signed_checkpoint(signed.encode()).checkpoint.origin != ORIGIN


def test_who_trusts_the_log_knows_the_keys_of_its_index_log(config: Path) -> None:
    log = load(config)
    text = "".join(f"log {key}\n" for key in log.vkeys)
    with pytest.raises(FormatError, match="is there already"):  # not both in one policy
        parse_policy("".join([text, *(f"log {key}\n" for key in log.index_log.vkeys)]).encode())
    policy = parse_policy(f"{text}quorum none\n".encode())
    own = policy.of_index_log(ORIGIN)
    assert [str(one.vkey) for one in own.logs] == log.index_log.vkeys
    for origin, known, other in ((ORIGIN, policy, own), (f"{ORIGIN}/index", own, policy)):
        signers = log.signers if origin == ORIGIN else log.index_log.signers
        signed = sign_checkpoint(Checkpoint(origin, 0, EMPTY_ROOT), signers, 1_790_000_000)
        assert known.verify(signed).origin == origin
        with pytest.raises(VerificationError, match="does not list"):
            other.verify(signed)
    assert policy.of_index_log("other.example/log").logs == ()


def test_another_map_function_has_another_index_log(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load(config).index_log.vkeys
    monkeypatch.setattr("muniment_log.config.MAP_VERSION", 2)
    index_log = load(config).index_log
    assert index_log.file.origin == f"{ORIGIN}/index2"
    assert not set(index_log.vkeys) & set(before)


def test_its_database_is_made_once(config: Path) -> None:
    made = invoked(main, "new-index-log", "--config", config)
    assert made.exit_code == 0, made.output
    assert made.stdout.split() == load(config).index_log.vkeys
    again = invoked(main, "new-index-log", "--config", config)
    assert again.exit_code == 4
    assert "indexlog.db" in again.stderr


def test_without_the_table_there_is_none(config: Path) -> None:
    config.write_text(config.read_text().replace("enabled = true", "enabled = false"))
    with pytest.raises(ConfigError, match="no index log is kept"):
        assert load(config).index_log
    assert invoked(main, "new-index-log", "--config", config).exit_code == 3
    assert invoked(main, "vkeys", "--index", "--config", config).exit_code == 3


def test_a_cluster_keeps_none(config: Path) -> None:
    text = config.read_text().replace('database = "log.db"', "", 1)
    table = '[cluster]\npostgres = "postgresql://h/d"\nobject_store = "s3://b"\n'
    config.write_text(text + table)
    with pytest.raises(ConfigError, match=r"complete\.enabled: a cluster keeps no index log"):
        load(config)


def test_a_log_that_prunes_keeps_none(config: Path) -> None:
    config.write_text(f'{config.read_text()}[pruning]\nolder_than = "3650d"\n')
    with pytest.raises(ConfigError, match=r"pruning: a log with an index log keeps all entries"):
        load(config)


def test_an_origin_that_leaves_no_room_is_refused(tmp_path: Path) -> None:
    origin = "log.example/" + "x" * 240  # 252 bytes: ML-DSA-44 signs for names of 255
    assert invoked(main, "init", tmp_path / "log", "--origin", origin).exit_code == 0
    path = tmp_path / "log" / "log.toml"
    assert load(path)
    path.write_text(path.read_text() + "[complete]\nenabled = true\n")
    with pytest.raises(ConfigError, match="origin"):
        load(path)
