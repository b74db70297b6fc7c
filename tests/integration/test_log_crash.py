"""kill -9 of the log under load: what was acknowledged is there, at its index, for ever."""

import asyncio
from pathlib import Path

import pytest

import decisions
from log_deployment import (
    GATEWAY,
    ORIGIN,
    PUBLISHED,
    ask,
    check_places,
    deployed,
    leaves_of,
    verify_leaf,
)
from log_load import Load, check_addenda, entries_of
from muniment.tlog.merkle import CompactRange, leaf_hashes

ROUNDS = 3
RECORDS = decisions.decisions(2_000, producer=GATEWAY)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, workers: int) -> None:
    """The kills fall at any of the crash points C1 to C5 of the embedded log, and A1 to A3."""
    with deployed(tmp_path, workers=workers) as made:
        load = Load(made, seed=2)
        for number in range(ROUNDS):
            asyncio.run(load.until_killed(0.4 + 0.3 * number))
            assert load.receipts
            made.start_log()
        # The streams go on: retries of what was never answered, then something new.
        for stream in load.streams:
            for body in load.unanswered.pop(stream.label, []):
                receipt = made.post(body).json
                load.receipts.append((receipt["first"], entries_of(body)))
            state = ask(f"{made.url}/v1/streams/{GATEWAY}/{stream.label}").json
            assert state["next"] == stream.next
        last = made.post(made.stream().take(RECORDS[:1]), PUBLISHED).json

        # The witnesses accept the next checkpoint, and the tree under it is whole.
        cosigned = made.policy.verify(ask(f"{made.url}/checkpoint").body, origin=ORIGIN)
        size = cosigned.size
        assert size >= last["size"]
        entries = leaves_of(made.url, size)
        assert CompactRange.EMPTY.extend(leaf_hashes(entries)).root() == cosigned.root

        check_places(load.receipts, entries)
        assert check_addenda(made.config.parent, entries)
        assert len(set(load.plain)) == len(load.plain)
        for first in load.plain:
            assert b'"producer":"curl.example/dev"' in entries[first]

        # Provable, not only present.
        for first, batch in load.receipts[:: max(1, len(load.receipts) // 20)]:
            verify_leaf(made.url, batch[0], first, cosigned)
