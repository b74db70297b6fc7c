"""Our mirror and programs of others: torchwood's parts push a log to it, Tessera's fsck reads it.

The client is built from the Go modules that ``tests/foreign/mirrorclient`` pins: subtree proofs,
cosignatures and the reading of tiles are torchwood's. No published version of Tessera or Sunlight
has a client for mirrors.
"""

import base64
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import foreign
import processes
from logsim import private
from muniment.tlog.note import Ed25519Signer
from muniment.tlog.witnesswire import origin_hash
from muniment_witness.config import load
from processes import muniment_witness
from witness_tools import set_up

SOURCE = Path(__file__).parent.parent / "foreign" / "mirrorclient"
SIGNER = Ed25519Signer("log.example/torchwood", private("torchwood"))
KEY = base64.b64encode(b"\x01" + private("torchwood").private_bytes_raw()).decode()
NOTE_KEY = f"PRIVATE+KEY+{SIGNER.vkey.name}+{SIGNER.vkey.key_id:08x}+{KEY}"
ORIGIN = SIGNER.vkey.name


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    go = shutil.which("go")
    if go is None:
        pytest.skip("no Go toolchain, which builds the program that pushes")
    program = tmp_path_factory.mktemp("client") / "mirrorclient"
    built = subprocess.run(
        [go, "build", "-C", str(SOURCE), "-mod=readonly", "-o", str(program), "."],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GOTOOLCHAIN": "auto"},  # torchwood needs a newer one than others
    )
    if built.returncode and "main.go" not in built.stderr:
        pytest.skip(f"the Go modules cannot be had: {built.stderr.strip().splitlines()[-1]}")
    assert built.returncode == 0, built.stderr
    return program


@pytest.mark.parametrize(("size", "requests"), [(1, 1), (700, 1), (20_000, 3)])
def test_torchwood_s_parts_push_a_log_and_read_it_back(
    client: Path, tmp_path: Path, size: int, requests: int
) -> None:
    config, _ = set_up(tmp_path / "w", [str(SIGNER.vkey)], "ed25519", "mldsa44")
    processes.run(
        muniment_witness("add-mirror", "--config", config, "--name", "m.example/m"), code=0
    )
    loaded = load(config)
    assert loaded.mirror is not None
    with processes.start(muniment_witness("serve", "--config", config)) as witness:
        at = f"{witness.url}/mirror/{origin_hash(ORIGIN)}"
        vkeys = [str(signer.vkey) for signer in loaded.mirror.signers]
        done = processes.run([str(client), witness.url, at, NOTE_KEY, str(size), *vkeys], code=0)
        assert done.stdout == f"cosigned after {requests} requests\nread back {size} entries\n"


def test_tessera_s_fsck_finds_a_mirrored_log_sound(client: Path, tmp_path: Path) -> None:
    fsck = foreign.program("fsck")
    config, vkeys = set_up(tmp_path / "m", [str(SIGNER.vkey)], "ed25519", mirror=True)
    with processes.start(muniment_witness("serve", "--config", config)) as mirror:
        at = f"{mirror.url}/mirror/{origin_hash(ORIGIN)}"
        processes.run([str(client), mirror.url, at, NOTE_KEY, "5000", str(vkeys[0])], code=0)
        key = tmp_path / "log.vkey"
        key.write_text(f"{SIGNER.vkey}\n")
        told = processes.run(
            [str(fsck), "-storage_url", f"{at}/", "-public_key", str(key), "-ui=false"]
        )
        # Its status is 0 also when the check fails.
        assert "success" in told.stderr.lower(), told.stderr
