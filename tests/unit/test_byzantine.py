"""The log simulator: its honest view verifies, and each lie is the lie that it says it is."""

import contextlib
import http.client
import itertools

import pytest

import rfc6962
from byzantine import (
    ByzantineLog,
    bad_signature,
    cosigned,
    equivocating,
    monitoring,
    new_signer,
    poisoned,
    unsigned,
)
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.encoding import VerificationError
from muniment.tlog.note import verify_note
from muniment.tlog.proofs import (
    nodes_from_tiles,
    plan_consistency,
    verify_consistency,
    verify_inclusion,
)
from muniment.tlog.tiles import parse_tile_path
from muniment.tlog.witnesswire import origin_hash
from stand import GARBAGE, SLOW, Answer, Asked, Stand, get
from witness_tools import witness_signer


def test_the_honest_view_is_a_log() -> None:
    log = ByzantineLog()
    log.main.append(700)
    with log.serve() as stand:
        status, body = get(stand.url() + "/checkpoint")
        assert status == 200
        signed = parse_signed_checkpoint(body)
        assert verify_note(signed.note, log.main.verifiers).signatures
        assert signed.checkpoint.root == rfc6962.MTH(log.main.entries)
        plan = plan_consistency(300, 700)
        tiles = {tile: get(f"{stand.url()}/{tile.path}")[1] for tile in plan.tiles(700)}
        proof = plan.assemble(nodes_from_tiles(plan.nodes, 700, tiles))
        verify_consistency(300, log.main.root(300), 700, signed.checkpoint.root, proof)
        assert proof == log.main.proof(300, 700)
        assert get(stand.url() + "/tile/0/900")[0] == 404
        assert get(stand.url() + "/tile/entries/000")[1] == log.main.tile(
            parse_tile_path("tile/entries/000")
        )
        assert stand.count("/checkpoint") == 1
    hashes = [rfc6962.MTH([entry]) for entry in log.main.entries]
    verify_inclusion(hashes[9], 9, 700, log.main.inclusion(9, 700), log.main.root())


def test_each_reader_gets_its_view() -> None:
    log = ByzantineLog()
    log.main.append(9)
    other = log.split("other", at=4)
    assert other.root(4) == log.main.root(4)
    assert other.root(5) != log.main.root(5)
    with log.serve("127.0.0.1", "127.0.0.2") as stand:
        log.show("other", at="127.0.0.2")
        log.show("other", client="127.0.0.7")
        log.show("other", path="/b/")

        def root(url: str, source: str = "") -> bytes:
            return parse_signed_checkpoint(get(url, source=source)[1]).checkpoint.root

        assert root(stand.url() + "/checkpoint") == log.main.root()
        assert root(stand.url("127.0.0.2") + "/checkpoint") == other.root()
        assert root(stand.url() + "/checkpoint", "127.0.0.7") == other.root()
        assert root(stand.url(path="/b") + "/checkpoint") == other.root()
        assert get(stand.url(path="/b") + "/tile/0/000.p/9")[1] != log.main.tile(
            parse_tile_path("tile/0/000.p/9")
        )


def test_the_lies() -> None:
    log = ByzantineLog()
    view = log.main.append(9)
    for spoil in (bad_signature, unsigned, poisoned):
        with pytest.raises(VerificationError):
            verify_note(spoil(view.checkpoint()).note, view.verifiers)
    other = log.split("other", at=4)
    view.alter = equivocating(view, other)
    roots = [parse_signed_checkpoint(view.answer("/checkpoint").body).checkpoint.root for _ in "12"]
    assert roots == [view.root(), other.root()]
    view.alter = lambda signed: signed
    view.shown = 5
    assert parse_signed_checkpoint(view.answer("/checkpoint").body).checkpoint.size == 5
    view.freeze().append(3)
    view.shown = None
    assert parse_signed_checkpoint(view.answer("/checkpoint").body).checkpoint.size == 5
    view.withheld = lambda path: path.startswith("tile/0/")
    assert view.answer("/tile/0/000.p/9").status == 404
    view.answers["/tile/*"] = Answer(503)
    assert view.answer("/tile/0/000.p/9").status == 503


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_is_sent_and_the_server_lives(garbage: Answer) -> None:
    answers = itertools.chain([garbage], itertools.repeat(Answer(body=b"fine")))

    def answer(_asked: Asked) -> Answer:
        return next(answers)

    with Stand(answer).serve() as stand:
        with contextlib.suppress(http.client.HTTPException, OSError, OverflowError):
            get(stand.url() + "/x", seconds=2)
        assert get(stand.url() + "/y") == (200, b"fine")


def test_a_stop_ends_slow_answers() -> None:
    with Stand(lambda _asked: SLOW).serve() as stand, pytest.raises(TimeoutError):
        get(stand.url() + "/", seconds=0.2)


def test_a_witness_of_somebody_else() -> None:
    log, witness = ByzantineLog(), witness_signer()
    log.main.append(3)
    made = cosigned(log.main, witness, now=7)
    with Stand(monitoring({log.origin: lambda: made})).serve() as stand:
        assert get(f"{stand.url()}/{origin_hash(log.origin)}/checkpoint") == (200, made)
        assert get(f"{stand.url()}/{origin_hash('other')}/checkpoint")[0] == 404
    assert new_signer("other").vkey.name == "other"
