"""Heads of a log: signed with their batch, by each key, and never against an earlier one."""

from pathlib import Path

import pytest

import log_tools
import signing
from log_tools import GatewayStream
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.heads import Head
from muniment.tlog.note import Signer, parse_note, verify_note
from muniment_log.core.heads import HeadSigner
from muniment_log.errors import StorageError


def signer_of(*keys: Signer, now: int = 50, note: bytes | None = None) -> HeadSigner:
    return HeadSigner(log_tools.ORIGIN, keys, lambda: now, note)


async def test_the_signed_head_commits_with_its_batch(tmp_path: Path) -> None:
    stream = GatewayStream()
    async with log_tools.embedded(tmp_path / "log.db") as log:
        signer = signer_of(signing.log_signer())
        log.listener.sign = signer.sign
        await log.sequencer.submit(stream.take(2))
        head, note = log.listener.heads[-1]
        assert note is not None
        assert head == log.head == signer.last
    async with log_tools.embedded(tmp_path / "log.db") as log:
        assert (await log.store.load()).signed == note


def test_no_head_is_signed_that_contradicts_an_earlier_one() -> None:
    signer = signer_of(signing.log_signer())
    note = signer.sign(Head(7, bytes(32)))
    for again in (signer, signer_of(signing.log_signer(), note=note)):
        with pytest.raises(StorageError, match="contradicts"):
            again.sign(Head(6, bytes(32)))
        with pytest.raises(StorageError, match="contradicts"):
            again.sign(Head(7, b"\1" * 32))
        assert again.sign(Head(7, bytes(32))) == note


async def test_slow_keys_sign_while_the_note_of_the_others_is_stored() -> None:
    keys = [signing.log_signer(), signing.log_mldsa44()]
    verifiers = [verifier_for(signer.vkey) for signer in keys]
    signer = signer_of(*keys)
    head = Head(7, bytes(32))
    stored = signer.begin(head)
    # What is stored has a signature that readers know, and nothing else that they look at.
    found = verify_note(parse_note(stored), verifiers)
    assert [each.vkey for each in found.signatures] == [keys[0].vkey]
    shown = await signer.complete(stored)
    assert shown == signer.completed(stored)
    assert shown.checkpoint.head == head
    found = verify_note(shown.note, verifiers)
    assert [each.vkey for each in found.signatures] == [each.vkey for each in keys]
    assert len(shown.note.signatures) == 2
    # After a crash the same head is signed again, and no time goes back.
    again = signer_of(*keys, now=40, note=stored)
    assert again.last == head
    assert not again.has_signed(stored)
    note = again.sign(head)
    assert again.has_signed(note)
    times = [each.timestamp for each in verify_note(parse_note(note), verifiers).signatures]
    assert times == [None, 50]


@pytest.mark.parametrize("keys", [[signing.log_signer()], [signing.log_mldsa44()]])
async def test_a_log_with_one_key_signs_at_once(keys: list[Signer]) -> None:
    signer = signer_of(*keys)
    stored = signer.begin(Head(7, bytes(32)))
    assert signer.has_signed(stored)
    assert signer.completed(stored) == await signer.complete(stored) == signer.read(stored)
