"""Real trees of Tessera, in both layouts, read by the commands as from any static web server.

The program that makes them is built from the Go modules that ``tests/foreign/makelogs`` pins.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import foreign
import processes
from logsim import private
from muniment.tlog.note import Ed25519Signer
from muniment.tlog.policy import parse_policy
from staticserver import static
from witness_tools import set_up

SIZE = 700
SIGNER = Ed25519Signer("log.example/tessera", private("tessera"))


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with a policy, and the URL below which the two logs are served."""
    folder = tmp_path_factory.mktemp("trees")
    program = foreign.built(folder, ".")
    note_key = foreign.note_key(SIGNER.vkey, private("tessera"))
    subprocess.run([program, folder, str(SIZE), note_key], check=True)
    (folder / "policy").write_text(f"log {SIGNER.vkey}\nquorum none\n")
    with static(folder) as url:
        yield folder, url


def run(code: int, *arguments: object) -> str:
    done = processes.run(processes.muniment(*arguments), code=code)
    return done.stdout + done.stderr


def feeding(witness: str, log: str) -> list[str]:
    """The command that feeds a witness from a log of ours here."""
    return processes.muniment_witness(
        *("feed", "--log", log, "--log-vkey", SIGNER.vkey, "--witness", witness, "--once")
    )


@pytest.mark.parametrize("layout", ["plain", "ct"])
def test_a_witness_is_fed_by_files_of_another_log(
    trees: tuple[Path, str], layout: str, tmp_path: Path
) -> None:
    _, base = trees
    config, [vkey] = set_up(tmp_path / "w", [str(SIGNER.vkey)], name="w.example")
    with processes.start(processes.muniment_witness("serve", "--config", config)) as witness:
        done = processes.run(feeding(witness.url, f"{base}/{layout}"), code=0)
        fed = json.loads(done.stdout)
        assert (fed["old"], fed["size"]) == (0, SIZE)
        [line] = fed["cosignatures"]
        assert line.startswith(f"\N{EM DASH} {vkey.name} ")
        again = json.loads(processes.run(feeding(witness.url, f"{base}/{layout}")).stdout)
        assert (again["old"], again["size"]) == (SIZE, SIZE)


def test_tessera_has_its_checkpoints_cosigned_by_our_witness(
    trees: tuple[Path, str], tmp_path: Path
) -> None:
    """Its own client sends them, and it publishes none without the cosignature."""
    program = trees[0] / "program"
    config, [vkey] = set_up(tmp_path / "w", [str(SIGNER.vkey)], name="w.example")
    with processes.start(processes.muniment_witness("serve", "--config", config)) as witness:
        policy = f"log {SIGNER.vkey}\nwitness w {vkey} {witness.url}\nquorum w\n"
        (tmp_path / "policy").write_text(policy)
        note_key = foreign.note_key(SIGNER.vkey, private("tessera"))
        log = tmp_path / "log"
        subprocess.run([program, log, str(SIZE), note_key, tmp_path / "policy"], check=True)
        checkpoint = (log / "plain" / "checkpoint").read_bytes()
        cosigned = parse_policy(policy.encode()).verify(checkpoint)
        assert (cosigned.size, [name for name, _ in cosigned.cosigners]) == (SIZE, ["w"])


@pytest.mark.parametrize("layout", ["plain", "ct"])
def test_a_real_tree_of_tessera(trees: tuple[Path, str], layout: str, tmp_path: Path) -> None:
    folder, base = trees
    url, policy = f"{base}/{layout}", ("--policy", folder / "policy")
    told = run(4, "audit", "--log", url, *policy)
    assert "PROVEN" not in told
    assert f"{SIZE} of the {SIZE} leaves that were read are neither records nor manifests" in told
    assert "The root is the checkpoint's." in told
    state = tmp_path / "state"
    assert "Verdict: clean." in run(0, "audit", "--log", url, *policy, "--tree", "--state", state)
    assert "Goes on from" in run(0, "audit", "--log", url, *policy, "--tree", "--state", state)
    told = run(0, "follow", url, *policy, "--replica", tmp_path / "replica", "--once")
    assert f"{SIZE} entries are neither a record nor a manifest" in told
    proof, leaf = tmp_path / "proof", tmp_path / "leaf"
    run(0, "prove", "--log", url, "--index", 300, "--out", proof, "--entry-out", leaf)
    run(0, "verify", proof, "--entry", leaf, *policy)
