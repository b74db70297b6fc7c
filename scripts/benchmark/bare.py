"""Decisions that say no more than they must, each of a run of its own: some 305 bytes."""

from collections.abc import Iterator
from random import Random

TOOLS = ("crm.search", "mail.send", "db.query", "calendar.read", "files.read", "payments.refund")
AGENTS = 5_000
POOL = 20_000  # what they ask, and the answer; beyond them only runs, ids and times are new
FIRST_TIME = 1_790_000_000_000  # Unix milliseconds
APART = 3  # milliseconds between two decisions


def bare_decisions(producer: str, start: int) -> Iterator[bytes]:
    """Canonical decisions of one gateway from a number on, without an end; none has another's id.

    Four of five are allowed.
    """
    random = Random(1)
    asked = [
        (
            b',"kind":"decision","producer":"%b","request":{"action":{"name":"call"},"resource":'
            b'{"id":"%b","type":"tool"},"subject":{"id":"agent-%d","type":"agent"}},"response":'
            b'{"decision":%b},"time":'
        )
        % (
            producer.encode(),
            random.choice(TOOLS).encode(),
            random.randrange(AGENTS),
            b"true" if random.random() < 0.8 else b"false",
        )
        for _ in range(POOL)
    ]
    number = start
    while True:
        text = asked[number % POOL]
        is_allowed = text.endswith(b'true},"time":')
        # Spread over all values, as ids that gateways draw at random are.
        id_ = (number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 & (1 << 128) - 1
        first = b'"execution":"run-%016x"' % (id_ >> 64) if is_allowed else _DENIAL
        time = FIRST_TIME + number * APART
        yield b'{%b,"id":"%032x"%b%d,"v":1}' % (first, id_, text, time)
        number += 1


_DENIAL = b'"denial":{"codes":["denied_by_policy"]}'
