"""Commands that change witness.toml: exactly what was meant, at once or not at all."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from muniment.tlog.encoding import MunimentError
from muniment.tlog.note import VKey
from muniment_service import rotation
from muniment_service.config import ConfigError
from muniment_service.exits import EXIT_CONFIG
from muniment_service.rotation import Own
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


@pytest.mark.parametrize("may_be", [True, False])
def test_a_new_key_stays_if_it_may_be_recorded(config: Path, *, may_be: bool) -> None:
    """Who loses the database at the commit does not know whether the key was recorded."""

    def lose(_: Sequence[VKey], __: VKey, commit: Callable[[], None]) -> None:
        if may_be:
            commit()
        raise MunimentError("the connection is lost")

    file = load(config).file
    own = Own(
        config,
        name=file.name,
        use="witness",
        keys=file.keys,
        passphrase_file=None,
        check=load,
        recorded=lambda keys: [str(key) for key in keys],
        record=lose,
    )
    before, listed = set(config.parent.glob("*.pem")), config.read_text()
    with pytest.raises(MunimentError, match="lost; it may be .* --key" if may_be else "lost$"):
        own.add("ed25519")
    assert len(set(config.parent.glob("*.pem")) - before) == may_be
    assert config.read_text() == listed


def test_acknowledging(config: Path) -> None:
    command = ("acknowledge", "--config", config, ORIGIN, "--evidence")
    assert run(*command, HASH)[0] == 0
    assert load(config).options[ORIGIN].acknowledged == {HASH}
    assert run(*command, HASH)[0] == EXIT_CONFIG
    assert run(*command, "xyz")[0] == EXIT_CONFIG
    assert load(config).options["other.example"].acknowledged == set()


def test_keys_of_logs_are_given_as_vkeys_or_in_files(config: Path, tmp_path: Path) -> None:
    """Everything that `muniment-log vkeys` prints, as it is."""
    third, fourth = log_signer("third.example"), log_signer("third.example")
    vkeys = tmp_path / "third.vkeys"
    vkeys.write_text(f"{third.vkey}\n{fourth.vkey}\n")
    both = {str(third.vkey), str(fourth.vkey)}
    assert run("add-log", "--config", config, vkeys)[0] == 0
    assert {str(key.vkey) for key in load(config).logs["third.example"].verifiers} == both
    for name, given in (("w2", vkeys), ("w3", vkeys.read_text())):
        folder = tmp_path / name
        code, out = run("init", folder, "--name", f"witness.example/{name}", "--log", given)
        assert code == 0, out
        made = load(folder / "witness.toml")
        assert {str(key.vkey) for key in made.logs["third.example"].verifiers} == both
    code, out = run("add-log", "--config", config, tmp_path / "w2" / "witness-ed25519.pem")
    assert (code, "a key file; a vkey is wanted" in out) == (EXIT_CONFIG, True)
    vkeys.write_text("# its keys\n\n")
    code, out = run("add-log", "--config", config, vkeys)
    assert (code, f"VKEY: {vkeys}: there is no vkey in it" in out) == (EXIT_CONFIG, True)


def test_what_a_change_would_break_is_told_of_the_file_that_is_there(config: Path) -> None:
    code, out = run("acknowledge", "--config", config, ORIGIN, "--evidence", "00")
    assert (code, f"{config}: log[0].acknowledged[0]: " in out) == (EXIT_CONFIG, True)
    assert ".new" not in out


def test_a_change_while_keys_are_read_is_not_mixed_with_ones_own(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent takes its time; the keys that are recorded are those of the file that was read."""
    read = rotation.read_signers

    def slow(*args: Any, **kwargs: Any) -> Any:
        found = read(*args, **kwargs)
        config.write_text(config.read_text() + "# another command was here\n")
        return found

    monkeypatch.setattr(rotation, "read_signers", slow)
    keys = set(config.parent.glob("*.pem"))
    with pytest.raises(MunimentError, match="another command is changing it"):
        admin.own_keys(config).add("mldsa44")
    assert config.read_text().endswith("# another command was here\n")
    assert set(config.parent.glob("*.pem")) == keys


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
