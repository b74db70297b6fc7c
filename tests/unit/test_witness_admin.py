"""Commands that change witness.toml: exactly what was meant, at once or not at all."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from muniment_service.config import ConfigError
from muniment_service.exits import EXIT_CONFIG
from muniment_witness.cli import admin, main
from muniment_witness.config import load
from witness_tools import ORIGIN, log_signer, set_up

FIRST, SECOND = log_signer(), log_signer()
OTHER = log_signer("other.example")
HASH = "ab" * 32


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path, _ = set_up(tmp_path / "w", (str(FIRST.vkey), str(OTHER.vkey)))
    text = path.read_text().replace("\n[[log]]", "\n# about the next\n[[log]]")
    path.write_text(text + "\n# gossip is last\n[gossip]\nperiod_seconds = 7\n")
    return path


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return done.exit_code, done.output


def test_logs_come_and_go_and_comments_stay(config: Path) -> None:
    third = log_signer("third.example")
    url = "http://127.0.0.1:1"
    code, out = run("add-log", "--config", config, third.vkey, "--url", url, "--cosign-pulled")
    assert (code, out) == (0, "added third.example; the witness does not run\n")
    loaded = load(config)
    assert set(loaded.logs) == {ORIGIN, "other.example", "third.example"}
    assert loaded.options["third.example"].cosign
    assert run("remove-log", "--config", config, ORIGIN)[0] == 0
    loaded = load(config)
    assert set(loaded.logs) == {"other.example", "third.example"}
    assert loaded.file.gossip.period_seconds == 7
    text = config.read_text()
    assert text.count("# about the next") == 2
    assert "# gossip is last" in text
    assert not list(config.parent.glob("*.new"))


def test_a_log_changes_its_key_with_both_listed_for_a_while(config: Path) -> None:
    rotate = ("rotate-key", "--config", config, ORIGIN)
    assert run(*rotate, "--add", SECOND.vkey)[0] == 0
    assert [v.vkey for v in load(config).logs[ORIGIN].verifiers] == [FIRST.vkey, SECOND.vkey]
    assert run(*rotate, "--remove", FIRST.vkey)[0] == 0
    assert [v.vkey for v in load(config).logs[ORIGIN].verifiers] == [SECOND.vkey]
    before = config.read_bytes()
    assert run(*rotate, "--remove", SECOND.vkey)[0] == EXIT_CONFIG
    assert run(*rotate, "--remove", FIRST.vkey)[0] == EXIT_CONFIG
    assert run(*rotate, "--add", OTHER.vkey)[0] == EXIT_CONFIG
    assert run(*rotate)[0] == 2
    assert config.read_bytes() == before
    assert not list(config.parent.glob("*.new"))


def test_the_witness_gets_another_key(config: Path) -> None:
    code, out = run("rotate-key", "--config", config, "--own", "mldsa44")
    assert code == 0
    vkeys = [str(signer.vkey) for signer in load(config).signers]
    assert vkeys[1] in out
    assert [signer.vkey.algorithm for signer in load(config).signers] == [4, 6]
    for key in ("00000000", "no hex"):
        assert run("rotate-key", "--config", config, "--retire", key)[0] == EXIT_CONFIG
    assert run("rotate-key", "--config", config, "--retire", vkeys[0])[0] == 0
    assert [str(signer.vkey) for signer in load(config).signers] == vkeys[1:]
    assert run("rotate-key", "--config", config, "--retire", vkeys[1])[0] == EXIT_CONFIG
    for wrong in (("--own", "ed25519", "--retire", vkeys[1]), (ORIGIN,), ()):
        assert run("rotate-key", "--config", config, *wrong)[0] == 2
    assert len(list(config.parent.glob("*.pem"))) == 2  # a retired key's file stays


def test_acknowledging(config: Path) -> None:
    command = ("acknowledge", "--config", config, ORIGIN, "--evidence")
    assert run(*command, HASH)[0] == 0
    assert load(config).options[ORIGIN].acknowledged == {HASH}
    assert run(*command, HASH)[0] == EXIT_CONFIG
    assert run(*command, "xyz")[0] == EXIT_CONFIG
    assert load(config).options["other.example"].acknowledged == set()


def test_what_cannot_be_changed_is_left_alone(config: Path) -> None:
    with pytest.raises(ConfigError, match="no log"):
        admin.remove_log(config, "absent.example")
    with pytest.raises(ConfigError, match="already"):
        admin.add_log(config, [str(FIRST.vkey)], None, cosign=False)
    text = config.read_text().replace("[[log]]", "[[ log ]]")
    config.write_text(text)
    admin.remove_log(config, ORIGIN)
    config.write_text(config.read_text().replace("\nkeys = [", "\nkeys = [\n"))
    with pytest.raises(ConfigError, match="by hand"):
        admin.own_keys(config).add("mldsa44")
    (config.parent / "witness.toml.new").write_text("")
    with pytest.raises(Exception, match="File exists"):
        admin.acknowledge(config, "other.example", HASH)
