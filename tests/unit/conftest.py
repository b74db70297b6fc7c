"""What modules of witnesses start alike: a log that may lie, and a network to read it by."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from byzantine import ByzantineLog
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
