"""A cluster's addenda with real processes: erased by command and schedule, killed at any moment."""

import contextlib
import http.client
import json
import random
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

import engines
import processes
from log_deployment import (
    PUBLISHED,
    Cluster,
    Deployment,
    Stream,
    ask,
    audit_addenda,
    deployed,
    erase,
    leaves_of,
    start_log,
)
from muniment.records.addenda import addendum_path
from muniment.records.batchbody import join_body
from muniment_log.cluster.addendaobjects import ARRIVING, GONE
from processes import muniment_log
from waiting import eventually
from withholding import POINTER, digest_of, withheld

ROUNDS = 4
LEASE_SECONDS = 2.0


@pytest.fixture
def made(database: str, bucket: engines.Bucket, tmp_path: Path) -> Iterator[Deployment]:
    """A cluster in one process that gives addenda to everybody, with its witnesses."""
    with deployed(tmp_path, Cluster(database, bucket)) as deployment:
        deployment.log.terminate()
        text = deployment.config.read_text().replace('database = "index.db"', "enabled = false")
        text = text.replace("lease_seconds = 6.0", f"lease_seconds = {LEASE_SECONDS}")
        deployment.config.write_text(f"{text}\n[read]\nopen_addenda = true\n")
        deployment.start_log()
        yield deployment


def objects(made: Deployment, *prefixes: str) -> dict[str, bytes]:
    """All that the bucket holds, or what is below some prefixes."""
    given = made.cluster.bucket.environment
    store = S3Store(
        made.cluster.bucket.name,
        endpoint=given["AWS_ENDPOINT_URL"],
        access_key_id=given["AWS_ACCESS_KEY_ID"],
        secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
        region=given["AWS_REGION"],
        client_options={"allow_http": True},
    )
    found = {}
    for page in (page for prefix in prefixes or ("",) for page in obstore.list(store, prefix)):
        for meta in page:
            with contextlib.suppress(FileNotFoundError):  # gone by now
                found[meta["path"]] = bytes(obstore.get(store, meta["path"]).bytes())
    return found


def holding(made: Deployment, data: bytes) -> list[str]:
    secret = json.loads(data)["value"].encode()
    return sorted(path for path, held in objects(made).items() if secret in held)


def settled(made: Deployment) -> int:
    """The size of the published tree, when it has all that was ordered and nothing is erasing."""

    def is_done() -> bool:
        told = ask(f"{made.url}/readyz").json
        return bool(told["published"] == told["cluster"]["ordered"])

    eventually(is_done)
    return ask(f"{made.url}/readyz").json["published"]


def test_erased_bytes_are_nowhere_in_the_bucket_and_never_were_in_the_database(
    made: Deployment, postgres_server: engines.PostgreSQL
) -> None:
    mine = [withheld(number, kept="log") for number in range(3)]
    other, its = withheld(0, "bob", kept="log")
    body = join_body(
        made.stream().take([*(one for one, _ in mine), other]), [*(data for _, data in mine), its]
    )
    first = made.post(body, PUBLISHED).json["first"]
    assert holding(made, its) == [addendum_path(digest_of(its))]

    listed = erase(made, "--subject", "user", "alice", "--dry-run")
    assert sorted(listed.stdout.splitlines()) == sorted(
        f"{digest_of(data)}  {POINTER}  record {first + number}  {len(data)} bytes"
        for number, (_, data) in enumerate(mine)
    ), listed.stderr
    done = erase(made, "--subject", "user", "alice", "--reason", "asked for", "--yes")
    assert done.returncode == 0, done.stderr
    assert "Erased 3 addenda" in done.stdout
    assert "held by the bucket" not in done.stdout
    for _, data in mine:
        assert holding(made, data) == []
        assert ask(f"{made.url}/{addendum_path(digest_of(data))}").problem(410, "erased")
        files = [path for path in postgres_server.data.rglob("*") if path.is_file()]
        secret = json.loads(data)["value"].encode()
        assert not [path for path in files if secret in path.read_bytes()]
    assert made.post(body).json["first"] == first
    assert holding(made, mine[0][1]) == []
    assert ask(f"{made.url}/{addendum_path(digest_of(its))}").body == its

    told = json.loads(processes.run(muniment_log("status", "--config", made.config)).stdout)
    [process] = told.values()
    assert process["addenda"] == {"addenda": 1, "bytes": len(its), "erased": 3, "erasing": 0}
    settled(made)
    audited = audit_addenda(made)
    assert audited.returncode == 0, audited.stdout + audited.stderr
    for arguments, reason in [
        (("--digest", digest_of(mine[0][1])), "keeps no addendum of this digest"),
        (("--record", first), "keeps no such addendum"),
    ]:
        done = erase(made, *arguments, "--yes")
        assert (done.returncode, reason in done.stderr) == (1, True), done.stderr


def test_whoever_leads_erases_by_schedule_and_by_command(
    made: Deployment, postgres_server: engines.PostgreSQL
) -> None:
    made.log.terminate()
    # As whoever was killed while it led leaves it.
    name = made.cluster.postgres.rpartition("/")[2]
    postgres_server.query("UPDATE lease SET holder = 'gone/1/ab', until = now()", name)
    with contextlib.ExitStack() as stack:
        frontend = stack.enter_context(start_log(made.config, made.cluster, "frontend"))
        (labelled, hr), (plain, kept) = withheld(1, "alice", "domain=hr"), withheld(2)
        body = join_body(made.stream().take([labelled, plain]), [hr, kept])
        # Durable before anybody leads; the frontend says when it may take records.

        def is_refused() -> bool:
            refused = erase(made, "--digest", digest_of(kept), "--yes")
            assert refused.returncode == 1, refused.stderr
            return "nobody does now" in refused.stderr

        eventually(is_refused)  # the lease of the one that ended may still be told
        for _ in range(2):
            stack.enter_context(start_log(made.config, made.cluster, "integrator"))
        eventually(lambda: ask(f"{frontend.url}/v1/batches", body).status == 200)
        text = made.config.read_text()
        text += '\n[[retention]]\nlabel = "domain"\nretain = "1s"\n'
        made.config.write_text(text + '[[retention]]\nlabel = "law"\nlegal_minimum = "9d"\n')
        path = f"{frontend.url}/{addendum_path(digest_of(hr))}"

        def is_gone() -> bool:
            processes.run(muniment_log("reload", "--config", made.config), code=0)
            return ask(path).status == 410

        eventually(is_gone)
        eventually(lambda: holding(made, hr) == [])
        assert ask(f"{frontend.url}/{addendum_path(digest_of(kept))}").body == kept
        done = erase(made, "--digest", digest_of(kept), "--yes")
        assert done.returncode == 0, done.stderr
        assert holding(made, kept) == []


class Gateway(threading.Thread):
    """Submits decisions that withhold, each until it has its receipt, to any frontend."""

    def __init__(self, urls: dict[str, str], stream: Stream, numbers: "count[int]") -> None:
        super().__init__(daemon=True)
        self.urls, self.stream, self.numbers = urls, stream, numbers
        self.receipts: list[tuple[int, list[bytes]]] = []
        self.failure = ""
        self.stopping = threading.Event()

    def run(self) -> None:
        dice = random.Random(self.stream.label)
        while not self.stopping.is_set() and not self.failure:
            pairs = [withheld(next(self.numbers), kept="log") for _ in range(dice.randint(1, 8))]
            body = join_body(
                self.stream.take([record for record, _ in pairs]), [data for _, data in pairs]
            )
            first = None
            deadline = time.monotonic() + 120
            while first is None and not self.failure:
                if time.monotonic() > deadline:
                    self.failure = "no receipt"
                with contextlib.suppress(OSError, http.client.HTTPException):
                    answer = ask(f"{dice.choice([*self.urls.values()])}/v1/batches", body)
                    if answer.status == 200:
                        first = answer.json["first"]
                    elif answer.status != 503:
                        self.failure = f"{answer.status} {answer.body!r}"
            self.stopping.wait(0.1)
            if first is not None:
                self.receipts.append((first, [data for _, data in pairs]))


def test_kills_at_any_time_lose_no_addendum_and_bring_none_back(made: Deployment) -> None:
    """kill -9 of frontends and integrators while they store, sweep and erase."""
    made.log.terminate()
    dice = random.Random(15)
    roles = {"f1": "frontend", "f2": "frontend", "i1": "integrator", "i2": "integrator"}
    running: dict[str, processes.Process] = {}
    urls: dict[str, str] = {}

    def begin(name: str) -> None:
        running[name] = start_log(made.config, made.cluster, roles[name])
        if roles[name] == "frontend":
            urls[name] = running[name].url

    numbers, erased = count(), set[bytes]()
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: [process.kill() for process in running.values()])
        for name in roles:
            begin(name)
        gateways = [Gateway(urls, made.stream(), numbers) for _ in range(2)]
        for gateway in gateways:
            gateway.start()
        for number in range(ROUNDS):
            before = sum(len(gateway.receipts) for gateway in gateways)
            eventually(
                lambda before=before: (
                    any(one.failure for one in gateways)
                    or sum(len(one.receipts) for one in gateways) > before + 4
                )
            )
            assert not [one.failure for one in gateways if one.failure]
            known = [data for one in gateways for _, some in one.receipts for data in some]
            some = dice.sample(known, min(len(known), 40))
            digests = [word for data in some for word in ("--digest", digest_of(data))]
            argv = muniment_log("erase", "--config", made.config, *digests, "--yes")
            victims = ["i1", "i2"] if number % 2 else [dice.choice(["f1", "f2"])]
            with processes.Process(argv) as command:
                time.sleep(dice.uniform(0.0, 1.2))
                for name in victims:
                    running[name].kill()
                for name in victims:
                    begin(name)
                if command.wait() == 0:
                    erased.update(some)
        for gateway in gateways:
            gateway.stopping.set()
        for gateway in gateways:
            gateway.join()
            assert not gateway.failure
        made.log = running["f1"]
        eventually(lambda: "f1" in urls and ask(f"{urls['f1']}/readyz").status == 200)
        known = [data for one in gateways for _, some in one.receipts for data in some]

        def is_quiet() -> bool:
            told = processes.run(muniment_log("status", "--config", made.config))
            parts = json.loads(told.stdout or "{}").values()
            return any(one.get("addenda", {}).get("erasing") == 0 for one in parts)

        eventually(is_quiet)
        probe = f"{ARRIVING}private"  # of a start before everybody might read
        eventually(
            lambda: (
                {path for path, held in objects(made, ARRIVING).items() if held != GONE} <= {probe}
            )
        )
        size = settled(made)
        leaves = leaves_of(made.url, size)
        named = [json.loads(leaf)["digests"] for leaf in leaves if b'"kind":"erasure"' in leaf]
        gone = {digest for digests in named for digest in digests}
        assert {digest_of(data) for data in erased} <= gone
        held = objects(made, "addenda/")
        for data in dice.sample(known, min(len(known), 150)):
            path = addendum_path(digest_of(data))
            answer = ask(f"{urls['f2']}/{path}")
            if digest_of(data) in gone:
                assert answer.status == 410
                assert held[path] == GONE
            else:
                assert (answer.status, answer.body) == (200, data)
                assert held[path] == data
        audited = audit_addenda(made)
        assert audited.returncode == 0, audited.stdout + audited.stderr
