"""Go's own checksum database, as golang.org/x/mod serves it: witnessed, monitored, proved."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import foreign
import processes
from log_deployment import ask
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.note import Ed25519Signer
from muniment.tlog.sumdb import ORIGIN
from muniment.tlog.witnesswire import origin_hash
from processes import muniment, muniment_witness
from signing import ed25519
from waiting import eventually
from witness_tools import set_up

SIGNER = Ed25519Signer("sum.example", ed25519("gosum"))


class Database:
    """A running one."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.size = 0

    def grow(self, count: int) -> None:
        """Has it look up modules that it does not know, each of which is a record then."""
        for number in range(self.size, self.size + count):
            urllib.request.urlopen(f"{self.url}/lookup/module.example/m{number}@v1.0.0").close()
        self.size += count


@contextmanager
def serving(folder: Path) -> Iterator[Database]:
    program = foreign.built(folder, "./gosum")
    argv = [str(program), foreign.note_key(SIGNER.vkey, ed25519("gosum"))]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Database(process.stdout.readline().strip())
        finally:
            process.kill()


def run(*arguments: object, code: int = 0) -> str:
    done = processes.run([str(argument) for argument in arguments], code=code)
    return done.stdout


def test_a_checksum_database_of_go(tmp_path: Path) -> None:
    config, [vkey] = set_up(tmp_path / "w", (), name="w.example")
    policy = tmp_path / "trust.policy"
    with serving(tmp_path) as log:
        log.grow(300)
        add = ("add-log", "--config", config, "--origin", ORIGIN, SIGNER.vkey)
        run(*muniment_witness(*add))
        with processes.start(muniment_witness("serve", "--config", config)) as witness:
            feed = (
                *("feed", "--log", log.url, "--log-vkey", SIGNER.vkey, "--origin", ORIGIN),
                *("--witness", witness.url, "--once"),
            )
            fed = json.loads(run(*muniment_witness(*feed)))
            assert (fed["old"], fed["size"]) == (0, 300)
            log.grow(230)
            fed = json.loads(run(*muniment_witness(*feed)))
            assert (fed["old"], fed["size"]) == (300, 530)

            policy.write_text(
                f"log {SIGNER.vkey} {log.url}\norigin {ORIGIN}\n"
                f"witness w {vkey} {witness.url}\nquorum none\n"
            )
            # The log goes on, and what the witness has is a part of it.
            log.grow(7)
            monitor = ("monitor", "--policy", policy, log.url, witness.url, "--once", "--json")
            told = json.loads(run(*muniment(*monitor)))
            assert told["origin"] == ORIGIN
            assert told["alarms"] == []
            assert told["agreeing"] == [witness.url]

            proof, entry = tmp_path / "x.tlog-proof", tmp_path / "x.entry"
            for index in (301, 536):
                made = ("--index", index, "--out", proof, "--entry-out", entry, "--policy", policy)
                run(*muniment("prove", "--log", log.url, *made))
                run(*muniment("verify", proof, "--policy", policy, "--entry", entry))
                assert entry.read_text().startswith(f"module.example/m{index} v1.0.0 h1:")
            run(*muniment("audit", "--log", log.url, "--policy", policy, "--tree"))


def test_a_witness_follows_a_checksum_database_by_itself(tmp_path: Path) -> None:
    with serving(tmp_path) as log:
        log.grow(3)
        config, _ = set_up(tmp_path / "w", (), name="w.example")
        with config.open("a") as file:
            file.write(
                f'[[log]]\norigin = "{ORIGIN}"\nvkeys = ["{SIGNER.vkey}"]\nurl = "{log.url}"\n'
                "cosign_pulled = true\n[gossip]\nperiod_seconds = 1\n"
            )
        with processes.start(muniment_witness("serve", "--config", config)) as witness:
            newest = f"{witness.url}/{origin_hash(ORIGIN)}/checkpoint"

            def size() -> int:
                answer = ask(newest)
                if answer.status != 200:
                    return 0
                return parse_signed_checkpoint(answer.body).checkpoint.size

            eventually(lambda: size() == 3)
            log.grow(300)
            eventually(lambda: size() == 303)
