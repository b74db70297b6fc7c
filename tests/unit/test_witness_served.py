"""What a witness serves of what it knows: tiles, history, its status; and who climbs by that."""

import json

from byzantine import ByzantineLog
from muniment.tlog.encoding import frame
from muniment.tlog.tiles import Tile, tile_at
from muniment.tlog.witnesswire import origin_hash, parse_add_checkpoint
from witness_network import Network


async def test_tiles_and_history_are_served_as_verified(net: Network, log: ByzantineLog) -> None:
    main = log.main
    w1 = await net.started("w1", None, cosign=False)
    for old, new in ((0, 300), (300, 500)):
        assert (await w1.add(old, main, new)).status == 200
    w1.view = main
    await net.rounds(1)
    prefix = f"/{origin_hash(net.origin)}"
    held = await w1.call("GET", f"{prefix}/{tile_at(0, 2, 600).path}")
    assert (held.status, held.body) == (200, main.tile(tile_at(0, 2, 600)))
    assert (await w1.call("GET", f"{prefix}/{Tile(0, 9).path}")).status == 404
    assert (await w1.call("GET", f"{prefix}/tile/x")).status == 404
    step = parse_add_checkpoint((await w1.call("GET", f"{prefix}/history/300")).body)
    assert step == main.add_checkpoint(300, 500)
    assert (await w1.call("GET", f"{prefix}/history/7")).status == 404
    assert (await w1.call("GET", f"{prefix}/history/x")).status == 400


async def test_a_rejoining_peer_climbs_the_history_of_another(
    net: Network, log: ByzantineLog
) -> None:
    """A history of accepted heads with their proofs, where no tiles can be read."""
    main = log.main
    w1, w2 = net.add("w1", None, url=None, cosign=False), net.add("w2", None, url=None)
    await net.start()
    for old, new in ((0, 100), (100, 250), (250, 251), (251, 600)):
        assert (await w1.add(old, main, new)).status == 200
    assert (await w2.add(0, main, 100)).status == 200
    await net.rounds(1)
    frontier = w2.watch.comparer.frontier(net.origin)
    assert frontier.head.size == 600
    assert w2.size == 100  # known, not cosigned
    assert net.alarms == []
    assert not w2.store.observations.suspicions.get(net.origin)
    # And a chain that begins with our head but ends in another root is evidence.
    other = main.fork(150, 600)
    pushed = await w2.call("POST", "/gossip/heads", frame([other.checkpoint().encode()]))
    assert (pushed.status, pushed.body) == (200, b'{"taken":1}')
    await w2.compare_pushed()
    assert w2.evidence == ["same-size"]


async def test_the_status_page(net: Network, log: ByzantineLog) -> None:
    w1 = net.add("w1", log.main)
    net.add("w2", log.main.fork(5, 600))
    await net.start()
    net.cut = {frozenset(("w1", "w2"))}
    await net.rounds(1)
    net.cut = set()
    await net.rounds(2)
    page = (await w1.call("GET", "/")).body.decode()
    status = json.loads((await w1.call("GET", "/", Accept="application/json")).body)
    [log_status] = status["logs"]
    assert log_status["evidence"][0]["hash"] in page
    assert status["peers"][0]["logs"][0]["finding"] == "proven"
    assert "no split" not in page.lower()
    assert "<script" not in page
    name = log_status["evidence"][0]["hash"]
    file = await w1.call("GET", f"/gossip/evidence/{name}")
    assert file.status == 200
    assert (await w1.call("GET", "/gossip/evidence/" + "0" * 64)).status == 404
    metrics = (await w1.call("GET", "/metrics")).body.decode()
    assert 'w_alarms{kind="evidence"} 1.0' in metrics
