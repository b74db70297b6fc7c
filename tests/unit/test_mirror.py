"""C2SP tlog-mirror: what a mirror cosigns, serves and holds, also when its copy rots."""

import base64
import gzip
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from clocks import WallClock
from mirror_tools import (
    KEYS,
    LOG,
    MIRROR,
    NOW,
    Running,
    cosigned,
    info,
    mirror,
    mirror_signer,
    problem,
)
from muniment.local.sqlitefile import DatabaseError
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.cosignature import MLDSA44Verifier, verifier_for
from muniment.tlog.encoding import VerificationError
from muniment.tlog.note import Signer, UnverifiedNote, verify_note
from muniment.tlog.tiles import ENTRIES, check_bundle, tile_at, tiles_of
from muniment.tlog.witnesswire import origin_hash, parse_cosignatures
from muniment_witness.store.mirrorcheck import check_mirror
from witness_tools import witness_signer


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
            signature = base64.b64decode(answer.body)
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
