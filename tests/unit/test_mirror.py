"""C2SP tlog-mirror, each MUST by itself: what a mirror answers, holds, serves and cosigns."""

import asyncio
import gzip
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from clocks import WallClock
from mirror_tools import MIRROR, NOW, MirrorLog, Running, info, mirror, mirror_signer
from muniment.local.sqlitefile import DatabaseError
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.cosignature import MLDSA44Verifier, verifier_for
from muniment.tlog.encoding import VerificationError
from muniment.tlog.mirrorwire import Upload, encode_package
from muniment.tlog.note import Signer, UnverifiedNote, verify_note
from muniment.tlog.tiles import ENTRIES, check_bundle, tile_at, tiles_of
from muniment.tlog.witnesswire import origin_hash, parse_cosignatures, parse_subtree_signature
from muniment_service.http import Request, Response
from muniment_witness.judge.decide import KnownLog
from muniment_witness.store.heads import HeadStore
from muniment_witness.store.mirrorcheck import check_mirror
from rawhttp import Body
from witness_tools import GrowingLog, log_signer, witness_signer

LOG = MirrorLog(signers=[log_signer(), log_signer(algorithm="mldsa44")])
KEYS = [mirror_signer(), mirror_signer("mldsa44")]


def problem(response: Response) -> tuple[int, str]:
    return response.status, json.loads(response.body)["type"].rpartition(":")[2]


def cosigned(response: Response, size: int) -> None:
    """Checks a 200: cosignatures of every mirror key, and of no other, over the tree."""
    assert response.status == 200, response.body
    lines = parse_cosignatures(response.body)
    assert [(line.name, line.key_id) for line in lines] == [
        (MIRROR, key.vkey.key_id) for key in KEYS
    ]
    note = parse_signed_checkpoint(LOG.checkpoint(size).encode() + response.body).note
    verify_note(note, [verifier_for(key.vkey) for key in KEYS])


@pytest.fixture
async def m(tmp_path: Path) -> AsyncIterator[Running]:
    async with mirror(tmp_path, LOG, KEYS) as running:
        yield running


async def test_all_entries_are_cosigned_and_served(m: Running) -> None:
    assert (await m.pend(0, 700)).body == b""
    assert (await m.read("checkpoint")).status == 404
    answer = await m.send(LOG.upload(0, 700))
    cosigned(answer, 700)
    assert answer.content_type.startswith("text/plain")
    served = parse_signed_checkpoint((await m.read("checkpoint")).body)
    assert served.checkpoint == LOG.checkpoint(700).checkpoint
    # "The checkpoint served from this prefix MUST include a cosignature from the mirror", and
    # "The mirror MUST retain the log's signature".
    keys = [*LOG.verifiers, *(verifier_for(key.vkey) for key in KEYS)]
    assert len(verify_note(served.note, keys).signatures) == 4
    found = b""
    for tile in tiles_of(700):
        response = await m.read(tile.path)
        assert (response.status, len(response.body)) == (200, 32 * tile.width)
        found += response.body
    leaves: list[bytes] = []
    for index in range(3):
        bundle = tile_at(ENTRIES, index, 700)
        leaves += check_bundle(bundle, (await m.read(bundle.path)).body)
    assert leaves == LOG.leaves(700)
    for path in ("tile/entries/002", "tile/0/003", "tile/0/002.p/189", "tile/7/000", "x"):
        assert (await m.read(path)).status in {400, 404}


async def test_what_is_partial_stays_readable_when_it_is_full(m: Running) -> None:
    await m.pend(0, 300)
    cosigned(await m.send(LOG.upload(0, 300)), 300)
    before = {path: (await m.read(path)).body for path in ("tile/0/001.p/44", "tile/1/000.p/1")}
    before["tile/entries/001.p/44"] = (await m.read("tile/entries/001.p/44")).body
    await m.pend(300, 600)
    cosigned(await m.send(LOG.upload(300, 600)), 600)
    for path, body in before.items():
        assert (await m.read(path)).body == body


async def test_the_mirror_signs_no_checkpoint_that_is_pending(m: Running) -> None:
    """The mirror cosigner "MUST NOT sign the checkpoint in this process"."""
    response = await m.pend(0, 5)
    assert (response.status, response.body) == (200, b"")
    assert (await m.read("checkpoint")).status == 404
    assert (await m.call("GET", f"/{origin_hash(LOG.origin)}/checkpoint")).status == 404
    response = await m.pend(0, 7)
    assert (response.status, response.body) == (409, b"5\n")  # "identically to … a witness"


async def test_beside_a_witness_each_signs_its_own(tmp_path: Path) -> None:
    """The witness "MUST be a distinct cosigner"; "the monitoring prefixes MUST be distinct"."""
    w1 = witness_signer()
    async with mirror(tmp_path, LOG, KEYS, witness=[w1]) as m:
        response = await m.pend(0, 5)
        assert [line.key_id for line in parse_cosignatures(response.body)] == [w1.vkey.key_id]
        at_witness = f"/{origin_hash(LOG.origin)}/checkpoint"
        note = parse_signed_checkpoint((await m.call("GET", at_witness)).body).note
        assert {line.name for line in note.signatures} == {LOG.origin, w1.vkey.name}
        assert (await m.read("checkpoint")).status == 404
        cosigned(await m.send(LOG.upload(0, 5)), 5)
        note = parse_signed_checkpoint((await m.read("checkpoint")).body).note
        assert {line.name for line in note.signatures} == {LOG.origin, MIRROR}


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


async def test_nothing_to_send_is_cosigned_again(m: Running) -> None:
    """An upload whose start is its end has no packages, and must not be a 400."""
    await m.pend(0, 300)
    cosigned(await m.send(LOG.upload(0, 300)), 300)
    cosigned(await m.send(LOG.upload(300, 300)), 300)
    cosigned(await m.send(LOG.upload(20, 300)), 300)


async def test_the_empty_log_is_mirrored(m: Running) -> None:
    await m.pend(0, 0)
    cosigned(await m.send(LOG.upload(0, 0)), 0)
    await m.pend(0, 2)
    cosigned(await m.send(LOG.upload(0, 2)), 2)


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


async def test_bundles_are_compressed_for_who_takes_that(m: Running) -> None:
    path = f"/mirror/{origin_hash(LOG.origin)}/tile"
    await m.pend(0, 300)
    cosigned(await m.send(LOG.upload(0, 300)), 300)
    plain = await m.call("GET", f"{path}/entries/000")
    coded = await m.call("GET", f"{path}/entries/000", Accept_Encoding="gzip")
    assert gzip.decompress(coded.body) == plain.body
    assert coded.headers["Content-Encoding"] == "gzip"
    assert coded.headers["ETag"] != plain.headers["ETag"]
    assert plain.headers["Vary"] == coded.headers["Vary"] == "Accept-Encoding"
    for other in ("entries/001.p/44", "0/000"):  # short, and hashes
        answer = await m.call("GET", f"{path}/{other}", Accept_Encoding="gzip")
        assert "Content-Encoding" not in answer.headers


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


async def test_a_clock_behind_signs_nothing(tmp_path: Path) -> None:
    clock = WallClock(NOW)
    async with mirror(tmp_path, LOG, KEYS, clock=clock) as m:
        await m.pend(0, 3)
        await m.pend(3, 4)
        cosigned(await m.send(LOG.upload(0, 3)), 3)
        clock.now = NOW - 1
        answer = await m.send(LOG.upload(3, 4))
        assert problem(answer) == (503, "clock")
        assert (await m.read("checkpoint")).body.startswith(b"log.example/decisions\n3\n")
        clock.now = NOW
        cosigned(await m.send(LOG.upload(4, 4)), 4)


async def test_a_mirror_changes_its_keys(tmp_path: Path) -> None:
    async with mirror(tmp_path, LOG, KEYS) as m:
        await m.pend(0, 300)
        cosigned(await m.send(LOG.upload(0, 300)), 300)
    new = [KEYS[0], mirror_signer("mldsa44")]
    async with mirror(tmp_path, LOG, new) as m:
        assert (await m.read("checkpoint")).status == 200
        lines = parse_cosignatures((await m.send(LOG.upload(300, 300))).body)
        assert [line.key_id for line in lines] == [key.vkey.key_id for key in new]
    with pytest.raises(DatabaseError, match="other keys"):
        async with mirror(tmp_path, LOG, [mirror_signer()]):
            pass


async def test_all_of_it_is_there_after_a_restart(tmp_path: Path) -> None:
    async with mirror(tmp_path, LOG, KEYS) as m:
        await m.pend(0, 700)
        found = info(await m.send(LOG.upload(0, 700, packages=2)), 202)
    async with mirror(tmp_path, LOG, KEYS) as m:
        assert (await m.read("checkpoint")).status == 404
        cosigned(await m.send(LOG.upload(512, 700, found.ticket)), 700)
    async with mirror(tmp_path, LOG, KEYS) as m:
        assert (await m.read("checkpoint")).body.startswith(b"log.example/decisions\n700\n")
        assert (await m.read("tile/entries/002.p/188")).status == 200
        assert info(await m.send(LOG.upload(512, 699)), 409).next_entry == 700
        await m.pend(700, 900)
        cosigned(await m.send(LOG.upload(700, 900)), 900)


@pytest.mark.parametrize("witness", [[], [witness_signer()]])
async def test_the_document_has_every_route(tmp_path: Path, witness: list[Signer]) -> None:
    async with mirror(tmp_path, LOG, KEYS, witness=witness) as m:
        document = json.loads((await m.call("GET", "/openapi.json")).body)
        below = f"/{origin_hash(LOG.origin)}"
        told = {
            (method.upper(), path) for path, calls in document["paths"].items() for method in calls
        }
        for method, path in m.app.routes:
            prefix, _, rest = path.replace(below, "/{origin}").partition("*")
            assert rest == ""
            if path.endswith("*"):
                assert any(one.startswith(prefix) for _, one in told), path
            elif path != "/openapi.json":
                assert (method, prefix) in told
        gone = {path for _, path in told if "{" not in path} - {path for _, path in m.app.routes}
        assert not gone


async def test_what_a_mirror_tells_of_itself(m: Running) -> None:
    told = json.loads((await m.call("GET", "/mirror/mirror.v0.json")).body)
    assert told["name"] == MIRROR
    assert told["verifier_keys"] == [str(key.vkey) for key in KEYS]


async def test_a_subtree_is_signed_by_the_key_that_cosigned_its_reference(tmp_path: Path) -> None:
    """ "Checkpoints signed only with the witness key(s) … MUST NOT be exchanged for subtrees signed
    by the mirror key(s)": "the same identity" signs as has signed the reference."""
    w1 = witness_signer("mldsa44")
    async with mirror(tmp_path, LOG, KEYS, witness=[w1]) as m:
        of_witness = parse_cosignatures((await m.pend(0, 9)).body)
        of_mirror = parse_cosignatures((await m.send(LOG.upload(0, 9))).body)
        for lines, own, other in ((of_witness, w1, KEYS[1]), (of_mirror, KEYS[1], w1)):
            [line] = [one for one in lines if one.key_id == own.vkey.key_id]
            reference = LOG.checkpoint(9, signers=[own], now=NOW)
            reference = type(reference)(
                reference.checkpoint, UnverifiedNote(reference.note.text, (line,))
            )
            asked = LOG.subtree_request(4, 8, reference)
            answer = await m.call("POST", "/sign-subtree", asked.encode())
            assert answer.status == 200
            signature = parse_subtree_signature(answer.body, own.vkey)
            found = MLDSA44Verifier(own.vkey)
            found.verify_subtree(LOG.origin, 4, 8, asked.hash, signature)
            with pytest.raises(VerificationError):
                MLDSA44Verifier(other.vkey).verify_subtree(LOG.origin, 4, 8, asked.hash, signature)


@pytest.mark.parametrize(
    "rot",
    [
        "UPDATE tile SET data = zeroblob(8192) WHERE level = 0 AND idx = 1",
        "UPDATE tile SET data = zeroblob(100) WHERE level = 0 AND idx = 1",
        "DELETE FROM tile WHERE level = 0 AND idx = 1",
    ],
)
async def test_a_copy_that_rots_is_not_cosigned(tmp_path: Path, m: Running, rot: str) -> None:
    await m.pend(0, 300)
    await m.pend(300, 600)
    assert info(await m.send(LOG.upload(0, 600, packages=2)), 202).next_entry == 512
    with closing(sqlite3.connect(tmp_path / "m.db")) as database:
        database.execute(rot)
        database.commit()
    assert problem(await m.send(LOG.upload(300, 300))) == (503, "copy-damaged")
    assert (await m.read("checkpoint")).status == 404
    if "8192" not in rot:
        assert problem(await m.read("tile/0/001.p/44")) == (503, "copy-damaged")


def rotten(table: str, old: str, new: str) -> str:
    return f"UPDATE {table} SET data = CAST(replace(data, '{old}', '{new}') AS BLOB)"


async def test_a_check_hashes_every_entry_anew(tmp_path: Path) -> None:
    keys = [key.vkey for key in KEYS]
    async with mirror(tmp_path, LOG, KEYS) as m:
        assert check_mirror(tmp_path / "m.db", keys).entries == 0
        await m.pend(0, 300)
        cosigned(await m.send(LOG.upload(0, 300)), 300)
        await m.pend(300, 700)
        assert info(await m.send(LOG.upload(300, 700, packages=1)), 202).next_entry == 512
        report = check_mirror(tmp_path / "m.db", keys)  # while it runs
        assert (report.damage, report.copies, report.entries) == ([], 1, 512)
        cosigned(await m.send(LOG.upload(512, 700)), 700)
    assert check_mirror(tmp_path / "m.db", keys).damage == []
    sound = (tmp_path / "m.db").read_bytes()
    for rot, what in (
        (rotten("bundle", "leaf 7 ", "leaf 8 ") + " WHERE idx = 0", "tile/0"),
        ("UPDATE bundle SET data = 'text' WHERE idx = 0", "type"),
        ("DELETE FROM bundle WHERE idx = 1", "bundle 1"),
        (rotten("tail", "leaf 600", "leaf 601"), "root"),
        ("DELETE FROM tile WHERE level = 1", "tile/1"),
        ("UPDATE copy SET root = zeroblob(32)", "root"),
        ("UPDATE head SET note = substr(note, 2)", "signature"),
        ("UPDATE head SET size = 699", "checkpoint"),
    ):
        (tmp_path / "m.db").write_bytes(sound)
        with closing(sqlite3.connect(tmp_path / "m.db")) as database:
            assert database.execute(rot).rowcount
            database.commit()
        [damage] = check_mirror(tmp_path / "m.db", keys).damage
        assert what in damage.what, (rot, damage)
