"""Witnesses in one process, over a network that is cut, lossy and slow: what they find, and what
they must not."""

import random
from pathlib import Path

import pytest
from msgspec.structs import replace

from byzantine import ByzantineLog, View, new_signer
from muniment.tlog.witnesswire import origin_hash
from muniment_witness.config import LogOptions
from muniment_witness.judge.decide import KnownLog
from muniment_witness.witnessfile import Gossip
from stand import NOT_FOUND, Answer
from witness_network import PERIOD, Network


def copies(folder: Path, restore: dict[Path, bytes] | None = None) -> dict[Path, bytes]:
    """The files of w1's database; puts older ones in their place."""
    if restore is not None:
        for path in folder.glob("w1.db*"):
            path.unlink()
        for path, data in restore.items():
            path.write_bytes(data)
    return {path: path.read_bytes() for path in folder.glob("w1.db*")}


@pytest.mark.parametrize("sizes", [(600, 600), (600, 700), (700, 600), (300, 900), (5, 6)])
@pytest.mark.parametrize("at", [0, 3, 255])
async def test_two_views_are_found_by_all_within_three_periods(
    tmp_path: Path, log: ByzantineLog, sizes: tuple[int, int], at: int
) -> None:
    """With connectivity between two witnesses that saw different views, evidence exists
    on every honest witness within three gossip periods."""
    main = log.main.fork(0, 0).append(sizes[0])
    other = main.fork(min(at, *[size - 1 for size in sizes]), sizes[1])
    async with Network(tmp_path, main) as net:
        # w1 and w2 are joined by w3 alone, which has no log of its own to read.
        w1, w2, w3 = net.add("w1", main), net.add("w2", other), net.add("w3", None)
        net.cut.add(frozenset(("w1", "w2")))
        await net.start()
        await net.rounds(3)
        for node in (w1, w2, w3):
            kind = "same-size" if sizes[0] == sizes[1] else "fork"
            assert node.evidence == [kind]
            assert node.watch.alarms[0].kind == "evidence"
        for node, view in ((w1, main), (w2, other)):
            view.append(1)
            refused = await node.add(node.size, view)
            assert refused.status == 403
            assert b"misbehaviour-proven" in refused.body


async def test_a_fork_handed_in_by_the_log_alone(net: Network, log: ByzantineLog) -> None:
    """Heads that came by add-checkpoint, from a log that no witness can read by itself."""
    main = log.main
    other = main.fork(100, 600)
    w1, w2 = net.add("w1", None, url=None, cosign=False), net.add("w2", None, url=None)
    await net.start()
    for size in (200, 300, 600):
        assert (await w1.add(w1.size, main, size)).status == 200
    for size in (150, 300):
        assert (await w2.add(w2.size, other, size)).status == 200
    await net.rounds(2)
    # Nobody can read tiles; but w1 remembers what it accepted at 300.
    assert w1.evidence == w2.evidence == ["same-size"]


async def test_watched_heads_count_though_they_are_not_cosigned(
    net: Network, log: ByzantineLog
) -> None:
    other = log.main.fork(10, 650)
    w1 = net.add("w1", log.main, cosign=False)
    w2 = net.add("w2", other, cosign=False)
    await net.start()
    await net.rounds(2)
    assert w1.size == w2.size == 0
    assert w1.evidence == w2.evidence == ["fork"]


async def test_a_refused_request_leaves_evidence_before_the_answer(
    net: Network, log: ByzantineLog
) -> None:
    """tlog-witness: the witness MAY log the request, "as it might be proof of log misbehavior"."""
    main, other = log.main, log.main.fork(10, 600)
    w1 = await net.started("w1", main)
    assert (await w1.add(0, main)).status == 200
    refused = await w1.add(600, other)
    assert refused.status == 422
    assert w1.evidence == ["same-size"]
    await w1.restart()
    assert w1.evidence == ["same-size"]
    assert (await w1.add(600, main)).status == 403


async def test_a_failed_proof_is_suspicion_until_tiles_tell(
    net: Network, log: ByzantineLog
) -> None:
    main, other = log.main, log.main.fork(10, 700)
    w1 = await net.started("w1", None)
    assert (await w1.add(0, main)).status == 200
    assert (await w1.add(600, other)).status == 422
    assert w1.evidence == []
    [suspicion] = w1.store.observations.suspicions[net.origin].values()
    assert suspicion.request == other.add_checkpoint(600).encode()
    await net.rounds(1)
    assert w1.evidence == []
    assert not w1.watch.alarms
    net.now += 1000
    assert w1.watch.refresh_alarms()[0].kind == "unresolved"
    # A restart does not forget it; then somebody gives the tiles.
    await w1.restart()
    assert w1.watch.refresh_alarms()[0].kind == "unresolved"
    w1.view = other
    await net.rounds(1)
    assert w1.evidence == ["fork"]
    assert not w1.store.observations.suspicions[net.origin]


async def test_a_head_with_another_old_size_is_compared_too(
    net: Network, log: ByzantineLog
) -> None:
    main, other = log.main, log.main.fork(10, 700)
    w1, w2 = net.add("w1", main), net.add("w2", other, cosign=False)
    net.cut.add(frozenset(("w1", "w2")))
    await net.start()
    assert (await w1.add(0, main)).status == 200
    assert (await w2.add(0, other)).status == 200
    assert (await w1.add(0, other, 300)).status == 409
    await w1.compare_pushed()
    assert w1.evidence == ["fork"]
    assert (await w2.add(0, main, 700 - 200)).status == 409
    await w2.compare_pushed()
    assert w2.evidence == ["fork"]


async def test_without_anybody_to_ask_a_spoiled_proof_raises_no_alarm(
    net: Network, log: ByzantineLog
) -> None:
    w1 = await net.started("w1", None, url=None, cosign=False)
    assert (await w1.add(0, log.main, 100)).status == 200
    request = log.main.add_checkpoint(100, 200)
    bad = replace(request, proof=request.proof[::-1])
    assert (await w1.call("POST", "/add-checkpoint", bad.encode())).status == 422
    net.now += 10_000
    assert w1.watch.refresh_alarms() == []
    assert w1.store.observations.suspicions[net.origin]


async def test_a_log_that_changed_its_key_is_still_held_to_its_old_heads(
    net: Network, log: ByzantineLog
) -> None:
    main = log.main
    w1 = await net.started("w1", main)
    assert (await w1.add(0, main)).status == 200
    await w1.stop()
    rotated = main.fork(600, 600)
    rotated.signers = (new_signer(main.origin),)
    net.verifiers = rotated.verifiers
    w1.view = rotated
    await w1.start()
    await net.rounds(1)
    assert net.alarms == []
    liar = rotated.fork(10, 600)
    assert (await w1.add(600, liar)).status == 422
    w1.view = liar
    await net.rounds(1)
    assert w1.evidence == []  # the old key is not known any more: it would convince nobody
    assert w1.watch.puller.state[net.origin].finding == "unresolved"
    w1.view = rotated.append(50)
    await net.rounds(1)
    assert w1.size == 650


async def test_a_wrong_proof_by_anybody_does_not_blame_an_honest_log(
    net: Network, log: ByzantineLog
) -> None:
    main = log.main
    w1 = await net.started("w1", None, cosign=False)
    assert (await w1.add(0, main, 300)).status == 200
    w1.view = main
    good = main.add_checkpoint(300, 500).encode()
    lines = good.split(b"\n")
    bad = b"\n".join([lines[0], lines[2], lines[1], *lines[3:]])
    assert (await w1.call("POST", "/add-checkpoint", bad)).status == 422
    assert w1.store.observations.suspicions[net.origin]
    await net.rounds(1)
    assert not w1.store.observations.suspicions[net.origin]
    assert w1.evidence == []
    assert not net.alarms
    assert (await w1.add(300, main, 500)).status == 200


async def test_acknowledged_evidence_lets_the_log_go_on(net: Network, log: ByzantineLog) -> None:
    main, other = log.main, log.main.fork(10, 650)
    w1, w2 = net.add("w1", main), net.add("w2", other)
    await net.start()
    await net.rounds(2)
    [name] = [f.hash.hex() for f in w1.store.observations.evidence[net.origin].values()]
    await w1.stop()
    w1.options["acknowledged"] = [name]
    await w1.start()
    await net.rounds(1)
    main.append(200)
    await net.rounds(3)
    # The old head of the other side, shown again and again, makes no new evidence.
    assert w1.size == 800
    assert w1.evidence == ["fork"]
    assert w2.size == 650
    # A new head of the other side does.
    w2.options["acknowledged"] = [name]
    await w2.restart()
    other.append(5)
    await net.rounds(2)
    assert len(w1.evidence) > 1
    assert (await w1.add(800, main)).status == 403


async def test_a_restored_database_is_found_out_before_it_signs(
    tmp_path: Path, log: ByzantineLog
) -> None:
    main = log.main.fork(0, 0).append(100)
    async with Network(tmp_path, main) as net:
        w1, w2 = net.add("w1", main), net.add("w2", main)
        await net.start()
        await net.rounds(2)
        await w1.stop()
        old = copies(tmp_path)
        await w1.start()
        main.append(50)
        await net.rounds(2)
        assert w1.size == 150
        await w1.stop()
        copies(tmp_path, old)
        w1.view = None
        await w1.start()
        assert w1.size == 100
        assert "restored" in [alarm.kind for alarm in w1.watch.alarms]
        refused = await w1.add(100, main.fork(20, 120))
        assert refused.status == 503
        assert b"behind-own-cosignature" in refused.body
        # With tiles again it catches up by itself, with the cosignature that it had made.
        w1.view = main
        await net.rounds(1)
        assert w1.size == 150
        assert not w1.watch.shared.suspensions.lost
        assert (await w1.add(150, main)).status == 200
        assert "restored" not in [alarm.kind for alarm in w1.watch.alarms]
        assert w2.evidence == []


async def test_freeze_rollback_and_lag_are_alarms_not_evidence(
    tmp_path: Path, log: ByzantineLog
) -> None:
    main = log.main
    limits = Gossip(lag_seconds=300, deadline_seconds=600)
    async with Network(tmp_path, main, limits) as net:
        w1 = net.add("w1", main.fork(600, 600).freeze())
        w2 = net.add("w2", main)
        await net.start()
        await net.rounds(2)
        main.append(10)
        await net.rounds(20)
        assert {alarm[:2] for alarm in net.alarms} == {("w1", "peer-ahead"), ("w1", "log-behind")}
        main.shown = 400
        net.alarms.clear()
        await net.rounds(20)
        assert ("w2", "log-behind") in {alarm[:2] for alarm in net.alarms}
        assert w1.evidence == w2.evidence == []


async def test_clocks(net: Network, log: ByzantineLog) -> None:
    w1, w2 = net.add("w1", log.main), net.add("w2", log.main, skew=4000)
    await net.start()
    await net.rounds(2)
    assert [alarm.kind for alarm in w1.watch.alarms] == ["future"]
    assert not w2.watch.alarms
    w2.options["skew"] = -100
    log.main.append(1)
    assert (await w2.add(600, log.main)).status == 503
    await net.rounds(1)
    assert "clock" in [alarm.kind for alarm in w2.watch.alarms]


async def test_an_honest_network_raises_no_alarm_in_a_thousand_rounds(tmp_path: Path) -> None:
    """Partitions, restarts, lost requests and lag are no misbehaviour."""
    chance = random.Random(4)
    main = View().append(1)
    limits = Gossip(deadline_seconds=100 * PERIOD, lag_seconds=100 * PERIOD)
    async with Network(tmp_path, main, limits) as net:
        for name in ("w1", "w2", "w3"):
            net.add(name, main, cosign=name != "w3")
        await net.start()
        net.lose = lambda: chance.random() < 0.05
        hosts = [*net.nodes, "log"]
        for _ in range(1000):
            if chance.random() < 0.3:
                main.append(chance.choice([1, 1, 2, 40]))
                main.shown = chance.choice([None, None, max(1, main.size - 30)])
            if chance.random() < 0.1:
                net.cut = {frozenset(chance.sample(hosts, 2)) for _ in range(chance.randint(0, 4))}
            node = net.nodes[chance.choice(["w1", "w2", "w3"])]
            if chance.random() < 0.02:
                await node.restart()
            if chance.random() < 0.3 and node.size <= main.size:
                await node.add(node.size, main, chance.randint(node.size, main.size))
            await net.rounds(1, only=[n for n in net.nodes if chance.random() < 0.9])
        assert net.alarms == []
        assert all(node.evidence == [] for node in net.nodes.values())
        net.cut.clear()
        net.lose = lambda: False
        main.shown = None
        await net.rounds(3)
        assert [node.size for node in net.nodes.values()][:2] == [main.size] * 2
        assert not any(
            known
            for node in net.nodes.values()
            for known in node.store.observations.suspicions.values()
        )


@pytest.mark.parametrize("status", [301, 403, 404, 405, 501])
async def test_a_peer_that_can_never_be_compared_is_an_alarm(
    net: Network, log: ByzantineLog, status: int
) -> None:
    """As litewitness and omniwitness are, which have no monitoring endpoint."""
    w1, _ = net.add("w1", log.main), net.add("w2", log.main)
    await net.start()
    net.impostors["w2"] = lambda _: Answer(status)
    subject = f"w2.example {log.origin}"
    await net.rounds(30)
    assert w1.watch.refresh_alarms() == []
    await net.rounds(1)
    assert [alarm[:2] for alarm in w1.watch.refresh_alarms()] == [("not-compared", subject)]
    del net.impostors["w2"]
    await net.rounds(1)
    assert w1.watch.refresh_alarms() == []


async def test_a_peer_need_not_cosign_every_log_but_show_what_it_cosigns(
    net: Network, log: ByzantineLog
) -> None:
    """It shows another log; the log's checkpoint tells that it has cosigned this one, too."""
    other = ByzantineLog("log.example/other")
    other.main.append(3)
    known = [(KnownLog(other.origin, other.main.verifiers), LogOptions())]
    w1, w2 = net.add("w1", log.main), net.add("w2", log.main)
    w1.more = w2.more = known
    await net.start()
    for node in (w1, w2):
        await node.add(0, other.main)
    shown = f"/{origin_hash(other.origin)}/checkpoint"
    head = w2.store.latest[other.origin].note
    net.impostors["w2"] = lambda path: Answer(200, head) if path == shown else NOT_FOUND
    await net.rounds(40)
    assert w1.watch.refresh_alarms() == []
    log.main.cosigners = (w2.signer,)
    log.main.append(1)
    await net.rounds(1)
    (alarm,) = w1.watch.refresh_alarms()
    assert alarm[:2] == ("not-compared", f"w2.example {log.origin}")
    assert "cosigns the log" in alarm.detail
