"""C2SP tlog-mirror, each MUST by itself: what a mirror answers to an upload."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mirror_tools import KEYS, LOG, MirrorLog, Running, cosigned, info, mirror, problem
from muniment.tlog.mirrorwire import Upload, encode_package
from muniment_service.http import Request
from muniment_witness.judge.decide import KnownLog
from muniment_witness.store.heads import HeadStore
from rawhttp import Body
from witness_tools import GrowingLog, witness_signer


@pytest.fixture
async def m(tmp_path: Path) -> AsyncIterator[Running]:
    async with mirror(tmp_path, LOG, KEYS) as running:
        yield running


async def test_a_log_that_is_not_known_is_404(m: Running) -> None:
    other = MirrorLog("other.example/log")
    assert problem(await m.send(other.upload(0, 3))) == (404, "unknown-origin")


async def test_a_log_of_the_witness_that_is_not_mirrored_is_404(tmp_path: Path) -> None:
    other = MirrorLog("other.example/log")
    async with mirror(
        tmp_path, LOG, KEYS, more=[other], witness=[witness_signer()], logs=(LOG.origin,)
    ) as m:
        assert (await m.pend(0, 3, other)).status == 200
        assert problem(await m.send(other.upload(0, 3))) == (404, "unknown-origin")


async def test_a_way_that_is_for_other_logs_is_404(m: Running) -> None:
    """A bastion may be for some logs only."""
    await m.pend(0, 3)
    headers = {"Content-Type": "application/octet-stream"}
    for about, status in ((frozenset({"other"}), 404), (frozenset({LOG.origin}), 200)):
        request = Request("POST", "/add-entries", headers, Body(LOG.upload(0, 3)))
        request.about = about
        assert (await m.app.respond(request)).status == status


async def test_without_a_pending_checkpoint_it_is_422(m: Running) -> None:
    assert problem(await m.send(LOG.upload(0, 3))) == (422, "no-checkpoint")


async def test_an_end_that_was_never_pending_is_409(m: Running) -> None:
    await m.pend(0, 300)
    for end in (299, 301):
        found = info(await m.send(LOG.upload(0, end)), 409)
        assert (found.size, found.next_entry) == (300, 0)
        assert found.ticket
    cosigned(await m.send(LOG.upload(0, 300, found.ticket)), 300)


async def test_an_end_before_the_mirror_checkpoint_is_409(m: Running) -> None:
    await m.pend(0, 10)
    await m.pend(10, 20)
    cosigned(await m.send(LOG.upload(0, 20)), 20)
    found = info(await m.send(LOG.upload(0, 10)), 409)
    assert (found.size, found.next_entry) == (20, 20)


async def test_a_start_after_the_next_entry_is_409(m: Running) -> None:
    await m.pend(0, 300)
    found = info(await m.send(LOG.upload(1, 300)), 409)
    assert (found.size, found.next_entry) == (300, 0)


async def test_too_much_that_is_here_already_is_409(m: Running) -> None:
    size = 2400
    await m.pend(0, size)
    cosigned(await m.send(LOG.upload(0, size)), size)
    found = info(await m.send(LOG.upload(0, size, packages=1)), 409)
    assert (found.size, found.next_entry) == (size, size)
    cosigned(await m.send(LOG.upload(size - 2048, size)), size)


async def test_a_prefix_is_202_and_goes_on(m: Running) -> None:
    await m.pend(0, 600)
    found = info(await m.send(LOG.upload(0, 600, packages=2)), 202)
    assert (found.size, found.next_entry) == (600, 512)
    assert (await m.read("checkpoint")).status == 404
    assert (await m.read("tile/entries/001")).status == 200  # "MAY commit … as soon as"
    cosigned(await m.send(LOG.upload(512, 600, found.ticket)), 600)


async def test_a_body_that_ends_before_its_first_package_is_400(m: Running) -> None:
    await m.pend(0, 300)
    whole = LOG.upload(0, 300)
    head = len(Upload(LOG.origin, 0, 300).encode())
    for size in (0, 5, head - 1, head, head + 10):
        assert problem(await m.send(whole[:size])) == (400, "incomplete-body")
    backwards = Upload(LOG.origin, 0, 0).encode()[:-10] + bytes(10)
    assert (await m.send(backwards[:-11] + b"\1" + bytes(10))).status == 400


async def test_a_proof_that_does_not_hold_is_422_and_nothing_of_it_stays(m: Running) -> None:
    fork = LOG.fork(280)
    await m.pend(0, 600)
    packages = LOG.packages(0, 600)
    wrong = MirrorLog(LOG.origin, LOG.signers, 280).packages(0, 600)
    head = Upload(LOG.origin, 0, 600).encode()
    assert fork.root(600) != LOG.root(600)
    assert problem(await m.send(head + wrong[0])) == (422, "bad-proof")
    assert m.mirror.copies[LOG.origin].next_entry == 0
    answer = await m.send(head + packages[0] + wrong[1] + packages[2])
    assert problem(answer) == (422, "bad-proof")
    assert m.mirror.copies[LOG.origin].next_entry == 256
    cosigned(await m.send(LOG.upload(256, 600)), 600)


async def test_a_package_of_too_many_hashes_ends_the_body(m: Running) -> None:
    await m.pend(0, 300)
    first, last = LOG.packages(0, 300)
    head = Upload(LOG.origin, 0, 300).encode()
    entries = b"\0\0" * 44
    bad = entries + b"\x40" + bytes(64 * 32)
    assert (await m.send(head + b"\0\0" * 256 + b"\x40" + bytes(64 * 32))).status == 400
    assert info(await m.send(head + first + bad), 202).next_entry == 256
    assert encode_package(b"", []) == b"\0"
    cosigned(await m.send(head + first + last), 300)


async def test_an_earlier_pending_checkpoint_is_still_good(m: Running) -> None:
    """ "Mirrors SHOULD accept any of the last several pending checkpoint values"."""
    await m.pend(0, 100)
    await m.pend(100, 300)
    await m.pend(300, 310)
    cosigned(await m.send(LOG.upload(0, 100)), 100)
    found = info(await m.send(LOG.upload(100, 300, packages=1)), 202)
    assert (found.size, found.next_entry) == (300, 256)
    cosigned(await m.send(LOG.upload(256, 310)), 310)


async def test_a_ticket_is_good_when_the_witness_has_forgotten(
    m: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    await m.pend(0, 300)
    found = info(await m.send(LOG.upload(0, 300, packages=1)), 202)
    await m.pend(300, 310)

    async def forgotten(*_: object) -> list[bytes]:
        return []

    monkeypatch.setattr(HeadStore, "notes_at", forgotten)
    assert info(await m.send(LOG.upload(256, 300)), 409).size == 310
    cosigned(await m.send(LOG.upload(256, 300, found.ticket)), 300)


async def test_a_ticket_that_was_changed_is_believed_in_nothing(m: Running) -> None:
    """ "The mirror MUST authenticate any information it derives from a ticket"."""
    fork = LOG.fork(3)
    await m.pend(0, 300)
    ticket = info(await m.send(LOG.upload(0, 300, packages=1)), 202).ticket
    note = fork.checkpoint(301).encode()  # signed by the log: only the mirror's word is missing
    forged = [ticket[:32] + note, bytes(32) + note, note, ticket[:-1], b"x" + ticket[1:], b"x"]
    for bad in forged:
        assert info(await m.send(LOG.upload(256, 301, bad, packages=0)), 409).size == 300
    for at in range(0, len(ticket), 97):
        changed = bytearray(ticket)
        changed[at] ^= 1
        answer = await m.send(LOG.upload(256, 301, bytes(changed), packages=0))
        assert info(answer, 409).size == 300


async def test_a_ticket_of_another_log_is_none(tmp_path: Path) -> None:
    other = MirrorLog("other.example/log")
    async with mirror(tmp_path, LOG, KEYS, more=[other]) as m:
        await m.pend(0, 300)
        await m.pend(0, 290, other)
        ticket = info(await m.send(LOG.upload(0, 300, packages=1)), 202).ticket
        assert info(await m.send(other.upload(0, 300, ticket)), 409).size == 290


async def test_gzip_is_received_and_announced(m: Running) -> None:
    await m.pend(0, 300)
    body = LOG.upload(0, 300)
    bad = await m.send(body, Content_Encoding="br")
    assert problem(bad) == (415, "content-encoding")
    assert bad.headers["Accept-Encoding"] == "gzip"
    two = gzip.compress(body[:700]) + gzip.compress(body[700:])
    assert info(await m.send(two[:-50], Content_Encoding="gzip"), 202).next_entry == 256
    damaged = b"\x1f\x8b" + two[2:300] + bytes(300)
    assert (await m.send(damaged, Content_Encoding="gzip")).status == 400
    answer = await m.send(two, Content_Encoding="gzip")
    cosigned(answer, 300)
    assert answer.headers["Accept-Encoding"] == "gzip"


async def test_another_content_type_is_415(m: Running) -> None:
    await m.pend(0, 3)
    answer = await m.send(LOG.upload(0, 3), Content_Type="text/plain")
    assert problem(answer) == (415, "content-type")


async def test_the_log_s_signature_must_be_of_a_key_that_is_still_trusted(m: Running) -> None:
    await m.pend(0, 300)
    others = GrowingLog(LOG.origin).verifiers
    await m.mirror.follow({LOG.origin: KnownLog(LOG.origin, others)})
    assert problem(await m.send(LOG.upload(0, 300))) == (422, "no-checkpoint")


async def test_uploads_beyond_the_budget_are_told_to_come_again(tmp_path: Path) -> None:
    async with mirror(tmp_path, LOG, KEYS, inflight_bytes=4000) as m:
        await m.pend(0, 256)
        body = LOG.upload(0, 256)
        assert len(body) < 4000
        one, other = asyncio.Event(), asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield body[:3000]
            one.set()
            await other.wait()
            yield body[3000:]

        waiting = Body(body)
        waiting.pieces = slow  # type: ignore[method-assign]
        first = asyncio.create_task(m.send(waiting))
        await one.wait()
        refused = await m.send(body)
        assert problem(refused) == (503, "busy")
        assert "Retry-After" in refused.headers
        assert problem(await m.send(bytes(5000))) == (503, "busy")
        other.set()
        cosigned(await first, 256)
        cosigned(await m.send(body), 256)
