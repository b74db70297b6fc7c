"""What the tests of reports share: records around a window, and a replica of them."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import index_tools
import logsim
from decisions import request
from index_tools import NOW, ORIGIN, PRODUCERS
from muniment.index.reader import IndexReader
from muniment.records.api import Erasure, Record, encode_record
from muniment.records.canonical import encode_canonical
from muniment.report.build import basis_of, build_report
from muniment.report.reading import Keys
from muniment.report.scope import ReportScope

HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m&\"'" + "x" * 400

CODES = ("denied_by_policy", "policy_mismatch", "lineage_fragmentation")
DIGESTS = ["sha256:" + letter * 64 for letter in "ab"]


def decision(random: Random, time: int) -> bytes:
    """A decision with what figures are about: codes, artifacts, withheld members."""
    allowed = random.random() < 0.6
    value: dict[str, Any] = {
        "id": f"d{random.randrange(30)}",
        "kind": "decision",
        "producer": random.choice(PRODUCERS),
        "request": request(f"agent {random.randrange(4)}", resource=("tool", HOSTILE)),
        "response": {"decision": allowed},
        "time": time,
        "v": 1,
    }
    if random.random() < 0.7:
        value["execution"] = f"r{random.randrange(20)}"
    if not allowed and random.random() < 0.8:
        value["denial"] = {"codes": random.sample(CODES, random.randrange(1, 3))}
    if random.random() < 0.6:
        value["artifact"] = {
            "scope": {"actions": ["call"], "resources": [{"type": "tool"}]},
            "policy": {
                "id": "p",
                "revision": str(random.randrange(3)),
                "digest": random.choice(DIGESTS),
            },
            "validity": {"not_before": NOW, "not_after": NOW + 60},
            "attribution": {"authority": random.choice(["ops", "legal"])},
        }
    if random.random() < 0.4:
        named = random.choice(index_tools.ADDENDA)
        value["addenda"] = {"/request/context/arguments": named}
    return encode_canonical(value)


def entries_of(random: Random, count: int) -> list[bytes]:
    """Records around the window [NOW, NOW + 1000), those of the other helpers among them."""
    made: list[bytes] = []
    while len(made) < count:
        time = (NOW - 300) * 1000 + random.randrange(1_600_000)
        if random.random() < 0.05:
            edges = NOW * 1000, (NOW + 1000) * 1000
            time = random.choice(edges) - random.randrange(2)
        if random.random() < 0.5:
            made.append(decision(random, time))
        elif random.random() < 0.1:
            made.append(random.choice([index_tools.MANIFEST, *index_tools.ODD]))
        else:
            record = index_tools.make_record(random)
            changed = {**fields(record), "time": time}
            if isinstance(record, Erasure):
                changed["producer"] = random.choice([ORIGIN, *PRODUCERS])
            made.append(encode_record(type(record)(**changed)))
    return made


def fields(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


@contextmanager
def replica(path: Path, entries: Sequence[bytes]) -> Iterator[IndexReader]:
    path.unlink(missing_ok=True)
    asyncio.run(index_tools.follow(path, index_tools.MemorySource(entries)))
    with index_tools.reading(path) as reader:
        yield reader


def report_of(reader: IndexReader, scope: ReportScope, keys: Keys | None = None) -> dict[str, Any]:
    return build_report(basis_of(reader, logsim.POLICY, scope, keys or Keys()))


def count(figure: dict[str, Any]) -> int:
    return figure["leaves"]["count"]
