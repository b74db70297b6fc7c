"""Real trees of Tessera, in both layouts, read by the commands as from any static web server.

The program that makes them is built from the Go modules that ``tests/foreign/makelogs`` pins.
"""

import http.server
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import foreign
import processes
from logsim import private
from muniment.tlog.note import Ed25519Signer

SIZE = 700
SIGNER = Ed25519Signer("log.example/tessera", private("tessera"))


class Static(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with a policy, and the URL below which the two logs are served."""
    folder = tmp_path_factory.mktemp("trees")
    program = foreign.built(folder, ".")
    note_key = foreign.note_key(SIGNER.vkey, private("tessera"))
    subprocess.run([program, folder, str(SIZE), note_key], check=True)
    (folder / "policy").write_text(f"log {SIGNER.vkey}\nquorum none\n")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Static, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def run(code: int, *arguments: object) -> str:
    done = processes.run(processes.muniment(*arguments))
    assert done.returncode == code, done
    return done.stdout + done.stderr


@pytest.mark.timeout(300)  # the first build compiles the modules
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
