"""What a stranger or a malicious peer can send: bounded, verified, and never the log's fault."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from byzantine import View, bad_signature, new_signer, poisoned, unsigned
from muniment.tlog.encoding import frame
from muniment.tlog.evidence import empty_root, fork, same_size
from muniment.tlog.merkle import EMPTY_ROOT
from muniment_witness.gossip import receive as relay
from muniment_witness.gossip.peers import MAX_HEAD_SIZE, MAX_HEADS
from muniment_witness.gossip.senders import SenderBudget
from muniment_witness.store import observations
from stand import Answer
from witness_network import Network, Node

MAIN = View().append(50)
OTHER = MAIN.fork(7, 50)


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Network]:
    async with Network(tmp_path, MAIN) as net:
        yield net


async def push(node: Node, *notes: bytes) -> int:
    return (await node.call("POST", "/gossip/heads", frame(notes))).status


async def test_pushed_evidence_is_verified_kept_once_and_relayed(net: Network) -> None:
    w1, w2 = net.add("w1", None), net.add("w2", None)
    await net.start()
    good = same_size(MAIN.checkpoint(), OTHER.checkpoint())
    stranger = View(MAIN.origin, [new_signer(MAIN.origin)]).append(50)
    forged = same_size(stranger.checkpoint(), OTHER.checkpoint())
    unproven = fork(MAIN.checkpoint(20), OTHER.checkpoint(), OTHER.root(20), ())
    foreign = View("other.example").append(3)
    other = same_size(foreign.checkpoint(), foreign.fork(0, 3).checkpoint())
    for body, status in (
        (forged.encode(), 422),
        (unproven.encode(), 422),
        (other.encode(), 404),
        (good.encode()[:-5], 400),
        (b"", 400),
        (good.encode(), 200),
        (good.encode(), 200),
    ):
        assert (await w1.call("POST", "/gossip/evidence", body)).status == status
    assert w1.evidence == ["same-size"]
    await w1.watch.pusher.push()
    assert w2.evidence == ["same-size"]


async def test_pushed_heads_are_compared_but_never_adopted_unproven(net: Network) -> None:
    w1 = await net.started("w1", None)
    assert (await w1.add(0, MAIN, 20)).status == 200
    head = MAIN.checkpoint(40)
    for bad in (bad_signature(head), poisoned(head), unsigned(head)):
        assert await push(w1, bad.encode()) == 403
    assert await push(w1, b"nonsense") == 400
    assert await push(w1, b"x" * (MAX_HEAD_SIZE + 1)) == 400
    assert await push(w1, *[b""] * (MAX_HEADS + 1)) == 400
    assert await push(w1, View("other.example").append(1).checkpoint().encode()) == 200
    assert await push(w1, head.encode(), MAIN.checkpoint(20).encode()) == 200
    await w1.compare_pushed()
    # No tiles: neither the frontier nor the cosigned head moves, and nobody is blamed.
    assert w1.size == 20
    assert w1.watch.comparer.frontier(net.origin).head.size == 20  # type: ignore[union-attr]
    assert len(w1.store.observations.suspicions[net.origin]) == 1
    assert w1.evidence == []
    w1.view = MAIN
    await net.rounds(1)
    assert not w1.store.observations.suspicions[net.origin]


async def test_floods_are_bounded(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    w1 = await net.started("w1", None)
    assert (await w1.add(0, MAIN, 5)).status == 200
    for size in range(6, 50):
        assert await push(w1, MAIN.checkpoint(size).encode()) == 200
    assert w1.watch.receiver.waiting <= relay.HEADS_BURST + 5
    await w1.compare_pushed()
    assert len(w1.store.observations.suspicions[net.origin]) <= observations.MAX_SUSPICIONS
    statuses = []
    for size in range(10, 50):
        file = same_size(MAIN.checkpoint(size), OTHER.checkpoint(size))
        statuses.append((await w1.call("POST", "/gossip/evidence", file.encode())).status)
    assert 503 in statuses
    assert len(w1.evidence) <= observations.MAX_EVIDENCE
    # Also when it came slowly.
    monkeypatch.setattr(SenderBudget, "take", lambda *_: True)
    for size in range(10, 50):
        file = same_size(MAIN.checkpoint(size), OTHER.checkpoint(size))
        assert (await w1.call("POST", "/gossip/evidence", file.encode())).status == 200
    assert len(w1.evidence) == observations.MAX_EVIDENCE


async def test_an_empty_tree_with_a_root_is_evidence(net: Network) -> None:
    w1 = await net.started("w1", None)
    bad = MAIN.checkpoint(0, root=MAIN.root(5))
    assert empty_root(bad).checkpoint.checkpoint.root != EMPTY_ROOT
    request = MAIN.add_checkpoint(0, 1).encode().split(b"\n\n")[0] + b"\n\n" + bad.encode()
    assert (await w1.call("POST", "/add-checkpoint", request)).status == 422
    assert w1.evidence == ["empty-root"]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=500),
        Answer(status=302, headers={"Location": "http://127.0.0.1:1/"}),
        Answer(body=b"garbage"),
        Answer(body=b""),
        Answer(body=b"\xff" * 1000),
    ],
)
async def test_garbage_at_every_endpoint_of_a_log_or_peer(net: Network, answer: Answer) -> None:
    broken = MAIN.fork(50, 50)
    broken.answers["*"] = answer
    w1, w2 = net.add("w1", broken), net.add("w2", MAIN)
    await net.start()
    await net.rounds(2)
    assert (await w1.add(w1.size, MAIN)).status == 200
    assert w1.evidence == w2.evidence == []
    broken.answers.clear()
    broken.answers["/tile/*"] = answer
    MAIN.append(1)
    broken.append(1)
    await net.rounds(2)
    assert w1.evidence == w2.evidence == []


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=200), cut=st.integers(0, 900), where=st.integers(0, 3))
def test_any_bytes_are_answered(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cut: int, where: int
) -> None:
    """Random bytes, and valid bodies with random bytes inside: one declared answer, never a 500."""
    heads = frame([MAIN.checkpoint(9).encode()])
    evidence = same_size(MAIN.checkpoint(9), OTHER.checkpoint(9)).encode()
    path = "/gossip/heads" if where % 2 else "/gossip/evidence"
    valid = heads if where % 2 else evidence

    async def ask() -> None:
        async with Network(tmp_path_factory.mktemp("w"), MAIN) as net:
            w1 = await net.started("w1", None)
            for body in (data, valid[:cut] + data + valid[cut:], valid[:cut] + data):
                status = (await w1.call("POST", path, body)).status
                assert status in {200, 400, 403, 404, 422, 503}
            text = data.decode("latin-1")
            for prefix in ("/gossip/evidence/", f"/{'0' * 64}/", "/"):
                status = (await w1.call("GET", prefix + text)).status
                assert status in {200, 400, 404, 405}

    asyncio.run(ask())
