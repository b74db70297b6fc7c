"""When rounds of publication begin and end, and what is published meanwhile."""

import asyncio

import pytest

import signing
from muniment.tlog.checkpoint import Checkpoint, SignedCheckpoint, sign_checkpoint
from muniment_log.errors import UnavailableError
from muniment_log.publish.clock import Clock
from muniment_log.publish.pace import Pace, PublisherLimits
from muniment_log.publish.published import Publication
from muniment_log.publish.rounds import Round
from publishing import NOW, ORIGIN, ManualClock

PACE = Pace(PublisherLimits(pace_seconds=2.0, round_seconds=5.0, refresh_seconds=100.0))


def signed(size: int) -> SignedCheckpoint:
    return sign_checkpoint(Checkpoint(ORIGIN, size, bytes(32)), [signing.log_signer()], NOW)


def test_a_round_follows_in_its_time_and_at_once_for_whoever_waits() -> None:
    last = Round(signed(1), started=10.0)
    assert PACE.until_next(None, 10.0, is_waited_for=False) == 0
    assert PACE.until_next(last, 10.5, is_waited_for=False) == 1.5
    assert PACE.until_next(last, 10.5, is_waited_for=True) == 0
    assert PACE.until_next(last, 12.0, is_waited_for=False) == 0
    assert PACE.until_next(last, 99.0, is_waited_for=False) == 0


def test_a_round_ends_and_an_idle_head_is_refreshed_in_their_times() -> None:
    current = Round(signed(1), started=10.0)
    assert [PACE.until_late(current, now) for now in (10.0, 14.0, 15.0, 99.0)] == [5, 1, 0, 0]
    assert [PACE.until_refresh(current, now) for now in (10.0, 109.0, 110.0, 200.0)] == [
        100, 1, 0, 0,
    ]  # fmt: skip


async def test_only_who_waits_has_what_is_announced() -> None:
    publication = Publication(signed(1))
    waiting = asyncio.create_task(publication.wait(3, 60))
    await asyncio.sleep(0)
    new = signed(3)
    publication.announce(new)
    assert await waiting is new
    assert await publication.wait(2, 60) is new
    assert publication.stored == signed(1)
    reader = asyncio.create_task(publication.settled())
    await asyncio.sleep(0)
    assert not reader.done()
    publication.serve(new)
    await reader
    assert publication.stored is new


async def test_what_cannot_be_stored_is_not_published() -> None:
    publication = Publication(signed(1))
    publication.announce(signed(3))
    with pytest.raises(AssertionError, match="never goes back"):
        publication.announce(signed(0))
    publication.stop()
    await publication.settled()
    assert publication.stored == signed(1)
    with pytest.raises(UnavailableError):
        await publication.wait(3, 60)


async def test_a_clock_s_wait_ends_by_the_event_or_by_the_time() -> None:
    clock, event = ManualClock(), asyncio.Event()
    waiting = asyncio.create_task(clock.wait(event, 5.0))
    await asyncio.sleep(0)
    clock.advance(4.9)
    await asyncio.sleep(0)
    assert not waiting.done()
    clock.advance(0.1)
    assert not await waiting
    waiting = asyncio.create_task(clock.wait(event, 5.0))
    await asyncio.sleep(0)
    event.set()
    assert await waiting
    assert clock.timers == []
    assert not await Clock().wait(asyncio.Event(), 0.0)
    assert await Clock().wait(event, None)
