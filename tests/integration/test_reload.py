"""A reload takes up all that a configuration names, or nothing: the policy, keys, CAs."""

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import decisions
import processes
import signing
from certificates import Authority
from log_deployment import GATEWAY, ORIGIN, PUBLISHED, Deployment, ask, cluster_for, deployed, run
from muniment.http.access import Access
from muniment.tlog.policy import parse_policy
from muniment_log import config as log_config
from muniment_log.inforce import reread
from muniment_service.config import ConfigError
from muniment_witness.gossip.net import UnreachableError, transport
from waiting import eventually


@pytest.fixture(params=["sqlite", "cluster"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    with deployed(tmp_path, cluster_for(request)) as made:
        yield made


def command(made: Deployment, name: str, code: int = 0) -> Any:
    done = processes.run(processes.muniment_log(name, "--config", made.config), code=code)
    if code:
        return done.stderr
    told = json.loads(done.stdout)
    # Of a cluster, one answer for each process; here it is one.
    return told if made.cluster is None else next(iter(told.values()))


def published(made: Deployment) -> int:
    answer = ask(f"{made.url}/checkpoint")
    return int(answer.body.split(b"\n")[1]) if answer.status == 200 else 0


def cosigners(made: Deployment) -> set[str]:
    """Which of w0, w1, w2 are on the published checkpoint."""
    lines = ask(f"{made.url}/checkpoint").body.decode().splitlines()
    return {line.split()[1].rpartition("/")[2] for line in lines if " witness.example/" in line}


def test_a_policy_is_taken_up_or_refused_as_a_whole(made: Deployment) -> None:
    path = made.folder / "log" / "witnesses.policy"
    before = path.read_text()
    stream = made.stream()
    records = iter([[one] for one in decisions.decisions(8, producer=GATEWAY)])

    def post() -> int:
        answer = made.post(stream.take(next(records)))
        assert answer.status == 200
        return int(answer.json["first"]) + 1

    first = post()
    eventually(lambda: published(made) > first)
    made.witnesses[2].kill()
    since = command(made, "status")["policy"]["since"]

    # Two of three is not enough any more: nothing is published until it is again.
    path.write_text(before.replace("quorum2of3 2", "quorum2of3 3"))
    told = command(made, "reload")["policy"]
    assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert told["quorum"] == "quorum2of3: 3 of w0, w1, w2"
    assert told["file"] == str(path)
    post()
    eventually(lambda: bool(command(made, "status")["stalled"]))
    size = published(made)

    # What cannot be used is named, and changes nothing.
    for garbage in ("garbage\n", before.replace("quorum quorum2of3", "quorum nobody"), ""):
        path.write_text(garbage)
        assert "policy: " in command(made, "reload", code=1)
        status = command(made, "status")
        assert status["policy"] == told
        assert "policy: " in status["configuration"]["refused"]["reason"]
    path.unlink()
    assert "policy: " in command(made, "reload", code=1)
    os.mkfifo(path)  # nobody writes into it: whoever reads it waits for ever
    assert "not a regular file" in command(made, "reload", code=1)
    path.unlink()
    assert "reload refused; what was in force stays in force" in made.log.stderr
    assert published(made) == size

    path.write_text(before)
    told = command(made, "reload")
    assert told["configuration"]["refused"] is None
    assert told["policy"]["since"] >= since
    eventually(lambda: published(made) > size)

    # A witness that is dropped does not count, nor does one whose key is another now.
    keys = [line for line in before.splitlines() if line.startswith("witness w0k")]
    other = signing.witness("witness.example/w0").vkey
    name, url = keys[0].split()[1], keys[0].split()[3]
    path.write_text(before.replace(keys[0], f"witness {name} {other} {url}"))
    command(made, "reload")
    post()
    eventually(lambda: bool(command(made, "status")["stalled"]))
    size = published(made)
    lines = [
        line for line in before.splitlines() if not line.startswith(("witness w0", "group w0"))
    ]
    policy = "\n".join(lines).replace("quorum2of3 2 w0 w1 w2", "quorum2of3 1 w1 w2") + "\n"
    parse_policy(policy.encode())
    path.write_text(policy)
    command(made, "reload")
    eventually(lambda: published(made) > size)
    assert cosigners(made) == {"w1"}


def init_encrypted(folder: Path, name: str) -> None:
    run(
        processes.muniment_log(
            "init", folder / name, "--origin", ORIGIN,
            "--key-passphrase-file", folder / "passphrase",
        )
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log with a policy and encrypted keys."""
    (tmp_path / "passphrase").write_text("one of two passphrases\n")
    (tmp_path / "passphrase").chmod(0o600)
    init_encrypted(tmp_path, "log")
    witness = signing.witness("witness.example/w")
    log = signing.log_signer(ORIGIN)
    (tmp_path / "log" / "p").write_text(
        f"log {log.vkey}\nwitness w {witness.vkey} http://127.0.0.1:9\nquorum w\n"
    )
    config = tmp_path / "log" / "log.toml"
    config.write_text('policy = "p"\n' + config.read_text())
    return tmp_path


def test_everything_that_is_named_is_read_again(folder: Path) -> None:
    config = folder / "log" / "log.toml"
    now = log_config.load(config)
    assert reread(now).policy_sha256 == now.policy_sha256

    # Another passphrase, with its file: the keys are the same. A wrong one opens none of them.
    (folder / "passphrase").write_text("another of passphrases\n")
    with pytest.raises(ConfigError, match=r"keys\[0\]"):
        reread(now)
    (folder / "passphrase").write_text("one of two passphrases\n")

    # A key file with another key is no change of keys.
    key = folder / "log" / "log-ed25519.pem"
    mine = key.read_bytes()
    init_encrypted(folder, "other")
    key.write_bytes((folder / "other" / "log-ed25519.pem").read_bytes())
    with pytest.raises(ConfigError, match="keys: a file holds another key"):
        reread(now)
    key.write_bytes(b"garbage")
    with pytest.raises(ConfigError, match=r"keys"):
        reread(now)
    key.write_bytes(mine)

    # Certificates and CAs.
    (folder / "log" / "pem").write_text("garbage")
    (folder / "log" / "pem").chmod(0o600)
    text = config.read_text()
    tables = '[tls]\ncertificate = "pem"\nkey = "pem"\n'
    config.write_text(text + tables)
    with pytest.raises(ConfigError, match="tls: has changed; that takes a restart"):
        reread(now)
    with pytest.raises(ConfigError, match=r"tls: .*/pem"):
        reread(log_config.load(config))
    config.write_text(text)
    assert reread(now).signers[0].vkey == now.signers[0].vkey


def test_a_ca_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with deployed(tmp_path) as made:
        text = made.config.read_text()
        (made.folder / "log" / "ca.pem").write_text("garbage")
        made.config.write_text(text + '[outgoing]\nca = "ca.pem"\n')
        assert "ca.pem" in command(made, "reload", code=1)
        made.config.write_text(text)
        command(made, "reload")
        stream = made.stream()
        records = decisions.decisions(1, producer=GATEWAY)
        assert made.post(stream.take(records), PUBLISHED).status == 200


@pytest.fixture
def https(tmp_path: Path) -> Iterator[tuple[Path, processes.Process, Authority]]:
    """A log whose one witness is reached by https, by a CA that is not the witness's."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    right, wrong = Authority(tmp_path / "a"), Authority(tmp_path / "b", "other")
    log_keys = run(
        processes.muniment_log(
            "init", tmp_path / "log", "--origin", ORIGIN, "--listen", "127.0.0.1:0"
        )
    )
    (witness_key,) = run(
        processes.muniment_witness(
            "init", tmp_path / "w", "--name", "w.example/w", "--listen", "127.0.0.1:0",
            "--algorithm", "ed25519", "--log", log_keys[0], "--log", log_keys[1],
        )
    )  # fmt: skip
    certificate, key = right.issue("w")
    config = tmp_path / "w" / "witness.toml"
    tables = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'
    config.write_text(config.read_text() + tables)
    with processes.start(processes.muniment_witness("serve", "--config", config)) as witness:
        shutil.copy(wrong.file, tmp_path / "log" / "ca.pem")
        policy = "".join(f"log {vkey}\n" for vkey in log_keys)
        policy += f"witness w {witness_key} {witness.url}\nquorum w\n"
        (tmp_path / "log" / "p").write_text(policy)
        config = tmp_path / "log" / "log.toml"
        tables = '[outgoing]\nca = "ca.pem"\n'
        config.write_text('policy = "p"\n' + config.read_text() + tables)
        yield tmp_path, witness, right


def test_a_ca_that_has_changed_is_taken_up(
    https: tuple[Path, processes.Process, Authority],
) -> None:
    folder, witness, right = https
    config = folder / "log" / "log.toml"

    async def as_a_witness_connects() -> tuple[bool, int]:
        access = Access(folder / "log" / "ca.pem")
        async with transport(10.0, access) as network:
            try:
                await network.get(f"{witness.url}/healthz")
                is_believed = True
            except UnreachableError:
                is_believed = False
            shutil.copy(right.file, folder / "log" / "ca.pem")
            await network.connect_by(access)
            await network.connect_by(access)  # the files are the same: nothing changes
            return is_believed, (await network.get(f"{witness.url}/healthz")).status

    with processes.start(processes.muniment_log("serve", "--config", config)) as log:
        assert ask(f"{log.url}/checkpoint").status == 404
        assert asyncio.run(as_a_witness_connects()) == (False, 200)
        assert ask(f"{log.url}/checkpoint").status == 404
        processes.run(processes.muniment_log("reload", "--config", config), code=0)
        eventually(lambda: ask(f"{log.url}/checkpoint").status == 200)


# A witness


def test_a_witness_takes_up_all_that_is_named_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text("one of two passphrases\n")
    (tmp_path / "passphrase").chmod(0o600)
    config = tmp_path / "w" / "witness.toml"
    encrypted = ("--key-passphrase-file", tmp_path / "passphrase", "--algorithm", "ed25519")
    for name in ("w", "other"):
        run(
            processes.muniment_witness(
                "init", tmp_path / name, "--name", "w.example/w", "--listen", "127.0.0.1:0",
                *encrypted,
            )
        )  # fmt: skip

    def reload(code: int = 7) -> str:
        done = processes.run(processes.muniment_witness("reload", "--config", config), code=code)
        return done.stdout + done.stderr

    def configuration() -> dict[str, Any]:
        argv = processes.muniment_witness("status", "--config", config, "--json")
        told = json.loads(processes.run(argv, code=0).stdout)["configuration"]
        assert isinstance(told, dict)
        return told

    with processes.start(processes.muniment_witness("serve", "--config", config)) as witness:
        assert configuration() == {
            "file": str(config), "since": configuration()["since"], "refused": None
        }  # fmt: skip
        text = config.read_text()
        (tmp_path / "w" / "ca.pem").write_text("garbage")
        config.write_text(text + '[outgoing]\nca = "ca.pem"\n')
        assert "ca.pem" in reload()
        assert "ca.pem" in configuration()["refused"]["reason"]
        shutil.copy(Authority(tmp_path).file, tmp_path / "w" / "ca.pem")
        assert "taken up" in reload(0)
        assert configuration()["refused"] is None
        config.write_text(text)
        assert "taken up" in reload(0)
        (tmp_path / "passphrase").write_text("another of passphrases\n")
        assert "keys[0]" in reload()
        (tmp_path / "passphrase").write_text("one of two passphrases\n")
        key = tmp_path / "w" / "witness-ed25519.pem"
        key.write_bytes((tmp_path / "other" / key.name).read_bytes())
        assert "keys: a file holds another key" in reload()
        argv = processes.muniment_witness("status", "--config", config)
        assert "reload refused" in processes.run(argv, code=0).stdout
        # Nobody else is told.
        assert "configuration" not in ask(f"{witness.url}/status.json").json
        assert "reload refused; what was in force stays in force" in witness.stderr
