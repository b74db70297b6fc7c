"""Real trees of Tessera, in both layouts, read by the commands as from any static web server.

The program that makes them is built from the Go modules that ``tests/foreign/makelogs`` pins.
"""

import base64
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import processes
from logsim import private
from muniment.tlog.note import Ed25519Signer

SOURCE = Path(__file__).parent.parent / "foreign" / "makelogs"
SIZE = 700
SIGNER = Ed25519Signer("log.example/tessera", private("tessera"))


class Static(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with a policy, and the URL below which the two logs are served."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("no Go toolchain, which builds the program that makes the trees")
    folder = tmp_path_factory.mktemp("trees")
    program = folder / "makelogs"
    built = subprocess.run(
        [go, "build", "-C", str(SOURCE), "-mod=readonly", "-o", str(program), "."],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode and "main.go" not in built.stderr:
        pytest.skip(f"the Go modules cannot be had: {built.stderr.strip().splitlines()[-1]}")
    assert built.returncode == 0, built.stderr
    key = base64.b64encode(b"\x01" + private("tessera").private_bytes_raw()).decode()
    note_key = f"PRIVATE+KEY+{SIGNER.vkey.name}+{SIGNER.vkey.key_id:08x}+{key}"
    subprocess.run([str(program), str(folder), str(SIZE), note_key], check=True)
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
