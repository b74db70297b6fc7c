"""The command `muniment-log`: what it writes, what it refuses, how it says so."""

import sys
import tomllib
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

import signing
from commands import invoked
from muniment.tlog.note import parse_vkey
from muniment_log.cli import main
from muniment_log.config import load
from muniment_log.core.retention import Retention, Rule
from muniment_log.logfile import ClusterTable, LimitsFile
from muniment_service.config import ConfigError

ORIGIN = "log.example/decisions"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log") / "a"
    result = invoked(main, "init", folder, "--origin", ORIGIN)
    assert result.exit_code == 0, result.output
    keys = [parse_vkey(line) for line in result.stdout.split()]
    assert [(key.name, key.algorithm) for key in keys] == [(ORIGIN, 0x01), (ORIGIN, 0x06)]
    assert (folder / "log-ed25519.pem").stat().st_mode & 0o077 == 0
    return folder


def test_init_writes_what_serve_reads(made: Path) -> None:
    config = load(made / "log.toml")
    assert config.file.origin == ORIGIN
    assert config.file.database == made / "log.db"
    assert [signer.vkey.algorithm for signer in config.signers] == [0x01, 0x06]
    result = invoked(main, "vkeys", "--config", made / "log.toml")
    assert result.stdout.split() == [str(signer.vkey) for signer in config.signers]


def test_the_commented_limits_are_the_defaults(made: Path) -> None:
    text = (made / "log.toml").read_text()
    lines = text[text.index("# [limits]") : text.index("# [tls]")].split("\n")[1:]
    shown = tomllib.loads("\n".join(line.removeprefix("# ") for line in lines))
    defaults = {name: getattr(LimitsFile(), name) for name in LimitsFile.__struct_fields__}
    assert shown == {name: value for name, value in defaults.items() if value is not None}
    unlimited = [name for name, value in defaults.items() if value is None]
    assert all(f"# # {name} = " in text for name in unlimited)
    assert len(unlimited) == 3


def test_init_replaces_nothing(made: Path) -> None:
    result = invoked(main, "init", made, "--origin", ORIGIN)
    assert result.exit_code == 3
    assert "exists already" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--origin", "muniment/manifest/v1"], "manifests"),
        (["--origin", "a b"], "origin"),
        (["--origin", ORIGIN, "--listen", "nowhere"], "listen"),
        (["--origin", ORIGIN, "--key-passphrase-file", "/nonexistent"], "/nonexistent"),
    ],
)
def test_init_refuses(tmp_path: Path, arguments: list[str], word: str) -> None:
    result = invoked(main, "init", tmp_path / "b", *arguments)
    assert result.exit_code == 3
    assert word in result.stderr
    assert not (tmp_path / "b").exists()


def test_encrypted_keys(tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.touch(0o600)
    secret.write_text("correct horse battery staple\n")
    result = invoked(
        main, "init", tmp_path / "c", "--origin", ORIGIN, "--key-passphrase-file", secret
    )
    assert result.exit_code == 0, result.output
    assert b"ENCRYPTED" in (tmp_path / "c" / "log-ed25519.pem").read_bytes()
    assert len(load(tmp_path / "c" / "log.toml").signers) == 2
    secret.write_text("wrong\n")
    result = invoked(main, "vkeys", "--config", tmp_path / "c" / "log.toml")
    assert result.exit_code == 3
    assert "keys[0]" in result.stderr


def test_a_token_is_shown_once_and_its_hash_is_for_the_config(tmp_path: Path) -> None:
    result = invoked(main, "token", "--producer", "curl.example/dev")
    token = result.stdout.strip()
    table = tomllib.loads(result.stderr)
    assert table == {
        "token": [{"producer": "curl.example/dev", "sha256": sha256(token.encode()).hexdigest()}]
    }
    assert len(token) >= 32
    assert invoked(main, "token", "--producer", "a b").exit_code == 3


def test_a_token_may_end_and_may_be_for_reading(made: Path) -> None:
    told = invoked(
        main, "token", "--reader", 'the "auditor"', "--expires", "2999-01-31T01:00+01:00"
    )
    end = datetime(2999, 1, 31, tzinfo=UTC)
    read = {"name": 'the "auditor"', "expires": end}
    read["sha256"] = sha256(told.stdout.strip().encode()).hexdigest()
    assert tomllib.loads(told.stderr) == {"read": {"token": [read]}}
    ten = invoked(main, "token", "--producer", "curl.example/dev", "--days", "10")
    left = tomllib.loads(ten.stderr)["token"][0]["expires"] - datetime.now(UTC)
    assert 9.9 < left.total_seconds() / 86_400 <= 10
    config = made / "tokens.toml"
    config.write_text((made / "log.toml").read_text() + told.stderr + ten.stderr)
    admission = load(config).admission
    assert admission.readers.holder(told.stdout.strip(), end.timestamp() - 1) == 'the "auditor"'
    assert not admission.protects_tiles
    for arguments, code in (
        (["--reader", ""], 2),
        (["--reader", "x", "--expires", "2999-01-31T00:00:00"], 3),
        (["--reader", "x", "--expires", "2020-01-31T00:00:00Z"], 3),
        (["--reader", "x", "--expires", "soon"], 3),
        (["--reader", "x", "--expires", "2999-01-31T00:00:00Z", "--days", "1"], 2),
        (["--reader", "x", "--producer", "y"], 2),
        ([], 2),
    ):
        assert invoked(main, "token", *arguments).exit_code == code, arguments


def test_rules_of_retention(made: Path) -> None:
    config = made / "retention.toml"

    def kept(*lines: str) -> Retention:
        config.write_text("\n".join(((made / "log.toml").read_text(), *lines)))
        return load(config).retention

    entry, day = "[[retention]]", 86_400_000
    rules = kept(
        entry, 'label = "domain=hr"', 'retain = "180d"', 'legal_minimum = "12h"',
        entry, 'legal_minimum = "30s"',
    ).rules  # fmt: skip
    assert rules == (Rule("domain=hr", 180 * day, day // 2), Rule(None, None, 30_000))
    for lines, reason in (
        ([entry], "retention[0]: give retain, legal_minimum, or both"),
        (
            [entry, 'retain = "1d"', 'legal_minimum = "25h"'],
            "retention[0].retain: 1d is shorter than the legal minimum of 25h",
        ),
        ([entry, 'retain = "0d"'], "retention[0].retain: "),
        ([entry, 'retain = "1y"'], "retention[0].retain: "),
        ([entry, 'label = ""', 'retain = "1d"'], "retention[0].label: "),
    ):
        with pytest.raises(ConfigError) as caught:
            kept(*lines)
        assert reason in str(caught.value)


def test_a_config_that_cannot_be_used(made: Path) -> None:
    config = made / "bad.toml"
    text = (made / "log.toml").read_text()
    gateway = f'\n[[gateway]]\nvkey = "{signing.log_signer("gw.example").vkey}"\n'
    for change, words in (
        (text + "\ncolor = 1\n", ["color", "unknown key"]),
        (text.replace('listen = "127.0.0.1:8100"', 'listen = "nowhere"'), ["listen"]),
        (text.replace("log-ed25519.pem", "log-mldsa44.pem"), ["keys[1]", "the same key twice"]),
        (text.replace('"log-ed25519.pem", ', ""), ["keys", "Ed25519"]),
        (text.replace(f'"{ORIGIN}"', '"muniment/manifest/v1"'), ["origin", "manifests"]),
        (text.replace(f'"{ORIGIN}"', '"log.example/x"'), ["keys[0]", ORIGIN]),
        (text + '\n[[gateway]]\nvkey = "x"\n', ["gateway[0].vkey"]),
        (text + '\n[[token]]\nproducer = "a b"\nsha256 = "00"\n', ["token[0].sha256"]),
        (text.replace("# policy =", "policy ="), ["policy", "No such file"]),
        (text + 2 * gateway, ["gateway[1].vkey", "twice"]),
        (
            text
            + gateway.replace(
                str(signing.log_signer("gw.example").vkey), str(signing.log_signer(ORIGIN).vkey)
            ),
            ["gateway[0].vkey", "own name"],
        ),
        (
            text
            + gateway.replace(
                str(signing.log_signer("gw.example").vkey),
                str(signing.log_mldsa44("gw.example").vkey),
            ),
            ["gateway[0].vkey", "0x06"],
        ),
        (text + f'[[token]]\nproducer = "a b"\nsha256 = "{64 * "0"}"\n', ["token[0].producer"]),
        (
            text
            + f'[[token]]\nproducer = "a"\nsha256 = "{64 * "0"}"\nexpires = 2027-01-31T00:00:00\n',
            ["token[0].expires", "timezone"],
        ),
        (text + '[read]\ntiles = "token"\n', ["read.tiles", "[[read.token]]"]),
        (
            text + 2 * f'[[read.token]]\nname = "a"\nsha256 = "{64 * "0"}"\n',
            ["read.token[1].sha256", "twice"],
        ),
        (text + "[limits]\nparked_seconds = 0\n", ["limits.parked_seconds"]),
        ("origin = ", ["not TOML"]),
    ):
        config.write_text(change)
        result = invoked(main, "serve", "--config", config)
        assert result.exit_code == 3, change
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
        for word in words:
            assert word in result.stderr
    assert "missing.toml" in invoked(main, "serve", "--config", made / "missing.toml").stderr


def policy(made: Path, text: str) -> None:
    (made / "p.policy").write_text(text)
    config = (made / "log.toml").read_text().replace("# policy =", "policy =")
    (made / "policy.toml").write_text(config.replace("witnesses.policy", "p.policy"))


def test_a_policy_that_nobody_can_meet_is_refused(made: Path) -> None:
    keys = [signing.witness(f"w{i}.example").vkey for i in range(3)]
    lines = [f"witness w{i} {key} http://127.0.0.1:{i + 1}/\n" for i, key in enumerate(keys)]
    quorum = "group q 2 w0 w1 w2\nquorum q\n"
    policy(made, "".join(lines) + quorum)
    assert load(made / "policy.toml").policy is not None
    policy(made, lines[0] + "".join(line.rsplit(" ", 1)[0] + "\n" for line in lines[1:]) + quorum)
    with pytest.raises(ConfigError, match="carry a URL"):
        load(made / "policy.toml")
    policy(made, "".join(lines).replace("http://", "ftp://") + quorum)
    with pytest.raises(ConfigError, match="http"):
        load(made / "policy.toml")
    policy(made, "".join(lines) + "quorum nobody\n")
    with pytest.raises(ConfigError, match="line 4"):
        load(made / "policy.toml")


def clustered(made: Path, table: str) -> Path:
    """The configuration as a cluster's; nothing listens where it points."""
    text = (made / "log.toml").read_text().replace('database = "log.db"\n', "")
    config = made / "cluster.toml"
    config.write_text(text + "\n[cluster]\n" + table)
    return config


CLUSTER = 'postgres = "postgresql://x@127.0.0.1:9/x"\nobject_store = "s3://bucket"\n'


def test_a_cluster_s_commands_need_a_cluster_and_the_others_a_file(made: Path) -> None:
    for command in ("migrate", "frontend", "integrator"):
        result = invoked(main, command, "--config", made / "log.toml")
        assert result.exit_code == 3
        assert "no [cluster]" in result.stderr
    config = clustered(made, CLUSTER + "engine_seconds = 1.0\n")
    for command in (["check"], ["repair"], ["backup", made / "copy.db"]):
        result = invoked(main, command[0], "--config", config, *command[1:])
        assert result.exit_code == 3
        assert "log in one file" in result.stderr
    # What does not answer may answer later: not a code that asks for a person.
    result = invoked(main, "migrate", "--config", config)
    assert result.exit_code == 1
    assert "PostgreSQL: " in result.stderr


@pytest.mark.parametrize(
    ("table", "word"),
    [
        (CLUSTER.replace("s3://", "http://"), "object_store"),
        (CLUSTER.replace("postgresql://", "mysql://"), "postgres"),
        (CLUSTER + "lease_seconds = 0.1\n", "lease_seconds"),
        (CLUSTER + "shards = 2\n", "shards"),
    ],
)
def test_a_cluster_table_that_cannot_be_used(made: Path, table: str, word: str) -> None:
    result = invoked(main, "migrate", "--config", clustered(made, table))
    assert result.exit_code == 3
    assert f"cluster.{word}" in result.stderr


def test_either_a_database_or_a_cluster(made: Path) -> None:
    config = made / "either.toml"
    text = (made / "log.toml").read_text()
    config.write_text(f"{text}\n[cluster]\n{CLUSTER}")
    assert "either a database or a [cluster]" in invoked(main, "vkeys", "--config", config).stderr
    config.write_text(text.replace('database = "log.db"\n', ""))
    assert "either a database or a [cluster]" in invoked(main, "vkeys", "--config", config).stderr


@pytest.mark.parametrize("library", ["asyncpg", "obstore"])
def test_without_the_extra_it_says_what_to_install(
    made: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    for name in [
        name
        for name in sys.modules
        if name.startswith(("muniment_log.cluster.", "muniment_log.app."))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("muniment_log.cluster.migrate", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    result = invoked(main, "migrate", "--config", clustered(made, CLUSTER))
    assert result.exit_code == 3
    assert "pip install 'muniment[cluster]'" in result.stderr


def test_the_commented_cluster_table_is_the_default(made: Path) -> None:
    text = (made / "log.toml").read_text()
    lines = text[text.index("# [cluster]") : text.index("# Private keys")].split("\n")[1:]
    shown = tomllib.loads("\n".join(line.removeprefix("# ") for line in lines))
    names = ("lease_seconds", "backlog_leaves", "backlog_bytes", "connections")
    table = ClusterTable(postgres=shown["postgres"], object_store=shown["object_store"])
    assert {name: shown[name] for name in names} == {name: getattr(table, name) for name in names}


def test_a_read_token_is_for_what_it_says() -> None:
    result = invoked(main, "token", "--reader", "auditor", "--scope", "log", "--scope", "addenda")
    assert result.exit_code == 0, result.output
    (entry,) = tomllib.loads(result.stderr)["read"]["token"]
    assert entry["scopes"] == ["log", "addenda"]
    assert invoked(main, "token", "--producer", "x.example", "--scope", "log").exit_code == 2
