"""What waits for a batch: how calls are cut and put together, what goes alone, and the counts."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.gateway import submissions
from muniment.gateway.submissions import Piece, Queue, Submission
from muniment.gateway.withholding import NO_ADDENDA, Addenda

_SIZES = st.lists(st.integers(0, 30), min_size=1, max_size=12)


def piece_of(sizes: list[int], addenda: Addenda, loop: asyncio.AbstractEventLoop) -> Piece:
    entries = [bytes([at]) * size for at, size in enumerate(sizes)]
    return Piece(Submission(entries, False, loop.create_future(), addenda=addenda), 0, len(entries))


@given(
    calls=st.lists(st.tuples(_SIZES, st.booleans()), max_size=8),
    most=st.integers(1, 15),
    room=st.integers(1, 90),
)
def test_all_that_is_queued_leaves_in_order_in_batches_within_bounds(
    calls: list[tuple[list[int], bool]], most: int, room: int
) -> None:
    loop = asyncio.new_event_loop()
    try:
        queue, queued = Queue(), []
        for sizes, withholds in calls:
            addenda: Addenda = {len(sizes) - 1: [b"a" * 7]} if withholds else NO_ADDENDA
            piece = piece_of(sizes, addenda, loop)
            queue.append(piece)
            queued.append(piece)
        assert queue.records == sum(map(len, queued))
        assert queue.size == sum(sum(sizes) + 7 * withholds for sizes, withholds in calls)
        left: list[tuple[Submission, int]] = []
        while queue:
            taken = queue.take(most, room)
            entries = [entry for piece in taken for entry in piece.entries]
            assert 1 <= len(entries) <= most
            assert sum(len(one) + 2 for one in entries) <= room or len(entries) == 1
            assert all(piece.submission.passage.has_left for piece in taken)
            for piece in taken:
                left += [(piece.submission, at) for at in range(piece.start, piece.stop)]
        assert left == [(piece.submission, at) for piece in queued for at in range(len(piece))]
        assert (queue.records, queue.size) == (0, 0)
    finally:
        loop.close()


def test_calls_whose_caller_has_gone_do_not_leave() -> None:
    loop = asyncio.new_event_loop()
    try:
        queue = Queue()
        gone, here = piece_of([5, 6], NO_ADDENDA, loop), piece_of([7], NO_ADDENDA, loop)
        queue.append(gone)
        queue.append(here)
        gone.submission.future.cancel()
        assert queue.take(10, 1000) == [here]
        assert not gone.submission.passage.has_left
        assert (queue.records, queue.size) == (0, 0)
    finally:
        loop.close()


def taken(pieces: list[Piece], most: int, room: int) -> list[list[bytes]]:
    """The entries of each batch until the queue is empty."""
    queue = Queue()
    for piece in pieces:
        queue.append(piece)
    batches = []
    while queue:
        batches.append([one for piece in queue.take(most, room) for one in piece.entries])
    return batches


async def test_a_record_goes_alone_whose_addenda_no_batch_can_bring(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The log refuses it, and nothing that happened to come behind it."""
    monkeypatch.setattr(submissions, "MAX_ADDENDA_BYTES", 100)
    loop = asyncio.get_running_loop()
    alone = piece_of([5], {0: [bytes(200)]}, loop)
    calls = [alone, piece_of([5, 5], NO_ADDENDA, loop), piece_of([5], NO_ADDENDA, loop)]
    assert [len(batch) for batch in taken(calls, 10, 1000)] == [1, 3]


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_a_record_goes_alone_that_is_too_long_for_any_batch(at: int) -> None:
    sizes = [5, 5, 5]
    sizes[at] = 500
    loop = asyncio.get_running_loop()
    batches = taken([piece_of(sizes, NO_ADDENDA, loop), piece_of([5], NO_ADDENDA, loop)], 10, 100)
    assert [bytes([at]) * 500] in batches
    assert [len(one) for batch in batches for one in batch] == [*sizes, 5]
