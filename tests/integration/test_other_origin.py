"""A copy, as files, of a log whose origin is not its key's name: witnessed, monitored, proved."""

import json
import re
from pathlib import Path

import processes
from byzantine import View, new_signer
from muniment.tlog.evidence import parse_evidence
from muniment.tlog.tiles import ENTRIES, tile_at
from muniment_witness.cli.exits import EXIT_UNREACHABLE
from processes import muniment, muniment_witness
from stand import post
from staticserver import static
from witness_tools import set_up

TREE = "go.sum database tree"
KEY = "sum.example"


def write(view: View, folder: Path) -> None:
    """Writes a log as files: its checkpoint, tiles and entry bundles; below 65,536 leaves."""
    for level, span in ((ENTRIES, 1), (0, 1), (1, 256)):
        count = view.size // span
        for number in range(-(-count // 256)):
            tile = tile_at(level, number, view.size)
            path = folder / tile.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(view.tile(tile))
    (folder / "checkpoint").write_bytes(view.checkpoint().encode())


def run(*arguments: object, code: int = 0) -> processes.Done:
    return processes.run([str(argument) for argument in arguments], code=code)


def test_a_log_of_another_name_is_witnessed_monitored_and_proved(tmp_path: Path) -> None:
    view = View(TREE, [new_signer(KEY)])
    view.append(300)
    copy, forked = tmp_path / "copy", tmp_path / "forked"
    write(view, copy)
    config, [vkey] = set_up(tmp_path / "w", (), name="w.example")
    run(*muniment_witness("add-log", "--config", config, "--origin", TREE, view.vkeys[0]))
    policy = tmp_path / "trust.policy"
    with (
        static(copy) as url,
        static(forked) as other,
        processes.start(muniment_witness("serve", "--config", config)) as witness,
    ):
        policy.write_text(
            f"log {view.vkeys[0]} {url}\norigin {TREE}\nwitness w {vkey} {witness.url}\nquorum w\n"
        )
        explained = run(*muniment("policy", "explain", policy)).stdout
        assert f"Trusts the log {TREE} (1 key of the name {KEY})." in explained

        # Fed, and so witnessed.
        feed = muniment_witness("feed", "--log", url, "--log-vkey", view.vkeys[0], "--once")
        to = ("--witness", witness.url)
        run(*feed, *to, code=EXIT_UNREACHABLE)  # of the key's name, that is another log
        fed = json.loads(run(*feed, *to, "--origin", TREE).stdout)
        assert (fed["old"], fed["size"]) == (0, 300)
        view.append(5)
        write(view, copy)
        fed = json.loads(run(*feed, *to, "--origin", TREE).stdout)
        assert (fed["old"], fed["size"]) == (300, 305)

        # Whoever fed it puts the cosignature on the copy.
        cosigned = "".join(f"{line}\n" for line in fed["cosignatures"])
        with (copy / "checkpoint").open("a", encoding="utf-8") as checkpoint:
            checkpoint.write(cosigned)
        # Monitored: log and witness agree.
        monitor = muniment("monitor", "--policy", policy, url, witness.url, "--once", "--json")
        result = json.loads(run(*monitor).stdout)
        assert result["origin"] == TREE
        assert result["alarms"] == []

        # Proved, and verified offline.
        proof, entry = tmp_path / "x.tlog-proof", tmp_path / "x.entry"
        made = ("--index", "301", "--out", proof, "--entry-out", entry, "--policy", policy)
        run(*muniment("prove", "--log", url, *made))
        verified = run(*muniment("verify", proof, "--policy", policy, "--entry", entry)).stdout
        assert f"entry 301 of the log {TREE}" in verified

        # Caught: evidence by the key of that other name convicts it, offline.
        fork = view.fork(3)
        write(fork, forked)
        status, _ = post(f"{witness.url}/add-checkpoint", fork.add_checkpoint(305).encode())
        assert status == 422
        run(*muniment_witness("export", "--url", witness.url, tmp_path / "out"))
        [file] = (tmp_path / "out").glob("*.evidence")
        assert parse_evidence(file.read_bytes()).kind == "same-size"
        proven = run(*muniment("evidence", "verify", file, "--policy", policy), code=5).stdout
        assert re.search(rf"the Ed25519 key {KEY}\+[0-9a-f]{{8}}", proven)
        seen = run(
            *muniment("monitor", "--policy", policy, other, witness.url, "--once", "--json"), code=5
        )
        assert "proven-same-size" in seen.stdout
