"""What a witness concludes from a comparison, and that asking for its frontier changes nothing."""

from pathlib import Path

import pytest

from byzantine import View
from muniment.tlog.evidence import contradiction_of
from muniment_witness.judge.comparison import Comparison, conclude
from muniment_witness.judge.relation import Same, SignedHead, recorded
from witness_network import Network

MAIN = View("log.example/main").append(40)
OTHER = MAIN.fork(0, 40)


def seen(size: int, view: View = MAIN) -> SignedHead:
    return recorded(view.checkpoint(size).encode())


@pytest.mark.parametrize(
    ("frontier", "size", "is_proved", "result"),
    [
        (None, 0, False, "same"),
        (None, 5, False, "extends"),
        (0, 5, False, "extends"),
        (5, 0, False, "same"),
        (5, 5, False, "same"),
        (5, 9, True, "extends"),
        (9, 5, True, "prefix"),
    ],
)
def test_a_head_that_contradicts_nothing(
    frontier: int | None, size: int, result: str, *, is_proved: bool
) -> None:
    known = None if frontier is None else seen(frontier)
    assert conclude(known, seen(size), None if is_proved else Same()) == result


def test_evidence_is_a_contradiction_whatever_the_sizes() -> None:
    conflict = contradiction_of(MAIN.checkpoint(7), OTHER.checkpoint(7))
    assert conflict is not None
    for frontier in (None, seen(3), seen(7), seen(9)):
        assert conclude(frontier, seen(7, OTHER), conflict) is Comparison.PROVEN


async def test_asking_for_the_frontier_changes_nothing(tmp_path: Path) -> None:
    """The cosigned head moves past what was read: only `reconcile` gives the watched head up."""
    view = View("log.example/main").append(10)
    async with Network(tmp_path, view) as net:
        w1 = await net.started("w1", view, cosign=False)
        await w1.add(0, view)
        view.append(30)
        await net.rounds(1)
        observations, comparer = w1.store.observations, w1.watch.comparer
        watched = dict(observations.watched)
        frontier = comparer.frontier(net.origin)
        assert comparer.known_size(net.origin) == 40
        assert frontier.head.size == 40
        await w1.watch.cosigner.add_checkpoint(w1.authentic(10, view, 20))
        for _ in range(2):
            now = comparer.frontier(net.origin)
            assert comparer.known_size(net.origin) == 20
            assert now.head.size == 20
            assert (dict(observations.watched), observations.suspicions) == (watched, {})
        comparer.reconcile(net.origin)
        assert not observations.watched
        assert list(observations.suspicions[net.origin]) == [frontier.digest]
        await net.rounds(1)
        assert not observations.suspicions[net.origin]
        again = comparer.frontier(net.origin)
        assert again.head.size == 40
        assert not net.alarms
