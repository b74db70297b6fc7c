"""The client's side of add-checkpoint: what it sends, and what it makes of each answer."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byzantine import View
from muniment.tlog.addcheckpoint import (
    MAX_ATTEMPTS,
    AccusedError,
    AheadError,
    Exchange,
    Reply,
    WitnessError,
)
from muniment.tlog.proofs import verify_consistency
from muniment.tlog.witnesswire import SIZE_CONTENT_TYPE, format_size, parse_add_checkpoint

LOG = View().append(20)
PROBLEM = "application/problem+json"


def conflict(size: int) -> Reply:
    return Reply(409, SIZE_CONTENT_TYPE, format_size(size))


class Witness:
    """Answers with these in turn, and keeps the old sizes that it was asked from."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked: list[int] = []

    async def post(self, request: bytes) -> Reply:
        asked = parse_add_checkpoint(request)
        assert asked.checkpoint == LOG.checkpoint(20)
        if 0 < asked.old_size < 20:
            root = LOG.root(asked.old_size)
            verify_consistency(asked.old_size, root, 20, LOG.root(20), asked.proof)
        else:
            assert asked.proof == ()
        self.asked.append(asked.old_size)
        return self.replies.pop(0)


async def prove(old: int, new: int) -> Sequence[bytes]:
    return LOG.proof(old, new) if 0 < old < new else ()


def check(body: bytes) -> bytes:
    if body != b"cosigned":
        raise WitnessError("not by its key")
    return body


async def add(exchange: Exchange, witness: Witness) -> tuple[int, bytes]:
    return await exchange.add(LOG.checkpoint(20), prove, witness.post, check)


COSIGNED = Reply(200, "text/plain", b"cosigned")


async def test_it_asks_again_from_the_size_that_a_conflict_names() -> None:
    witness, exchange = Witness(conflict(7), conflict(12), COSIGNED), Exchange()
    assert await add(exchange, witness) == (12, b"cosigned")
    assert witness.asked == [0, 7, 12]
    assert exchange.size == 20
    # The next time it begins where the witness is.
    witness = Witness(COSIGNED)
    assert await add(exchange, witness) == (20, b"cosigned")
    assert witness.asked == [20]


async def test_what_is_not_accepted_is_not_remembered() -> None:
    witness, exchange = Witness(conflict(7), COSIGNED._replace(body=b"junk")), Exchange()
    with pytest.raises(WitnessError, match="not by its key"):
        await add(exchange, witness)
    assert exchange.size == 7


async def test_conflicts_do_not_go_on_for_ever() -> None:
    witness = Witness(*[conflict(size) for size in range(1, 20)])
    with pytest.raises(WitnessError, match="conflicts in a row"):
        await add(Exchange(), witness)
    assert len(witness.asked) == MAX_ATTEMPTS


async def test_a_witness_that_is_ahead_is_told_apart_and_asked_again_the_next_time() -> None:
    exchange = Exchange()
    with pytest.raises(AheadError, match="size 30, beyond 20") as caught:
        await add(exchange, Witness(conflict(30)))
    assert caught.value.beyond == 30
    witness = Witness(conflict(7), COSIGNED)
    assert await add(exchange, witness) == (7, b"cosigned")
    assert witness.asked == [20, 7]


@pytest.mark.parametrize(
    ("start", "reply"),
    [
        (7, Reply(422, PROBLEM, b"{}")),  # the proof from its own size does not hold
        (20, conflict(20)),
        (20, Reply(409, PROBLEM, b"{}")),  # the specification gives no size for another root
    ],
)
async def test_another_tree_at_a_size_of_ours_is_told_apart(start: int, reply: Reply) -> None:
    exchange = Exchange()
    exchange.size = start
    with pytest.raises(AheadError, match="another tree") as caught:
        await add(exchange, Witness(reply))
    assert caught.value.beyond is None


async def test_an_accusation_is_told_apart() -> None:
    body = b'{"type": "urn:muniment:problem:misbehaviour-proven"}'
    with pytest.raises(AccusedError, match="evidence"):
        await add(Exchange(), Witness(Reply(403, PROBLEM, body)))


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 40),
    st.lists(
        st.builds(
            Reply,
            st.sampled_from([200, 301, 400, 403, 404, 409, 422, 429, 500, 503]),
            st.sampled_from([SIZE_CONTENT_TYPE, PROBLEM, ""]),
            st.one_of(st.binary(max_size=40), st.integers(0, 40).map(format_size)),
        ),
        min_size=MAX_ATTEMPTS,
        max_size=MAX_ATTEMPTS,
    ),
)
async def test_whatever_it_answers_ends_in_an_error_of_the_witness(
    start: int, replies: list[Reply]
) -> None:
    exchange, witness = Exchange(), Witness(*replies)
    exchange.size = start
    with pytest.raises(WitnessError):
        await add(exchange, witness)
    assert 1 <= len(witness.asked) <= MAX_ATTEMPTS
