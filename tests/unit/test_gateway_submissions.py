"""What a batch takes of the queue: as much as fits, in order, and what is too large alone."""

import asyncio
from random import Random

import pytest

from muniment.gateway import submissions
from muniment.gateway.submissions import Piece, Queue, Submission


def queue_of(*calls: tuple[list[int], dict[int, list[int]]]) -> tuple[Queue, list[Submission]]:
    """A queue of calls: lengths of records, and by number those of a record's addenda."""
    queue, made = Queue(), []
    loop = asyncio.get_running_loop()
    for lengths, addenda in calls:
        entries = [bytes(length) for length in lengths]
        beside = {at: [bytes(length) for length in own] for at, own in addenda.items()}
        made.append(Submission(entries, False, loop.create_future(), addenda=beside))
        queue.append(Piece(made[-1], 0, len(entries)))
    return queue, made


def batches(queue: Queue, calls: list[Submission], most: int, room: int) -> list[list[range]]:
    """All batches until the queue is empty; the range of each piece, counted over all calls."""
    first: dict[int, int] = {}
    for call in calls:
        first[id(call)] = sum(len(one.entries) for one in calls[: calls.index(call)])
    found = []
    while queue:
        pieces = queue.take(most, room)
        starts = [first[id(piece.submission)] for piece in pieces]
        found.append(
            [range(at + p.start, at + p.stop) for at, p in zip(starts, pieces, strict=True)]
        )
    assert (queue.records, queue.size) == (0, 0)
    return found


async def test_a_record_goes_alone_whose_addenda_no_batch_can_bring(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The log refuses it, and nothing that happened to come behind it."""
    monkeypatch.setattr(submissions, "MAX_ADDENDA_BYTES", 100)
    queue, calls = queue_of(([5], {0: [200]}), ([5, 5], {}), ([5], {}))
    taken = batches(queue, calls, 10, 1000)
    assert taken == [[range(1)], [range(1, 3), range(3, 4)]]


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_a_record_goes_alone_that_is_too_long_for_any_batch(at: int) -> None:
    lengths = [5, 5, 5]
    lengths[at] = 500
    queue, calls = queue_of((lengths, {}), ([5], {}))
    taken = batches(queue, calls, 10, 100)
    assert [range(at, at + 1)] in taken
    assert [number for batch in taken for piece in batch for number in piece] == [0, 1, 2, 3]


async def test_batches_are_in_order_and_no_larger_than_allowed() -> None:
    random = Random(1)
    for _ in range(300):
        given = [[random.choice([0, 1, 8, 30]) for _ in range(random.randint(1, 6))] for _ in "123"]
        most, room = random.randint(1, 7), random.choice([32, 40, 64, 200])
        queue, calls = queue_of(*((lengths, {}) for lengths in given))
        lengths = [length for call in given for length in call]
        taken = [[n for piece in one for n in piece] for one in batches(queue, calls, most, room)]
        assert [number for batch in taken for number in batch] == list(range(len(lengths)))
        assert max(map(len, taken)) <= most
        assert max(sum(lengths[n] + 2 for n in batch) for batch in taken) <= room
