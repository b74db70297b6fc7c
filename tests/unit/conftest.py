"""What modules start alike: a log that may lie, a network to read it by, a gateway's folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import logsim
from byzantine import ByzantineLog
from muniment.local.keyfiles import write_key_file
from muniment.tlog.keys.keyfile import KeyFile
from witness_network import Network


@pytest.fixture
def log() -> ByzantineLog:
    log = ByzantineLog()
    log.main.append(600)
    return log


@pytest.fixture
async def net(tmp_path: Path, log: ByzantineLog) -> AsyncIterator[Network]:
    async with Network(tmp_path, log.main) as net:
        yield net


@pytest.fixture
def gateway_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a policy and a gateway's key file, as working directory."""
    monkeypatch.chdir(tmp_path)
    Path("trust.policy").write_text(logsim.POLICY_TEXT)
    key = KeyFile(logsim.private(logsim.GATEWAY), logsim.GATEWAY_SIGNER.vkey)
    write_key_file(Path("gateway.pem"), key, None)
    return tmp_path
