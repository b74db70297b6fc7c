"""Uploads that break off at any byte, and several at a time: all of it ends as one upload would."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirror_tools import MirrorLog, Pieces, Running, check_held, info, mirror, mirror_signer
from muniment.tlog.mirrorwire import MirrorInfo, Upload
from witness_tools import log_signer

KEYS = [mirror_signer()]
SIGNER = log_signer()
LOG = MirrorLog(signers=[SIGNER])


async def go_on(m: Running, log: MirrorLog, found: MirrorInfo, end: int) -> None:
    """Goes on from a mirror-info, as a client should, until the checkpoint is cosigned."""
    for _ in range(20):
        answer = await m.send(log.upload(found.next_entry, found.size, found.ticket))
        if answer.status == 200 and found.size >= end:
            return
        found = MirrorInfo(end, found.size) if answer.status == 200 else info(answer, 409)
    pytest.fail("the client comes to no end")


@pytest.mark.parametrize("breaks", [True, False])
async def test_an_upload_that_breaks_off_at_any_byte_goes_on(tmp_path: Path, breaks: bool) -> None:
    start, end = 250, 515
    whole = MirrorLog("000", [SIGNER]).upload(start, end)
    head = Upload("000", start, end).encode()
    ends = [len(head)]
    for package in MirrorLog("000", [SIGNER]).packages(start, end):
        ends.append(ends[-1] + len(package))
    cuts = sorted({*range(ends[1] + 2), *range(ends[1], len(whole), 101), *ends})
    if not breaks:
        cuts = cuts[::5]
    logs = [MirrorLog(f"{number:03d}", [SIGNER]) for number in range(len(cuts))]
    async with mirror(tmp_path, LOG, KEYS, more=logs) as m:
        for log, cut in zip(logs, cuts, strict=True):
            m.log = log
            await m.pend(0, start)
            assert (await m.send(log.upload(0, start))).status == 200
            await m.pend(start, end)
            body = Upload(log.origin, start, end).encode() + whole[len(head) :]
            if not breaks:  # the same bytes, in two pieces
                assert (await m.send(Pieces(body[:cut], body[cut:]))).status == 200
                continue
            answer = await m.send(Pieces(body[:cut], breaks=True))
            if cut < ends[1]:
                assert answer.status == 400
                found = MirrorInfo(end, start)
            elif cut < ends[-1]:
                found = info(answer, 202)
                assert found.next_entry == (256 if cut < ends[2] else 512)
            else:
                assert answer.status == 200
                continue
            assert m.mirror.copies[log.origin].mirrored == start
            await go_on(m, log, found, end)
        for log in (*logs[::97], logs[-1]):
            await check_held(m, log)


async def test_a_client_that_is_cut_off_while_its_entries_are_saved_loses_none(
    tmp_path: Path,
) -> None:
    async with mirror(tmp_path, LOG, KEYS) as m:
        await m.pend(0, 600)
        copy = m.mirror.copies[LOG.origin]
        for turns in range(12):
            sending = asyncio.create_task(m.send(LOG.upload(copy.next_entry, 600, packages=1)))
            for _ in range(turns):
                await asyncio.sleep(0)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            saved = copy.next_entry
            await copy.save()
            assert copy.next_entry == saved  # there was nothing more to be saved
        assert (await m.send(LOG.upload(copy.next_entry, 600))).status == 200
        await check_held(m, LOG)


SIZES = (1, 200, 256, 300, 511, 513, 600)

clients = st.tuples(
    st.sampled_from(SIZES),  # the checkpoint that it uploads
    st.integers(0, 3),  # packages that it leaves out
    st.integers(0, 3),  # turns of the loop between two pieces
    st.integers(20, 4000),  # bytes in a piece
    st.booleans(),
)


async def upload(
    m: Running, size: int, without: int, turns: int, width: int, *, breaks: bool
) -> None:
    """One client: sends what it thinks is missing, in its own time, until it has its 200."""
    found = MirrorInfo(size, 0)
    for turn in range(20):
        start, end = min(found.next_entry, found.size), found.size
        packages = LOG.packages(start, end)
        sent = packages[: max(1, len(packages) - without)] if turn < 2 else packages
        body = Upload(LOG.origin, start, end, found.ticket).encode() + b"".join(sent)
        cuts = range(0, len(body), width)
        pieces = [body[at : at + width] for at in cuts]
        if breaks and turn == 0:
            pieces = pieces[: len(pieces) // 2]
        answer = await m.send(Pieces(*pieces, turns=turns, breaks=breaks and turn == 0))
        if answer.status == 200:
            return
        if answer.status in {202, 409}:
            found = info(answer, answer.status)
            if answer.status == 409 and found.size > end:
                assert m.mirror.copies[LOG.origin].next_entry >= end
        else:
            assert answer.status == 400
            assert breaks
    pytest.fail("the client comes to no end")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(clients, min_size=2, max_size=5))
async def test_clients_that_upload_at_the_same_time_disturb_nobody(
    tmp_path_factory: pytest.TempPathFactory, several: list[tuple[int, int, int, int, bool]]
) -> None:
    async with mirror(tmp_path_factory.mktemp("m"), LOG, KEYS) as m:
        for old, new in zip((0, *SIZES), SIZES, strict=False):
            await m.pend(old, new)
        seen: list[int] = []

        async def watch() -> None:
            while True:  # the mirror checkpoint "MUST NOT rewind"
                seen.append(m.mirror.copies[LOG.origin].mirrored)
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        async with asyncio.TaskGroup() as group:
            for size, without, turns, width, breaks in several:
                group.create_task(upload(m, size, without, turns, width, breaks=breaks))
        watching.cancel()
        assert seen == sorted(seen)
        assert m.mirror.copies[LOG.origin].mirrored >= max(size for size, *_ in several)
        await check_held(m, LOG)
