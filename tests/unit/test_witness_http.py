"""The witness over HTTP, in process: bodies, statuses and content types of tlog-witness."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from clocks import WallClock
from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.cosignature import MLDSA44Verifier, verifier_for
from muniment.tlog.note import MAX_NOTE_SIZE, Signer, UnverifiedNote, verify_note
from muniment.tlog.witnesswire import (
    SIZE_CONTENT_TYPE,
    origin_hash,
    parse_cosignatures,
    parse_size,
)
from muniment_service.config import Address
from muniment_service.http import Request, Response
from muniment_service.metrics import Metrics
from muniment_service.routing import App
from muniment_witness.app import Lasting, build
from muniment_witness.config import LogOptions, WitnessConfig
from muniment_witness.gossip.net import transport
from muniment_witness.gossip.peers import MAX_HEAD_SIZE
from muniment_witness.gossip.recompute import Maps
from muniment_witness.judge.decide import MAX_TEXT, KnownLog
from muniment_witness.witnessfile import WitnessFile
from rawhttp import Body
from waiting import at_work
from witness_tools import WITNESS, GrowingLog, log_signer, opened_store, witness_signer

NOW = 1_700_000_000
LOG = GrowingLog(signers=[log_signer(), log_signer(algorithm="mldsa44")])
ED25519, MLDSA44 = witness_signer("ed25519"), witness_signer("mldsa44")
MONITORING = f"/{origin_hash(LOG.origin)}/checkpoint"


@asynccontextmanager
async def witness(
    folder: Path, signers: Sequence[Signer] = (ED25519, MLDSA44), clock: WallClock | None = None
) -> AsyncIterator[App]:
    clock = clock or WallClock(NOW)
    store = await opened_store(folder / "w.db", [signer.vkey for signer in signers])
    file = WitnessFile(
        name=WITNESS,
        listen=Address("127.0.0.1:0"),
        database=folder / "w.db",
        keys=(folder / "w.key",),
    )
    config = WitnessConfig(
        folder / "witness.toml",
        file,
        tuple(signers),
        {LOG.origin: KnownLog(LOG.origin, LOG.verifiers)},
        {LOG.origin: LogOptions()},
        (),
    )
    async with transport(1.0) as network:
        maps = Maps(file.database)
        lasting = Lasting(store=store, transport=network, clock=clock, maps=maps)
        parts = build(config, lasting, Metrics("w"))
        try:
            async with at_work(parts.watch.cosigner.run()):
                yield parts.routes
        finally:
            await store.close()


async def call(app: App, method: str, path: str, body: bytes = b"", **headers: str) -> Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return await app.respond(Request(method, path, fields, Body(body)))


async def add(app: App, old: int, new: int, log: GrowingLog = LOG, **changes: Any) -> Response:
    return await call(app, "POST", "/add-checkpoint", log.request(old, new, **changes).encode())


def problem(response: Response) -> tuple[int, str]:
    assert response.content_type == "application/problem+json"
    return response.status, json.loads(response.body)["type"].rpartition(":")[2]


@pytest.mark.parametrize("signers", [(ED25519,), (MLDSA44,), (ED25519, MLDSA44)])
async def test_success_returns_cosignatures_over_the_whole_tree(
    tmp_path: Path, signers: tuple[Signer, ...]
) -> None:
    """tlog-witness: signature lines "from the witness key(s)", timestamp "MUST NOT be zero"."""
    async with witness(tmp_path, signers) as app:
        response = await add(app, 0, 5)
    assert response.status == 200
    lines = parse_cosignatures(response.body)
    assert response.body.startswith("— ".encode())
    text = LOG.checkpoint(5).note.text
    assert len(lines) == len(signers)
    for line, signer in zip(lines, signers, strict=True):
        assert (line.name, line.key_id) == (WITNESS, signer.vkey.key_id)
        assert verifier_for(signer.vkey).verify(text, line.signature) == NOW
    # "the client MAY concatenate it to the checkpoint, and use a note verification function"
    note = parse_signed_checkpoint(LOG.checkpoint(5).encode() + response.body).note
    assert len(
        verify_note(note, [verifier_for(signer.vkey) for signer in signers]).signatures
    ) == len(lines)


async def test_conflict_has_the_size_and_its_content_type(tmp_path: Path) -> None:
    """tlog-witness: the 409 body "MUST consist of the tree size", type text/x.tlog.size."""
    async with witness(tmp_path) as app:
        assert (await add(app, 0, 5)).status == 200
        response = await add(app, 0, 9)
        assert (response.status, response.content_type) == (409, SIZE_CONTENT_TYPE)
        assert response.content_type == "text/x.tlog.size"
        assert response.body == b"5\n"
        assert parse_size(response.body) == 5
        assert (await add(app, 5, 9)).status == 200


async def test_a_text_that_is_larger_than_any_log_s_is_not_cosigned(tmp_path: Path) -> None:
    """With this witness's cosignatures it were no note that a start takes, and gossip reads."""
    room = MAX_NOTE_SIZE - len(LOG.checkpoint(5).encode())
    async with witness(tmp_path) as app:
        for length in (room - 2, MAX_TEXT):
            large = LOG.checkpoint(5, extensions=["x" * length])
            assert problem(await add(app, 0, 5, checkpoint=large)) == (413, "text-too-large")
        fits = MAX_TEXT - len(LOG.checkpoint(5).note.text) - 1
        most = LOG.checkpoint(5, extensions=["x" * fits])
        assert len(most.note.text) == MAX_TEXT
        assert (await add(app, 0, 5, checkpoint=most)).status == 200
        # What contradicts is that, whatever its length, and is evidence.
        fork = LOG.fork(1).checkpoint(5, extensions=["x" * MAX_TEXT])
        assert problem(await add(app, 5, 5, checkpoint=fork)) == (422, "bad-root")
        assert problem(await add(app, 5, 9)) == (403, "misbehaviour-proven")
        note = (await call(app, "GET", MONITORING)).body
    assert len(note) <= MAX_HEAD_SIZE
    await (await opened_store(tmp_path / "w.db", [ED25519.vkey, MLDSA44.vkey])).close()


async def test_refusals_are_problems(tmp_path: Path) -> None:
    async with witness(tmp_path) as app:
        await add(app, 0, 5)
        assert problem(await add(app, 0, 3, GrowingLog("unknown.example"))) == (
            404,
            "unknown-origin",
        )
        assert problem(await add(app, 0, 3, GrowingLog())) == (403, "bad-signature")
        assert problem(await add(app, 5, 3)) == (400, "old-size-too-large")
        assert problem(await add(app, 5, 9, proof=())) == (422, "bad-proof")
        good = LOG.request(5, 9).encode()
        for body in (b"", good[:-1], b"old 05" + good[5:], good.replace(b"\n", b"\r\n"), b"\0"):
            assert problem(await call(app, "POST", "/add-checkpoint", body)) == (400, "malformed")
        lines = b"A" * 43 + b"=\n"
        body = b"old 5\n" + lines * 64 + b"\n" + LOG.checkpoint(9).encode()
        assert (await call(app, "POST", "/add-checkpoint", body)).status == 400
        assert (await call(app, "GET", "/add-checkpoint")).status == 405
        assert (await add(app, 5, 9)).status == 200
        # The last: it proves that the log's key signed two histories.
        assert problem(await add(app, 9, 9, LOG.fork(2))) == (422, "bad-root")
        assert problem(await add(app, 9, 12)) == (403, "misbehaviour-proven")


async def test_monitoring_returns_the_very_cosignatures(tmp_path: Path) -> None:
    """tlog-witness: the checkpoint "MUST include the cosignature(s)" that were returned."""
    async with witness(tmp_path) as app:
        # "If the witness has never cosigned a checkpoint for that log", 404.
        assert problem(await call(app, "GET", MONITORING)) == (404, "never-cosigned")
        returned = await add(app, 0, 5)
        seen = await call(app, "GET", MONITORING)
        note = parse_signed_checkpoint(seen.body).note
        assert seen.status == 200
        assert set(parse_cosignatures(returned.body)) <= set(note.signatures)
        own = [verifier_for(signer.vkey) for signer in (ED25519, MLDSA44)]
        assert len(verify_note(note, [*LOG.verifiers, *own]).signatures) == 4
        assert "max-age" in seen.headers["Cache-Control"]
        tag = seen.headers["ETag"]
        assert (await call(app, "GET", MONITORING, If_None_Match=tag)).status == 304
        again = await add(app, 5, 5)
        newer = await call(app, "GET", MONITORING, If_None_Match=tag)
        assert newer.status == 200
        assert set(parse_cosignatures(again.body)) <= set(
            parse_signed_checkpoint(newer.body).note.signatures
        )
        assert (await call(app, "GET", "/" + "0" * 64 + "/checkpoint")).status == 404
        assert (await call(app, "GET", MONITORING.upper())).status == 404


async def test_web_pages_may_read_what_a_witness_serves(tmp_path: Path) -> None:
    """Fetch, "CORS protocol": a browser that verifies a log asks the log's witnesses itself."""
    async with witness(tmp_path) as app:
        await add(app, 0, 5)
        for path, status in ((MONITORING, 200), ("/status.json", 200), ("/nothing", 404)):
            for method in ("GET", "HEAD"):
                answer = await call(app, method, path)
                assert answer.status == status
                assert answer.headers["Access-Control-Allow-Origin"] == "*"
        asked = await call(app, "OPTIONS", MONITORING)
        assert (asked.status, asked.body) == (204, b"")
        assert asked.headers["Access-Control-Allow-Origin"] == "*"
        assert asked.headers["Access-Control-Allow-Methods"] == "GET, HEAD"
        assert asked.headers["Allow"] == "GET, HEAD, OPTIONS"
        # A page may not have a witness sign.
        assert "Access-Control-Allow-Origin" not in (await add(app, 5, 6)).headers


async def test_extension_lines_and_foreign_signatures(tmp_path: Path) -> None:
    """Extensions are served as signed; signature lines that the witness did not verify are not."""
    stranger = witness_signer("ed25519", "stranger.example")
    checkpoint = LOG.checkpoint(5, extensions=["note to self"])
    checkpoint = checkpoint.with_signatures([stranger.sign(checkpoint.note.text, NOW)])
    async with witness(tmp_path) as app:
        assert (await add(app, 0, 5, checkpoint=checkpoint)).status == 200
        seen = parse_signed_checkpoint((await call(app, "GET", MONITORING)).body)
    assert seen.checkpoint.extensions == ("note to self",)
    assert {line.name for line in seen.note.signatures} == {LOG.origin, WITNESS}


async def test_sign_subtree(tmp_path: Path) -> None:
    """tlog-witness v1.1.0, sign-subtree: the signature alone, in base64."""
    async with witness(tmp_path) as app:
        lines = parse_cosignatures((await add(app, 0, 14)).body)
        [line] = [one for one in lines if one.key_id == MLDSA44.vkey.key_id]
        whole = LOG.checkpoint(14).with_signatures(lines)
        reference = SignedCheckpoint(whole.checkpoint, UnverifiedNote(whole.note.text, (line,)))
        request = LOG.subtree_request(8, 13, reference)
        response = await call(app, "POST", "/sign-subtree", request.encode())
        assert response.status == 200
        signature = base64.b64decode(response.body)
        assert response.body == base64.b64encode(signature) + b"\n"
        MLDSA44Verifier(MLDSA44.vkey).verify_subtree(LOG.origin, 8, 13, request.hash, signature)

        async def ask(bad: Any) -> tuple[int, str]:
            return problem(await call(app, "POST", "/sign-subtree", bad.encode()))

        assert await ask(replace(request, end=15)) == (400, "bad-range")
        assert await ask(LOG.subtree_request(8, 13, whole)) == (403, "bad-signature")
        assert await ask(replace(request, proof=())) == (422, "bad-proof")
        other = GrowingLog("unknown.example")
        assert await ask(other.subtree_request(8, 13, other.checkpoint(14))) == (
            404,
            "unknown-origin",
        )
        malformed = await call(app, "POST", "/sign-subtree", b"subtree 8 13\n")
        assert problem(malformed) == (400, "malformed")


async def test_a_witness_without_mldsa44_does_not_offer_sign_subtree(tmp_path: Path) -> None:
    """tlog-witness, sign-subtree: "It is OPTIONAL for a witness to support this API."."""
    async with witness(tmp_path, (ED25519,)) as app:
        response = await call(app, "POST", "/sign-subtree", b"anything")
        assert problem(response) == (501, "not-supported")


async def test_the_clock_shows(tmp_path: Path) -> None:
    clock = WallClock(NOW)
    async with witness(tmp_path, clock=clock) as app:
        await add(app, 0, 5)
        assert (await call(app, "GET", "/readyz")).status == 200
        clock.now = NOW - 1
        assert problem(await call(app, "GET", "/readyz")) == (503, "clock")
        refused = await add(app, 5, 9)
        assert problem(refused) == (503, "clock")
        assert "Retry-After" in refused.headers
        assert (await call(app, "GET", "/healthz")).status == 200


async def test_front_and_metrics(tmp_path: Path) -> None:
    async with witness(tmp_path) as app:
        await add(app, 0, 5)
        await add(app, 0, 5)
        assert f"<h1>{WITNESS}</h1>".encode() in (await call(app, "GET", "/")).body
        text = (await call(app, "GET", "/metrics")).body.decode()
    assert 'w_checkpoints_total{outcome="cosigned"} 1.0' in text
    assert 'w_checkpoints_total{outcome="conflict"} 1.0' in text
    assert f'w_head_size{{origin="{LOG.origin}"}} 5.0' in text
    assert 'route="/{origin hash}/checkpoint"' not in text


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=300), cut=st.integers(0, 900), path=st.sampled_from("as"))
def test_any_bytes_are_refused_or_cosigned(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cut: int, path: str
) -> None:
    """Random bytes, and valid requests with random bytes inside: never a 500."""
    good = LOG.request(0, 5).encode()
    subtree = LOG.subtree_request(4, 5, LOG.checkpoint(5)).encode()
    target, valid = ("/add-checkpoint", good) if path == "a" else ("/sign-subtree", subtree)

    async def ask() -> None:
        async with witness(tmp_path_factory.mktemp("w"), (MLDSA44,)) as app:
            for body in (data, valid[:cut] + data + valid[cut:], valid[:cut] + data):
                response = await call(app, "POST", target, body)
                assert response.status in {200, 400, 403, 404, 409, 422}

    asyncio.run(ask())
