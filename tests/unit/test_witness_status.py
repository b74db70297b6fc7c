"""The status of a witness with many logs: made in parts, once for all who ask, and for a moment."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from byzantine import View
from muniment_witness.gossip.watch import Watch
from muniment_witness.http import statusboard
from muniment_witness.http.status import status_in_parts
from muniment_witness.http.statusboard import MANY, StatusBoard, make_status
from witness_network import Network

MAIN = View().append(4)


def knowing(watch: Watch, logs: int) -> Watch:
    """The same watch, with so many logs."""
    [known] = watch.shared.config.logs.values()
    origins = [f"log.example/{number}" for number in range(logs)]
    config = replace(
        watch.shared.config, logs={o: structs.replace(known, origin=o) for o in origins}
    )
    return structs.replace(watch, shared=structs.replace(watch.shared, config=config))


async def test_many_logs_are_described_in_small_parts(tmp_path: Path) -> None:
    async with Network(tmp_path, MAIN) as net:
        watch = knowing((await net.started("w1", None)).watch, 1000)
        steps = list(status_in_parts(watch))
        assert len(steps) > 1000 / 64
        turns = 0

        async def other_work() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(other_work())
        status = await make_status(watch)
        other.cancel()
        assert turns >= len(steps)
        assert [log["origin"] for log in status["logs"]] == list(watch.shared.config.logs)


async def test_who_asks_meanwhile_is_given_the_same_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0

    async def counting(watch: Watch) -> dict[str, object]:
        nonlocal made
        made += 1
        return await make_status(watch)

    monkeypatch.setattr(statusboard, "make_status", counting)
    monkeypatch.setattr(statusboard, "KEPT_SECONDS", 600.0)
    async with Network(tmp_path, MAIN) as net:
        watch = (await net.started("w1", None)).watch
        many = StatusBoard(knowing(watch, MANY + 1))
        answers = await asyncio.gather(many.json(), many.json(), many.page(), many.page())
        assert made == 2  # one for each form
        assert answers[0] == answers[1]
        assert answers[2] == answers[3]
        assert len(json.loads(answers[0])["logs"]) == MANY + 1
        monkeypatch.setattr(statusboard, "KEPT_SECONDS", 0.0)
        await many.json()
        assert made == 3
        # Of few logs it costs nothing to be exact.
        monkeypatch.setattr(statusboard, "KEPT_SECONDS", 600.0)
        few = StatusBoard(watch)
        await few.json()
        await few.json()
        assert made == 5
