"""An empty tree takes nothing before its witnesses have said that it never was more."""

from pathlib import Path

import pytest

from log_tools import GatewayStream
from muniment_log.errors import UnavailableError
from muniment_log.publish.cosigners import CosignerSet
from muniment_log.storage.schema import mark_copy
from muniment_service.backup import backup
from publishing import down, honest, log_of, policy_of, serving, trio
from waiting import SECONDS, until

AT_ONCE = 0.05
"""Seconds that a start waits for witnesses that do not answer."""


@pytest.mark.parametrize(
    ("quorum", "absent", "takes"),
    [
        (2, 0, True),
        (2, 1, True),  # whatever two have cosigned, one of the two that answer knows it
        (2, 2, False),
        (3, 0, True),
        (3, 1, False),
        (1, 0, True),
        (1, 1, False),  # the one that is away may have been the quorum of any head
    ],
)
async def test_who_has_to_answer(tmp_path: Path, quorum: int, absent: int, takes: bool) -> None:
    witnesses = trio()
    for witness in witnesses[3 - absent :]:
        witness.answer = down
    async with serving(*witnesses):
        policy = policy_of(*witnesses, quorum=quorum)
        seconds = SECONDS if takes else AT_ONCE
        async with log_of(tmp_path, policy, is_held=True, start_seconds=seconds) as log:
            if takes:
                assert await log.add() == 2
                return
            with pytest.raises(UnavailableError, match="this log is empty"):
                await log.add()
            assert witnesses[2].name in log.publisher.doubt
            assert log.inner.head.size == 0
            # They answer again: it goes on by itself.
            for witness in witnesses:
                witness.answer = honest
            await until(lambda: not log.publisher.doubts.hold)
            assert not log.publisher.doubt
            log.stream = GatewayStream()
            assert await log.add() == 2


async def test_a_log_with_leaves_needs_nobody(tmp_path: Path) -> None:
    """It goes on when all witnesses are away, as far as it can."""
    witnesses = trio()
    async with serving(*witnesses):
        policy = policy_of(*witnesses)
        async with log_of(tmp_path, policy, is_held=True) as log:
            await log.wait(await log.add())
    async with log_of(tmp_path, policy, is_held=True, start_seconds=AT_ONCE) as log:
        log.stream = GatewayStream("another")
        assert await log.add() == 4


async def test_a_copy_that_a_backup_made_takes_nothing_before_it_was_compared(
    tmp_path: Path,
) -> None:
    """The original may have gone on without it, and given out the same indices."""
    witnesses = trio()
    async with serving(*witnesses):
        policy = policy_of(*witnesses)
        async with log_of(tmp_path, policy, is_held=True) as log:
            await log.wait(await log.add())
            backup(tmp_path / "log.db", tmp_path / "copy.db", mark=mark_copy)
        (tmp_path / "copy.db").rename(tmp_path / "log.db")
        for witness in witnesses:
            witness.answer = down
        async with log_of(tmp_path, policy, is_held=True, start_seconds=AT_ONCE) as log:
            log.stream = GatewayStream("another")
            with pytest.raises(UnavailableError, match="a copy that `backup` or a restore made"):
                await log.add()
            assert log.inner.head.size == 2
            for witness in witnesses:
                witness.answer = honest
            await until(lambda: not log.publisher.doubts.hold)
            log.stream = GatewayStream("another")
            assert await log.add() == 4
    # Something was added: it is the log's database now, and needs nobody.
    async with log_of(tmp_path, policy, is_held=True, start_seconds=AT_ONCE) as log:
        log.stream = GatewayStream("third")
        assert await log.add() == 6


async def test_a_log_without_witnesses_has_nobody_to_ask(tmp_path: Path) -> None:
    async with log_of(tmp_path, None, is_held=True, start_seconds=AT_ONCE) as log:
        assert await log.add() == 2


async def test_a_reload_takes_those_out_that_are_gone(tmp_path: Path) -> None:
    witnesses = trio()
    for witness in witnesses[1:]:
        witness.answer = down
    async with serving(*witnesses):
        policy = policy_of(*witnesses)
        async with log_of(tmp_path, policy, is_held=True, start_seconds=AT_ONCE) as log:
            with pytest.raises(UnavailableError, match="this log is empty"):
                await log.add()
            log.publisher.use(CosignerSet(policy, log.clients))
            assert all(witness.name in log.publisher.doubts.hold for witness in witnesses[1:])
            log.publisher.use(CosignerSet(policy_of(witnesses[0], quorum=1), log.clients[:1]))
            await until(lambda: not log.publisher.doubts.hold)
            log.stream = GatewayStream()
            assert await log.add() == 2
