"""What the tests of `muniment export` share: replicas of a log in memory, and receivers."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import get_args

import index_tools
import logsim
from muniment.errors import MunimentError
from muniment.export.cursor import CursorFile
from muniment.export.destination import Destination, Event
from muniment.export.exporter import MAX_BATCH, Exporter
from muniment.export.forms import JSON_LINES, Form
from muniment.export.source import Exported, Source
from muniment.index.reader import IndexReader
from muniment.records.api import Erasure, Outcome, encode_record
from muniment.records.canonical import encode_canonical
from muniment.records.kinds import RunStatus
from muniment.tlog.merkle import CompactRange


def follow(path: Path, source: index_tools.MemorySource) -> None:
    """One round of a follower, from code that is not async."""
    asyncio.run(index_tools.follow(path, source))


def exported(path: Path) -> list[Exported]:
    """All records of a replica, verified; there are some, as tests look at each."""
    with IndexReader(path) as reader:
        source = Source(reader)
        source.check(CompactRange.EMPTY, lambda _done, _total: None)
        found = [one for page in source.pages(CompactRange.EMPTY) for one in page.records]
    assert found
    return found


class Receiver(Destination):
    """Takes events in this process; it refuses the requests whose numbers, from 1, are given."""

    def __init__(self, *fail_at: int) -> None:
        self.taken: list[int] = []
        self.requests: list[int] = []
        self.events: list[bytes] = []
        self.fail_at = set(fail_at)
        self.asked = 0

    async def put(self, events: Sequence[Event]) -> None:
        self.asked += 1
        if self.asked in self.fail_at:
            raise MunimentError("the receiver fails")
        self.requests.append(len(events))
        self.taken += [event.index for event in events]
        self.events += [event.data for event in events]
        await asyncio.sleep(0)


async def step(
    path: Path,
    receiver: Receiver,
    cursor: Path | None,
    *,
    form: Form = JSON_LINES,
    batch: int = MAX_BATCH,
) -> Exporter:
    """One run of an exporter of its own."""
    file = None if cursor is None else CursorFile(cursor)
    exporter = Exporter(form, receiver, file, batch)
    with IndexReader(path) as reader:
        await exporter.step(Source(reader))
    return exporter


def telling_entries() -> list[bytes]:
    """Leaves with everything that a form writes in a way of its own."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    call = json.loads(logsim.decision(0))
    call["request"]["subject"] = {"type": "user", "id": "ada ü\u202e"}
    call["request"]["context"] = {"ids": {"call": "c-1", "session": "s-1", "user": "ada"}}
    call |= {"execution": "run-1", "traceparent": trace, "id": "call"}
    call["addenda"] = {"/request/context/arguments": index_tools.ADDENDA[0]}
    denied = json.loads(logsim.decision(1, decision=False))
    denied |= {"denial": {"codes": ["denied_by_policy", "policy_mismatch"]}, "id": "denied"}
    artifact = json.loads(logsim.decision(2))
    artifact["artifact"] = {
        "scope": {
            "actions": ["call"],
            "resources": [{"type": "tool", "id": "tool-2"}],
        },
        "binding": {"spiffe_id": "spiffe://example.org/agent"},
        "policy": {"id": "p", "revision": "7", "digest": "sha256:" + "ab" * 32},
        "validity": {"not_before": logsim.NOW, "not_after": logsim.NOW + 60},
        "attribution": {"authority": "auth.example"},
    }
    made = [json.dumps(one).encode() for one in (call, denied, artifact)]
    erasure = Erasure(
        v=1,
        id="e",
        time=logsim.NOW * 1000,
        producer=index_tools.ORIGIN,
        digests=(index_tools.ADDENDA[0],),
        by="operator",
    )
    statuses = [
        Outcome(
            v=1,
            id=f"o-{status}",
            time=logsim.NOW * 1000,
            producer=logsim.GATEWAY,
            execution="run-1",
            status=status,
            traceparent=trace,
            inputs={"arguments": "sha256:" + index_tools.ADDENDA[1]},
        )
        for status in get_args(RunStatus)
    ]
    others = index_tools.make_entries(Random(1), 300)
    return [
        *[encode_canonical(json.loads(one)) for one in made],
        *map(encode_record, [erasure, *statuses]),
        *others,
    ]
