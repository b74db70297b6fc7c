"""The scenario of the explorer: pages over a large replica, beside Datasette on the same file.

The searches go to both in turn, so that what else the machine does falls on both. Datasette shows
rows of the explorer's own file (`table`); the explorer reads what it finds there from the replica,
looks at it again, and says on the page what it rests on.
"""

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import urlencode

from deployment import BIN, tie_to_parent

from benchmark.exploregraph import log_runs, measure
from benchmark.options import Options
from benchmark.receipts import check_receipts
from benchmark.rig import BenchError, Rig
from benchmark.stats import percentile
from muniment.explore.counting import hash_text
from muniment.explore.table import SUFFIX
from muniment.index.reader import IndexReader
from muniment.records.codec import parse_leaves
from muniment.records.kinds import Decision

RECORDS: Final = 1_000_000
_VISITS: Final = 30
_FINDS: Final = 50  # of each kind
_REPLICA: Final = "replica.db"
_ROWS: Final = 50  # a page of the explorer's

_Query = tuple[str, dict[str, str], dict[str, str]]  # its kind; for the explorer; for Datasette


def explore(options: Options) -> dict[str, Any]:
    """First content of each page, and searches, with as many records as were asked for."""
    count = min(options.records, RECORDS)
    rig = Rig(witnesses=False)
    try:
        worker = rig.worker("ingest", seed=options.seed, count=count, batch=1000, window=4)
        worker.go()
        check_receipts(rig, worker.result()["checks"])
        count += log_runs(rig, options.seed)
        with served(rig) as url:
            began = time.perf_counter()
            wait_until_counted(url, count)
            counted = time.perf_counter() - began
        with served(rig) as url:
            wait_until_counted(url, count)
            return {
                "records": count,
                "until_all_is_counted_s": round(counted, 1),
                "file_bytes_per_record": round(
                    (rig.place / f"{_REPLICA}{SUFFIX}").stat().st_size / count, 1
                ),
                "first_content": visits(url, count, Random(options.seed)),
                "graph": measure(url, timed),
                "find": finds(
                    rig, url, Random(options.seed), _FINDS // (5 if options.quick else 1)
                ),
            }
    finally:
        rig.close()


@contextmanager
def served(rig: Rig) -> Iterator[str]:
    """The command `muniment explore` on the rig's log; yields its URL."""
    command = [
        *(BIN / "muniment", "explore", "--log", rig.url, "--policy", "trust.policy"),
        *("--replica", _REPLICA, "--no-open"),
    ]
    process = subprocess.Popen(
        command,
        cwd=rig.place,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=tie_to_parent,  # noqa: PLW1509  # no thread starts any
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise BenchError("the explorer did not start")
        yield url
    finally:
        process.terminate()
        process.wait()


def get(url: str) -> bytes:
    """What a URL answers, on a connection of its own."""
    with urllib.request.urlopen(url, timeout=60) as answer:
        data: bytes = answer.read()
    return data


def timed(url: str) -> float:
    """Seconds until all of the answer is there."""
    began = time.perf_counter()
    get(url)
    return time.perf_counter() - began


def wait_until_counted(url: str, count: int) -> None:
    """Waits until the explorer has followed and counted everything."""
    deadline = time.monotonic() + 1800
    while time.monotonic() < deadline:
        try:
            status = json.loads(get(f"{url}status.json"))
        except OSError:
            status = {"size": 0}
        if status["size"] >= count and not any("counted" in one for one in status["unverified"]):
            return
        time.sleep(0.5)
    raise BenchError("the explorer does not come to an end with counting")


def visits(url: str, count: int, random: Random) -> dict[str, Any]:
    """Seconds to all of a page; what its browser asks for after that are files."""
    pages: dict[str, Callable[[], str]] = {
        "overview": lambda: "",
        "find": lambda: "find",
        "decision": lambda: f"decision/{random.randrange(count)}",
    }
    return {
        name: spread([timed(url + path()) for _ in range(_VISITS)]) for name, path in pages.items()
    }


def finds(rig: Rig, url: str, random: Random, each: int) -> dict[str, Any]:
    """Searches of several kinds, in the explorer and in Datasette in turn."""
    ours: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    with datasette(rig.place / f"{_REPLICA}{SUFFIX}") as other:
        for kind, mine, their in queries(rig.place / _REPLICA, random, each):
            if kind not in ours:
                check_alike(url, other, kind, mine, their)
            ours.setdefault(kind, []).append(timed(f"{url}find?{urlencode(mine)}"))
            if their:
                theirs.setdefault(kind, []).append(timed(f"{other}?{urlencode(their)}"))
    return {
        "explorer": {
            "all": spread([one for some in ours.values() for one in some]),
            **{kind: spread(some) for kind, some in ours.items()},
        },
        "datasette": {
            "all": spread([one for some in theirs.values() for one in some]),
            **{kind: spread(some) for kind, some in theirs.items()},
        },
    }


def queries(replica: Path, random: Random, each: int) -> Iterator[_Query]:
    """Searches for what random decisions say, the kinds in turn."""
    plain = {"_sort_desc": "idx", "_size": str(_ROWS), "_nocount": "1"}
    plain |= {"_nofacet": "1", "_nosuggest": "1"}
    with IndexReader(replica) as reader:
        head = reader.head()
        assert head is not None
        for _ in range(each):
            [record] = parse_leaves([*reader.leaves([random.randrange(head.size)]).values()])
            if not isinstance(record, Decision):
                continue
            subject, resource = record.subject, record.resource
            of_subject = {"subject": f"{subject.type}:{subject.id}"}
            hashed = {"subject": str(hash_text(*subject))}
            action = {"action": str(hash_text(record.action))}
            yield "subject", of_subject, {**plain, **hashed}
            yield (
                *("resource", {"resource": f"{resource.type}:{resource.id}"}),
                {**plain, "resource": str(hash_text(*resource))},
            )
            yield (
                *("action and deny", {"action": record.action, "answer": "deny"}),
                {**plain, **action, "codes__gt": "0"},
            )
            yield (
                *("subject and action", {**of_subject, "action": record.action}),
                {**plain, **hashed, **action},
            )
            yield (
                *("nothing matches", {"action": record.action, "code": "invalid_signature"}),
                {**plain, **action, "codes": "2"},
            )
            yield "id", {"id": record.id}, {}


def check_alike(
    url: str, other: str, kind: str, mine: dict[str, str], their: dict[str, str]
) -> None:
    """Both show the same decisions."""
    lines = get(f"{url}find.jsonl?{urlencode(mine)}").splitlines()[:_ROWS]
    if kind == "id":
        if not lines:
            raise BenchError("the explorer does not find a decision by its id")
        return
    rows = json.loads(get(f"{other}.json?{urlencode({**their, '_shape': 'array'})}"))
    found, expected = [json.loads(one)["index"] for one in lines], [one["idx"] for one in rows]
    if found != expected:
        raise BenchError(f"{kind}: the explorer finds {found[:5]}, Datasette {expected[:5]}")


@contextmanager
def datasette(file: Path) -> Iterator[str]:
    """Datasette on a file; yields the URL of the table of decisions."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = str(held.getsockname()[1])
    process = subprocess.Popen(
        [
            *(os.environ["DATASETTE"], "serve", file, "--host", "127.0.0.1", "--port", port),
            *("--setting", "sql_time_limit_ms", "60000"),  # a second, and then an error, otherwise
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=tie_to_parent,  # noqa: PLW1509  # no thread starts any
    )
    url = f"http://127.0.0.1:{port}/"
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                [found] = json.loads(get(f"{url}-/databases.json"))
            except OSError:
                time.sleep(0.2)
            else:
                yield f"{url}{found['name']}/decision"
                return
        raise BenchError("Datasette did not start")
    finally:
        process.terminate()
        process.wait()


def spread(seconds: list[float]) -> dict[str, float]:
    """p50, p95 and the largest, in milliseconds."""
    return {
        "p50_ms": round(percentile(seconds, 0.50) * 1e3, 1),
        "p95_ms": round(percentile(seconds, 0.95) * 1e3, 1),
        "max_ms": round(max(seconds) * 1e3, 1),
    }
