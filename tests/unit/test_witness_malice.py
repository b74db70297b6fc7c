"""A malicious peer can neither make a witness sign, nor stop it from signing for other
origins, nor blame an honest log. One test for each of the three.

The peer here is the worst that fits: a configured one, with its real key, that may send anything,
answer anything, and replay whatever the log has signed. What it has not is the log's key.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from byzantine import View, bad_signature, cosigned, new_signer, poisoned, unsigned
from muniment.tlog.encoding import frame
from muniment.tlog.evidence import fork, same_size
from muniment.tlog.witnesswire import origin_hash
from muniment_witness.config import LogOptions
from muniment_witness.judge.decide import KnownLog
from muniment_witness.witnessfile import Gossip
from stand import Answer
from witness_network import START, Network, Node

MAIN = View().append(300)
STRANGER = View(MAIN.origin, [new_signer(MAIN.origin)]).append(300, "stranger")
"""The log's name and another key and history."""


@asynccontextmanager
async def attacked(folder: Path, limits: Gossip | None = None) -> AsyncIterator[tuple[Node, Node]]:
    """A witness that has cosigned 100 leaves, and its malicious peer."""
    async with Network(folder, MAIN, limits) as net:
        victim, peer = net.add("w1", None, url=None, cosign=False), net.add("w2", None)
        await victim.start()
        assert (await victim.add(0, MAIN, 100)).status == 200
        shown = cosigned(MAIN, peer.signer, 200, now=START)
        below = f"/{origin_hash(MAIN.origin)}"

        def answer(path: str) -> Answer:
            """True heads, and tiles, a history and a list of heads that are made up."""
            if path == below + "/checkpoint":
                return Answer(body=shown)
            if path.startswith(below + "/tile/"):
                return STRANGER.answer(path.removeprefix(below))
            if path.startswith(below + "/history/"):
                size = int(path.rpartition("/")[2])
                return Answer(body=STRANGER.add_checkpoint(size, 200).encode())
            if path == "/gossip/heads":
                return Answer(body=frame([MAIN.checkpoint(150).encode(), shown]))
            return Answer(404)

        net.impostors[peer.name] = answer
        yield victim, peer


async def attack(victim: Node, peer: Node) -> None:
    """Everything that the peer can send, and what it answers when it is asked."""
    head = MAIN.checkpoint(200)
    true = [MAIN.checkpoint(size).encode() for size in (1, 50, 100, 150, 200)]
    spoiled = [spoil(head) for spoil in (bad_signature, poisoned, unsigned)]
    spoiled += [STRANGER.checkpoint(size) for size in (50, 100, 200)]
    for body in [frame(true), frame(true[::-1]), *(frame([each.encode()]) for each in spoiled)]:
        await victim.call("POST", "/gossip/heads", body, peer.name)
    for file in (
        same_size(MAIN.checkpoint(100), STRANGER.checkpoint(100)),
        fork(MAIN.checkpoint(50), STRANGER.checkpoint(200), STRANGER.root(50),
             STRANGER.proof(50, 200)),
        fork(MAIN.checkpoint(50), MAIN.checkpoint(200), STRANGER.root(50),
             STRANGER.proof(50, 200)),
        fork(MAIN.checkpoint(50), MAIN.checkpoint(200), STRANGER.root(50), MAIN.proof(50, 200)),
    ):  # fmt: skip
        answer = await victim.call("POST", "/gossip/evidence", file.encode(), peer.name)
        assert answer.status in {400, 422}
    # As a client: the log's own heads, with proofs that are spoiled, made up or of other sizes.
    good = MAIN.add_checkpoint(100, 200).encode()
    for body, statuses in (
        (STRANGER.add_checkpoint(100, 200).encode().split(b"\n\n")[0] + b"\n\n" + head.encode(),
         {422}),
        (good.replace(b"old 100", b"old 99"), {409}),
        (good[:200], {400}),
        (STRANGER.add_checkpoint(100, 200).encode(), {403}),
    ):  # fmt: skip
        answer = await victim.call("POST", "/add-checkpoint", body, peer.name)
        assert answer.status in statuses, answer.body
    await victim.network.rounds(3)


async def test_a_malicious_peer_cannot_make_a_witness_sign(tmp_path: Path) -> None:
    """What a peer pushes or shows is compared; it never becomes a cosignature."""
    async with attacked(tmp_path) as (victim, peer):
        before = victim.store.latest[MAIN.origin].note
        await attack(victim, peer)
        assert victim.size == 100
        assert victim.store.latest[MAIN.origin].note == before


async def test_a_malicious_peer_cannot_stop_signing_for_other_origins(tmp_path: Path) -> None:
    """Nor for the attacked one: the log itself, with a true proof, is served as before.

    Even with the key of *another* log, whose misbehaviour it can then prove, the peer stops the
    signing for that log alone.
    """
    async with attacked(tmp_path) as (victim, peer):
        wicked = View("wicked.example").append(50)
        # The logs of a witness are fixed when it starts: this is another start.
        await victim.stop()
        victim.more = [(KnownLog(wicked.origin, wicked.verifiers), LogOptions())]
        await victim.start()
        assert (await victim.add(0, wicked, 20)).status == 200
        await attack(victim, peer)
        forked = wicked.fork(3, 50)
        for size in range(10, 50):
            file = same_size(wicked.checkpoint(size), forked.checkpoint(size)).encode()
            await victim.call("POST", "/gossip/evidence", file, peer.name)
        assert (await victim.add(20, wicked, 50)).status == 403
        assert (await victim.add(100, MAIN, 200)).status == 200
        await attack_again(victim, peer)
        assert (await victim.add(200, MAIN, 300)).status == 200


async def attack_again(victim: Node, peer: Node) -> None:
    for size in range(1, 200):
        body = frame([MAIN.checkpoint(size).encode()])
        await victim.call("POST", "/gossip/heads", body, peer.name)
    await victim.network.rounds(2)


async def test_a_malicious_peer_cannot_blame_an_honest_log(tmp_path: Path) -> None:
    """No evidence, whatever it makes up; and no alarm names the log when the log can be read."""
    async with attacked(tmp_path) as (victim, peer):
        await attack(victim, peer)
        assert victim.evidence == []
        await victim.stop()
        victim.view, victim.options["url"] = MAIN, "http://log"
        await victim.start()
        await attack_with(victim, peer)
        assert victim.evidence == []
        assert not victim.store.observations.suspicions.get(MAIN.origin)
        assert not victim.network.alarms


async def attack_with(victim: Node, peer: Node) -> None:
    """The same against a witness that can read the log itself: the heads resolve at once."""
    victim.network.alarms.clear()
    await attack(victim, peer)
