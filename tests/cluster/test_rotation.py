"""A cluster on two machines changes its key and goes on; commands reach each process's socket."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import decisions
import engines
import processes
import signing
from killing import rotate_and_kill
from log_deployment import (
    GATEWAY,
    ORIGIN,
    PUBLISHED,
    Cluster,
    Deployment,
    Stream,
    ask,
    deployed,
    run,
)
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.note import VKey, parse_vkey
from muniment_log.cli.rotate import own_keys
from muniment_log.cluster import keys as cluster_keys
from muniment_log.config import LogConfig
from muniment_log.errors import UnavailableError
from muniment_service.rotation import Own
from tcpproxy import Proxy
from waiting import eventual, eventually


class Machine:
    """A frontend and an integrator with one configuration."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.config = folder / "log.toml"
        self.environment = environment
        self.running: list[processes.Process] = []

    def start(self) -> None:
        self.running = [
            processes.start(
                processes.muniment_log(part, "--config", self.config), environment=self.environment
            )
            for part in ("frontend", "integrator")
        ]

    def restart(self) -> None:
        assert [one.terminate() for one in self.running] == [0, 0]
        self.start()

    @property
    def url(self) -> str:
        return self.running[0].url

    def command(self, *words: str, code: int = 0) -> str:
        argv = processes.muniment_log(words[0], "--config", self.config, *words[1:])
        with processes.Process(argv, environment=self.environment) as process:
            assert process.wait() == code, process.stderr
        assert "Traceback" not in process.stderr
        return process.stdout if code == 0 else process.stderr

    def json(self, *words: str) -> dict[str, Any]:
        told = json.loads(self.command(*words))
        assert isinstance(told, dict)
        return told


def key_id(vkey: str) -> str:
    return f"{parse_vkey(vkey).key_id:08x}"


def signers_of(url: str) -> set[str]:
    """IDs of the log's keys that have signed the published checkpoint."""
    note = parse_signed_checkpoint(ask(f"{url}/checkpoint").body).note
    return {f"{line.key_id:08x}" for line in note.signatures if line.name == ORIGIN}


def test_a_cluster_changes_its_key_and_goes_on(
    database: str, bucket: engines.Bucket, tmp_path: Path
) -> None:
    cluster = Cluster(database, bucket)
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(deployed(tmp_path, cluster))
        assert made.log.terminate() == 0
        text = made.config.read_text().replace('[index]\ndatabase = "index.db"', "")
        made.config.write_text(text.replace("lease_seconds = 6.0", "lease_seconds = 2.0"))
        shutil.copytree(made.folder / "log", made.folder / "b")
        a = Machine(made.folder / "log", bucket.environment)
        b = Machine(made.folder / "b", bucket.environment)
        for machine in (a, b):
            stack.callback(lambda machine=machine: [one.kill() for one in machine.running])
            machine.start()
        change(made, a, b)
        commands_reach_all(a, b)


def change(made: Deployment, a: Machine, b: Machine) -> None:
    stream = made.stream()
    old, post_quantum = run(processes.muniment_log("vkeys", "--config", a.config))

    def submit(machine: Machine) -> None:
        """One batch, published by whoever leads."""
        body = stream.take(decisions.decisions(2, stream.next + 1, GATEWAY))
        answer = ask(f"{machine.url}/v1/batches{PUBLISHED}", body)
        assert answer.status == 200, answer.body

    submit(a)
    assert signers_of(b.url) == {key_id(old), key_id(post_quantum)}
    new = a.command("rotate-key", "--add", "ed25519").strip()
    everything = {key_id(old), key_id(post_quantum), key_id(new)}
    # Everybody goes on as before, and may also start; the new key has nobody signed with yet.
    b.restart()
    submit(b)
    assert signers_of(a.url) == {key_id(old), key_id(post_quantum)}
    refusal = a.command("rotate-key", "--retire", key_id(old), code=6)
    assert "let the log publish with all keys first" in refusal
    keys = next(line for line in a.config.read_text().splitlines() if line.startswith("keys"))
    assert keys.count(".pem") == 3

    for machine in (a, b):
        if machine is b:
            shutil.copy(a.config.parent / f"log-ed25519-{key_id(new)}.pem", b.config.parent)
            set_keys(b, keys)
        machine.restart()
        submit(machine)
    told = {**a.json("status"), **b.json("status")}
    assert len(told) == 4
    assert all(set(one["keys"]) == everything for one in told.values())
    # An idle log shows the new signature, too: whoever leads has signed its head again.
    eventually(lambda: signers_of(a.url) == everything)
    for number in range(3):
        witness = made.folder / f"w{number}" / "witness.toml"
        words = ("rotate-key", "--config", witness, ORIGIN, "--add", new)
        run(processes.muniment_witness(*words))

    kept = keys.replace('"log-ed25519.pem", ', "")
    set_keys(b, kept)
    b.restart()
    submit(b)
    assert all(len(one["keys"]) == 2 for one in b.json("status").values())
    a.command("rotate-key", "--retire", key_id(old))
    # What still signs with it ends by itself, and says why.
    for process in a.running:
        assert process.wait() == 6
        assert "belongs to the keys" in process.stderr.strip().split("\n")[-1]
    assert kept in a.config.read_text()
    a.start()
    for machine in (a, b):
        submit(machine)
        assert signers_of(machine.url) == {key_id(post_quantum), key_id(new)}
    # A key that is not listed, by an edit that nobody meant.
    set_keys(b, keys)
    assert "belongs to the keys" in b.command("integrator", code=6)
    set_keys(b, kept)


@pytest.mark.parametrize("persisted", [False, True])
def test_a_change_of_keys_that_nobody_knows_the_end_of_can_be_made_again(
    made: Deployment,
    postgres_server: engines.PostgreSQL,
    monkeypatch: pytest.MonkeyPatch,
    *,
    persisted: bool,
) -> None:
    """The connection is lost before or after the commit, when the configuration was changed."""
    rebind, name = cluster_keys.rebind, made.cluster.postgres.rpartition("/")[2]
    with Proxy(postgres_server.port) as link:
        port = f":{postgres_server.port}/"
        made.config.write_text(made.config.read_text().replace(port, f":{link.port}/"))
        before = made.config.read_text()

        async def losing(
            config: LogConfig, keys: Any, changed: VKey, commit: Callable[[], None]
        ) -> None:
            def replace() -> None:
                commit()
                if not persisted:
                    link.refuse()

            await rebind(config, keys, changed, replace)
            raise UnavailableError("no answer")

        def change(words: str, make: Callable[[Own], object]) -> str:
            """The option by which it is to be made again."""
            with monkeypatch.context() as patched:
                patched.setattr(cluster_keys, "rebind", losing)
                with pytest.raises(UnavailableError, match=f"again, {words} ") as lost:
                    make(own_keys(made.config))
            link.heal()
            return str(lost.value).rpartition(" ")[2]

        def recorded() -> int:
            return int(postgres_server.query("SELECT count(*) FROM identity", name))

        path = Path(change("--key", lambda own: own.add("ed25519")))
        assert (made.config.read_text(), recorded()) == (before, 2 + persisted)
        new = own_keys(made.config).take_up(path)
        assert (own_keys(made.config).vkeys[2], recorded()) == (new, 3)
        after = made.config.read_text()
        key = change("--retire", lambda own: own.retire(str(new)))
        assert (made.config.read_text(), recorded()) == (after, 3 - persisted)
        own_keys(made.config).retire(key)
        assert (len(own_keys(made.config).vkeys), recorded()) == (2, 2)


def test_a_change_of_keys_that_was_killed_is_completed_by_the_same_once_more(
    made: Deployment, postgres_server: engines.PostgreSQL
) -> None:
    """K1, and the moments before it."""
    name = made.cluster.postgres.rpartition("/")[2]

    def agrees(keys: int) -> bool:
        listed = sorted(str(key) for key in own_keys(made.config).vkeys)
        recorded = postgres_server.query("SELECT vkey FROM identity", name).split()
        return len(listed) == keys and sorted(recorded) == listed

    for at in count(4):
        was_killed = rotate_and_kill(at, "log", made.config, "--add", "ed25519")
        new = own_keys(made.config).add("ed25519") if was_killed else own_keys(made.config).vkeys[2]
        assert agrees(3)
        key = f"{new.key_id:08x}"
        retiring = rotate_and_kill(at, "log", made.config, "--retire", key)
        if retiring:
            own_keys(made.config).retire(key)
        assert agrees(2)
        if not (was_killed or retiring):
            break
    assert at >= 6


@pytest.fixture
def made(database: str, bucket: engines.Bucket, tmp_path: Path) -> Iterator[Deployment]:
    """A cluster that does not run, and has."""
    with deployed(tmp_path, Cluster(database, bucket)) as deployment:
        assert deployment.log.terminate() == 0
        yield deployment


def set_keys(machine: Machine, line: str) -> None:
    lines = machine.config.read_text().splitlines()
    lines = [line if one.startswith("keys") else one for one in lines]
    machine.config.write_text("\n".join(lines) + "\n")


def commands_reach_all(a: Machine, b: Machine) -> None:
    """`status` and `reload` ask each process of a configuration on this machine."""
    status = a.json("status")
    names = [
        f"{part}-{one.pid}" for part, one in zip(("frontend", "integrator"), a.running, strict=True)
    ]
    assert sorted(status) == sorted(names)

    def leader() -> str | None:
        told = (*a.json("status").values(), *b.json("status").values())
        holders = {one["cluster"]["holder"] for one in told}
        return holders.pop() or None if len(holders) == 1 else None

    holder = eventual(leader)
    assert len([one for one in (*a.running, *b.running) if f"/{one.pid}/" in holder]) == 1
    fresh = decisions.decisions(1, 900, "gw.example/other")
    text = a.config.read_text()
    signer = signing.log_signer("gw.example/other")
    stream = Stream("s", signer)
    ask(f"{a.url}/v1/batches", stream.peek(fresh)).problem(403, "unknown-gateway")
    a.config.write_text(text + f'\n[[gateway]]\nvkey = "{signer.vkey}"\n')
    told = a.json("reload")
    assert sorted(told) == sorted(names)
    assert all("gw.example/other" in one["gateways"] for one in told.values())
    assert ask(f"{a.url}/v1/batches", stream.peek(fresh)).status == 200
    ask(f"{b.url}/v1/batches", stream.peek(fresh)).problem(403, "unknown-gateway")
    a.config.write_text(text.replace(ORIGIN, "log.example/else"))
    assert "has changed" in a.command("reload", code=1)
    a.config.write_text(text)
    a.running[0].kill()
    assert list(a.json("status")) == names[1:]
    a.running[1].kill()
    assert "no process of the cluster answers" in a.command("status", code=9)
    assert len(list(a.config.parent.glob("admin-*.sock"))) == 2
    a.start()
    assert len(list(a.config.parent.glob("admin-*.sock"))) == 2
