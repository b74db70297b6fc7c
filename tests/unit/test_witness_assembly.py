"""How the parts of a witness hang together: pushes that wait, alarms, reloads."""

import asyncio
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from byzantine import View
from muniment.tlog.evidence import same_size
from muniment_service.metrics import Metrics
from muniment_witness.app import build
from muniment_witness.gossip.alarmboard import AlarmBoard
from muniment_witness.gossip.alarms import WitnessAlarm
from muniment_witness.gossip.outbox import MAX_FILES, Outbox
from muniment_witness.gossip.peers import MAX_HEADS
from muniment_witness.store.observations import FiledEvidence
from waiting import SECONDS
from witness_network import Network

MAIN = View().append(40)
OTHER = MAIN.fork(0, 40)


def filed(number: int) -> FiledEvidence:
    return FiledEvidence("log.example", "fork", b"%d" % number, b"", b"", "a peer", 0)


async def test_an_outbox_keeps_what_waits_within_bounds() -> None:
    outbox = Outbox(has_peers=True)
    for number in range(MAX_HEADS + 3):
        outbox.add_head(f"log{number}.example")
        outbox.add_head("log0.example")
    for number in range(MAX_FILES + 2):
        outbox.add_evidence(filed(number))
    await outbox.wait()
    assert outbox.has_evidence
    files, origins = outbox.take()
    assert [each.hash for each in files] == [b"%d" % n for n in range(2, MAX_FILES + 2)]
    assert origins == [f"log{number}.example" for number in range(MAX_HEADS)]
    assert not outbox.has_evidence
    await outbox.wait()  # more heads wait
    assert len(outbox.take()[1]) == 3
    assert outbox.take() == ([], [])


def test_a_witness_without_peers_keeps_nothing_to_push() -> None:
    outbox = Outbox(has_peers=False)
    outbox.add_head("log.example")
    outbox.add_evidence(filed(1))
    assert outbox.take() == ([], [])


async def test_the_alarm_board_counts_and_is_woken() -> None:
    metrics = Metrics("w")
    board = AlarmBoard(metrics)
    board.show([WitnessAlarm("clock", "w", "behind"), WitnessAlarm("future", "p", "ahead")])
    assert [alarm.kind for alarm in board.raised] == ["clock", "future"]
    board.show([])
    assert board.raised == []
    await board.wait(0.0)
    board.ask_for_look()
    async with asyncio.timeout(SECONDS):
        await board.wait(600.0)


async def test_evidence_asks_for_a_look_at_the_alarms(tmp_path: Path) -> None:
    async with Network(tmp_path, MAIN) as net:
        w1 = await net.started("w1", None)
        body = same_size(MAIN.checkpoint(9), OTHER.checkpoint(9)).encode()
        assert (await w1.call("POST", "/gossip/evidence", body)).status == 200
        async with asyncio.timeout(SECONDS):
            await w1.watch.board.wait(600.0)
        assert [alarm.kind for alarm in w1.watch.refresh_alarms()] == ["evidence"]


async def test_new_parts_hold_the_cosigner_only_when_it_is_told(tmp_path: Path) -> None:
    """A reload builds all parts anew, and shares the cosigner: its suspensions are the old ones
    until the new parts have asked what was signed."""
    async with Network(tmp_path, MAIN) as net:
        w1 = await net.started("w1", None)
        body = same_size(MAIN.checkpoint(9), OTHER.checkpoint(9)).encode()
        await w1.call("POST", "/gossip/evidence", body)
        [name] = [each.hash.hex() for each in w1.store.observations.evidence[net.origin].values()]
        config = w1.watch.shared.config
        known = structs.replace(config.options[net.origin], acknowledged=frozenset({name}))
        parts = build(
            replace(config, options={net.origin: known}),
            w1.lasting,
            Metrics("w"),
            w1.watch.cosigner,
        )
        assert parts.watch.cosigner is w1.watch.cosigner
        assert (await w1.add(0, MAIN, 20)).status == 403
        w1.watch.cosigner.obey(parts.watch.shared.suspensions)
        assert (await w1.add(0, MAIN, 20)).status == 200
