"""The log's index as a child process of a real log: answers, lag, deaths, rebuilding."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from random import Random
from urllib.parse import quote

import jsonschema
import pytest

import decisions
import index_tools as tools
import processes
from log_deployment import GATEWAY, PUBLISHED, Answer, Deployment, ask, cluster_for, deployed
from muniment.records.api import Decision, Edge, Outcome, Revocation, Target, Thing, encode_record
from muniment.records.thingnames import thing_name
from waiting import eventually

INDEXER = "muniment_log.index.indexer"


@pytest.fixture(scope="module", params=["sqlite", "cluster"])
def deployment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("deployment"), cluster_for(request)) as made:
        # Any test may be the first of its process; before this there is no index to ask.
        log_records(made, [decision("d-first", "run-first")])
        yield made


def common(id_: str) -> dict[str, object]:
    return {"v": 1, "id": id_, "time": 1_790_000_000_000, "producer": GATEWAY}


def decision(id_: str, run: str, resource: str = "t") -> bytes:
    request = decisions.request("a", "call", ("tool", resource))
    return encode_record(
        Decision(**common(id_), request=request, response={"decision": True}, execution=run)
    )


def edge(id_: str, relation: str, start: tuple[str, str], end: tuple[str, str]) -> bytes:
    from_, to = (Thing(type=type_, id=name) for type_, name in (start, end))
    return encode_record(Edge(**common(id_), relation=relation, from_=from_, to=to))


def log_records(deployment: Deployment, records: list[bytes]) -> dict[str, int]:
    """Logs records, and waits until the index reflects them."""
    receipt = deployment.post(deployment.stream().take(records), PUBLISHED).json
    indexed(deployment, receipt["size"])
    return receipt


def indexed(deployment: Deployment, size: int) -> None:
    eventually(lambda: ask(f"{deployment.url}/readyz").json["index"]["size"] >= size)


def get(deployment: Deployment, path: str) -> Answer:
    return ask(f"{deployment.url}/v1/{path}")


def child_of(deployment: Deployment) -> int:
    """The index process."""
    [found] = processes.children_of(deployment.log.pid, INDEXER)
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def valid(deployment: Deployment, schema: str, value: object) -> None:
    document = ask(f"{deployment.url}/openapi.json").json
    jsonschema.validate(
        value,
        {"$ref": f"#/components/schemas/{schema}", "components": document["components"]},
        cls=jsonschema.Draft202012Validator,
    )


def test_decisions_runs_and_lineage(deployment: Deployment) -> None:
    records = [
        decision("d-1", "run-1"),
        edge("e-1", "authorized_by", ("run", "run-1"), ("decision", "d-1")),
        decision("d-2", "run-2"),
        edge("e-2", "triggered_by", ("run", "run-2"), ("run", "run-1")),
        edge("e-3", "performed_by", ("run", "run-2"), ("agent", "spiffe://x/a")),
        encode_record(Outcome(**common("o-2"), execution="run-2", status="completed")),
        encode_record(
            Revocation(
                **common("r-1"), target=Target(decision="d-1"), since=1_790_000_000, reason="no"
            )
        ),
        decision("d-2", "run-3", "other content"),
        edge("e-4", "performed_by", ("run", "run-3"), ("agent", thing_name("Réseau 1"))),
    ]
    receipt = log_records(deployment, records)
    first = receipt["first"]

    def told(path: str) -> list[tuple[int, bool]]:
        answer = get(deployment, path).json
        valid(deployment, "Answer", answer)
        assert answer["size"] >= receipt["size"]
        assert answer["next"] is None
        for one in answer["records"]:
            entry = get(deployment, f"entries/{one['index']}")
            assert entry.json == one["record"]
        return [(one["index"] - first, one["conflicting"]) for one in answer["records"]]

    assert told("decisions/d-1") == [(0, False), (1, False), (6, False)]
    assert told("decisions/d-2") == [(2, True), (7, True)]
    assert told("executions/run-2") == [(2, True), (3, False), (4, False), (5, False)]
    assert told("executions/nobody") == []
    page = get(deployment, "executions/run-2?limit=1").json
    assert [one["index"] for one in page["records"]] == [page["next"]]
    rest = get(deployment, f"executions/run-2?after={page['next']}").json
    assert len(rest["records"]) == 3

    def walked(path: str) -> list[tuple[int, int]]:
        answer = get(deployment, path).json
        valid(deployment, "Lineage", answer)
        return [(one["index"] - first, one["depth"]) for one in answer["edges"]]

    assert walked("lineage/run/run-2") == [(3, 1), (4, 1), (1, 2)]
    assert walked("lineage/run/run-2?depth=1") == [(3, 1), (4, 1)]
    assert walked("lineage/decision/d-1?direction=descendants") == [(1, 1), (3, 2)]
    agent = quote("spiffe://x/a", safe="")
    assert walked(f"lineage/agent/{agent}?direction=descendants") == [(4, 1)]
    assert walked("lineage/agent/spiffe://x/a?direction=descendants") == [(4, 1)]
    for agent in (quote("Réseau 1"), quote(thing_name("Réseau 1"), safe="")):
        assert walked(f"lineage/agent/{agent}?direction=descendants") == [(8, 1)]
    page = get(deployment, "lineage/run/run-2?limit=2").json
    rest = get(deployment, f"lineage/run/run-2?page={page['next']}").json
    assert [one["index"] - first for one in rest["edges"]] == [1]
    assert rest["size"] == page["size"]


@pytest.mark.parametrize(
    ("path", "status", "slug"),
    [
        ("decisions/", 400, "malformed"),
        ("decisions/%FF", 400, "malformed"),
        ("decisions/a%20b", 400, "malformed"),
        (f"decisions/{'x' * 129}", 400, "malformed"),
        ("executions/x?limit=0", 400, "bad-query"),
        ("executions/x?limit=1001", 400, "bad-query"),
        ("executions/x?after=-1", 400, "bad-query"),
        ("executions/x?depth=2", 400, "bad-query"),
        ("lineage/run", 404, "not-found"),
        ("lineage/tool/x", 404, "not-found"),
        ("lineage/run/x?direction=up", 400, "bad-query"),
        ("lineage/run/x?depth=1025", 400, "bad-query"),
        ("lineage/run/x?page=1", 400, "malformed"),
        ("lineage/run/x?page=99999999.0", 400, "malformed"),
    ],
)
def test_refusals(deployment: Deployment, path: str, status: int, slug: str) -> None:
    get(deployment, path).problem(status, slug)


def test_the_lag_is_told(deployment: Deployment) -> None:
    receipt = log_records(deployment, [decision("d-lag", "run-lag")])
    index = ask(f"{deployment.url}/readyz").json["index"]
    assert index["size"] >= receipt["size"]
    assert index["running"] is True
    metrics = ask(f"{deployment.url}/metrics").body.decode()
    for name in ("index_size", "index_lag", "index_running", "index_restarts_total"):
        assert f"\nmuniment_log_{name} " in metrics


def test_a_dead_child_is_replaced_while_records_go_on(deployment: Deployment) -> None:
    log_records(deployment, [decision("d-before", "run-before")])
    child = child_of(deployment)
    os.kill(child, signal.SIGKILL)
    receipt = deployment.post(
        deployment.stream().take([decision("d-during", "run-during")]), PUBLISHED
    )
    assert receipt.status == 200
    # Not at once on a cluster: frontends learn a moment later that a quorum came late.
    eventually(lambda: ask(f"{deployment.url}/readyz").status == 200)
    assert get(deployment, "decisions/d-before").json["records"]
    indexed(deployment, receipt.json["size"])
    assert child_of(deployment) != child
    assert get(deployment, "decisions/d-during").json["records"]


def test_a_deleted_index_is_built_again(deployment: Deployment) -> None:
    receipt = log_records(deployment, [decision("d-kept", "run-kept")])
    path = deployment.config.parent / "index.db"
    inode = path.stat().st_ino
    for name in ("index.db", "index.db-wal", "index.db-shm"):
        (path.parent / name).unlink(missing_ok=True)

    def is_back() -> bool:
        if not path.exists() or path.stat().st_ino == inode:
            return False
        answer = get(deployment, "decisions/d-kept")
        return answer.status == 200 and answer.json["size"] >= receipt["size"]

    eventually(is_back)
    assert len(get(deployment, "decisions/d-kept").json["records"]) == 1


def test_the_index_is_that_of_a_naive_scan(deployment: Deployment) -> None:
    random = Random(3)
    records: list[bytes] = []
    while len(records) < 1500:
        record = tools.make_record(random)
        if record.producer == tools.PRODUCERS[0]:
            # Random records, as this deployment's gateway would log them.
            records.append(
                encode_record(record).replace(
                    f'"{record.producer}"'.encode(), f'"{GATEWAY}"'.encode()
                )
            )
    log_records(deployment, records)
    size = ask(f"{deployment.url}/readyz").json["published"]
    leaves = [get(deployment, f"entries/{index}").body for index in range(size)]
    for id_ in ("3", "7"):
        shown = [
            one["index"] for one in get(deployment, f"executions/{id_}?limit=1000").json["records"]
        ]
        assert shown == [
            index for index, record in tools.known_records(leaves) if _is_about_run(record, id_)
        ]


def _is_about_run(record: object, id_: str) -> bool:
    if isinstance(record, Edge):
        return any(
            (end.type, end.id, end.origin) == ("run", id_, None)
            for end in (record.from_, record.to)
        )
    if isinstance(record, Revocation):
        return record.target.execution == id_
    return getattr(record, "execution", None) == id_


def test_stops_restarts_and_contradictions(deployment: Deployment) -> None:
    """The child never outlives the log; an index that does not fit it is built again."""
    receipt = log_records(deployment, [decision("d-last", "run-last")])
    child = child_of(deployment)
    deployment.log.terminate()
    assert not is_alive(child)
    path = deployment.config.parent / "index.db"
    with sqlite3.connect(path) as db:
        (size,) = db.execute("SELECT size FROM state").fetchone()
        assert size >= receipt["size"]
        # As if it had followed another history.
        peaks = b"\x01" * 32 * size.bit_count()
        db.execute("UPDATE state SET peaks = ?1, pending_peaks = ?1", (peaks,))
        db.execute("DELETE FROM posting")
    db.close()
    deployment.start_log()
    more = log_records(deployment, [decision("d-more", "run-more")])
    assert "the index contradicts the log" in deployment.log.stderr
    assert get(deployment, "decisions/d-last").json["records"]
    child = child_of(deployment)
    os.kill(deployment.log.pid, signal.SIGKILL)
    eventually(lambda: not is_alive(child))
    deployment.log.kill()
    deployment.start_log()
    indexed(deployment, more["size"])


def test_a_log_without_an_index(deployment: Deployment) -> None:
    deployment.log.terminate()
    text = deployment.config.read_text()
    try:
        off = "\n[index]\nenabled = false\n"
        has_table = "\n[index]\n" in text  # a cluster's has
        deployment.config.write_text(text.replace("\n[index]\n", off) if has_table else text + off)
        deployment.start_log()
        get(deployment, "decisions/d-1").problem(404, "index-disabled")
        assert "index" not in ask(f"{deployment.url}/readyz").json
        assert not processes.children_of(deployment.log.pid, INDEXER)
    finally:
        deployment.log.terminate()
        deployment.config.write_text(text)
        deployment.start_log()
