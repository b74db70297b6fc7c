"""What `doctor` says of the gateway's key by how the log answers a trial of it."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from logsim import GATEWAY, GATEWAY_SIGNER, ORIGIN, LogSim
from muniment.http.logclient import LogClient
from muniment_gateway.app import doctor


async def said(sim: LogSim) -> str:
    file = SimpleNamespace(name=GATEWAY, stream="default")
    config = SimpleNamespace(file=file, origin=ORIGIN, signer=GATEWAY_SIGNER)
    async with sim.serve() as url, LogClient(url) as client:
        return (await doctor._key(cast(Any, config), client)).wrong  # noqa: SLF001 - one of many


@pytest.mark.parametrize("slug", ["bad-signature", "unknown-gateway"])
async def test_a_key_that_the_log_does_not_take_is_to_be_added(slug: str) -> None:
    sim = LogSim()
    sim.script.append((403, slug))
    assert f'add [[gateway]] vkey = "{GATEWAY_SIGNER.vkey}"' in await said(sim)


@pytest.mark.parametrize(("status", "slug"), [(429, "too-many"), (503, "overloaded")])
async def test_a_log_that_takes_nothing_now_says_nothing_of_the_key(status: int, slug: str) -> None:
    sim = LogSim()
    sim.script.append((status, slug))
    wrong = await said(sim)
    assert slug in wrong
    assert "[[gateway]]" not in wrong


async def test_a_key_that_the_log_takes_leaves_nothing_behind() -> None:
    sim = LogSim()
    assert not await said(sim)
    assert sim.posts == 1
    assert not sim.entries
