"""Addenda over HTTP to a real log: sent with the records that name them, read again, disclosed."""

import asyncio
import hashlib
import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Literal
from urllib.parse import urlsplit

import pytest
from msgspec.structs import replace

import decisions
import processes
import signing
from log_deployment import (
    GATEWAY,
    ORIGIN,
    PRODUCER,
    PUBLISHED,
    TOKEN,
    Answer,
    Deployment,
    ask,
    cluster_for,
    deployed,
    run,
)
from log_load import withholding
from muniment.http.access import Access
from muniment.http.logclient import LogClient
from muniment.records.addenda import addendum_path, disclose, take_out
from muniment.records.batchbody import join_body
from muniment.records.canonical import encode_canonical
from muniment.records.codec import encode_record, parse_record
from muniment.records.commitments import MAX_ADDENDUM, addendum
from muniment.records.kinds import Decision
from muniment.records.manifest import MAX_BATCH_BYTES, NO_PREVIOUS, build_batch
from muniment_log.cli.exits import EXIT_DAMAGED
from muniment_log.core.matching import LEAST_PACKED
from processes import muniment_log
from waiting import SECONDS

READ_TOKEN = "for addenda"
LOG_TOKEN = "for the log"
ARGUMENTS = {"to": "alice@example.com", "text": "dear \u00e4lice " * 20}
RECORDS = decisions.decisions(300, producer=GATEWAY)
STRANGER = signing.log_signer("gw.example/stranger")


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture(scope="module", params=["sqlite", "cluster"])
def deployment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    with deployed(folder, cluster_for(request)) as made:
        with made.config.open("a") as file:
            for name, token, scope in [
                ("auditor", READ_TOKEN, '"log", "addenda"'),
                ("reader", LOG_TOKEN, '"log"'),
            ]:
                file.write(
                    f'[[read.token]]\nname = "{name}"\nsha256 = "{sha256_of(token)}"\n'
                    f"scopes = [{scope}]\n"
                )
        run(muniment_log("reload", "--config", made.config))
        yield made


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def withheld(number: int, kept: Literal["log"] | None = None) -> tuple[bytes, bytes]:
    """A record that withholds its arguments, and the addendum."""
    record = json.loads(RECORDS[number])
    record["request"]["context"] = {"arguments": ARGUMENTS}
    decision = parse_record(encode_canonical(record))
    assert isinstance(decision, Decision)
    logged, addenda = take_out(decision, ["/request/context/arguments"], lambda _: f"{number:032x}")
    [data] = addenda.values()
    return encode_record(replace(logged, kept=kept)), data


def read(deployment: Deployment, data: bytes, token: str | None = READ_TOKEN) -> Answer:
    path = addendum_path(hashlib.sha256(data).hexdigest())
    return ask(f"{deployment.url}/{path}", headers={} if token is None else bearing(token))


async def test_a_gateway_sends_them_and_an_auditor_discloses(deployment: Deployment) -> None:
    record, data = withheld(1)
    batch = deployment.stream().take([record])
    access = Access(token=READ_TOKEN)
    async with LogClient(deployment.url, access=access) as client:
        receipt = await client.submit_batch(batch, addenda=[data], published=20)
        again = await client.submit_batch(batch)
        assert (again.first, again.count) == (receipt.first, 1)
        leaf = await client.entry(receipt.first)
        logged = parse_record(leaf)
        assert isinstance(logged, Decision)
        assert "arguments" not in logged.request["context"]
        [digest] = logged.addenda.values()
        shown = disclose(logged, [await client.addendum(digest)])
    assert shown.disclosed == {"/request/context/arguments": ARGUMENTS}
    assert shown.withheld == ()


def test_reading_takes_a_token_of_its_scope(deployment: Deployment) -> None:
    record, data = withheld(2)
    assert deployment.post(join_body(deployment.stream().take([record]), [data])).status == 200
    answer = read(deployment, data)
    assert (answer.status, answer.body) == (200, data)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in answer.headers
    read(deployment, data, None).problem(401, "no-token")
    read(deployment, data, "guessed").problem(401, "bad-token")
    read(deployment, data, LOG_TOKEN).problem(403, "wrong-scope")
    read(deployment, b"unknown").problem(404, "no-addendum")
    digest = hashlib.sha256(data).hexdigest()
    for path in (digest, f"00/00/{digest}", f"{digest[:2]}/{digest[2:4]}/{digest.upper()}"):
        ask(f"{deployment.url}/addenda/{path}", headers=bearing(READ_TOKEN)).problem(
            404, "not-found"
        )


def test_what_no_record_of_the_batch_names_is_refused_with_its_number(
    deployment: Deployment,
) -> None:
    stream = deployment.stream()
    (record, data), (other, foreign) = withheld(3), withheld(4)
    body = stream.peek([record, other])
    for addenda, number in [
        ([data, addendum("f" * 32, 1)], 1),
        ([foreign, data, data], 2),
        ([data, data + b" "], 1),
    ]:
        told = deployment.post(join_body(body, addenda)).problem(422, "bad-addendum")
        assert told["addendum"] == number
        assert told["detail"].startswith(f"addendum {number}: ")
    for section, number in [(b"\0\0\0\5abc", 0), (b"\0\0\0\0", 0)]:
        told = deployment.post(body + section).problem(422, "bad-addendum")
        assert told["addendum"] == number
    too_long = (MAX_ADDENDUM + 1).to_bytes(4, "big") + bytes(MAX_ADDENDUM + 1)
    told = deployment.post(body + too_long).problem(422, "bad-addendum")
    assert told["detail"] == f"addendum 0: {MAX_ADDENDUM + 1} bytes; at most {MAX_ADDENDUM}"
    read(deployment, data).problem(404, "no-addendum")  # nothing of it was kept
    assert deployment.post(join_body(stream.take([record, other]), [foreign, data])).status == 200
    assert read(deployment, foreign).body == foreign


def test_what_is_refused_for_its_place_leaves_nothing(deployment: Deployment) -> None:
    stream = deployment.stream()
    assert deployment.post(stream.take([withheld(5)[0]])).status == 200
    record, data = withheld(6)
    conflicting = build_batch(ORIGIN, deployment.signer, stream.label, 0, NO_PREVIOUS, [record])
    deployment.post(join_body(conflicting.body, [data])).problem(409, "stream-conflict")
    record, kept = withheld(7)
    assert deployment.post(join_body(stream.take([record]), [kept])).status == 200
    read(deployment, data).problem(404, "no-addendum")
    assert read(deployment, kept).body == kept


def test_a_record_that_says_the_log_keeps_them_is_taken_only_with_them(
    deployment: Deployment,
) -> None:
    stream = deployment.stream()
    record, data = withheld(8, kept="log")
    told = deployment.post(stream.peek([record])).problem(422, "missing-addendum")
    assert (told["entry"], told["digest"]) == (0, hashlib.sha256(data).hexdigest())
    batch = stream.take([record])
    assert deployment.post(join_body(batch, [data])).status == 200
    assert deployment.post(batch).status == 200  # a retry need not have them


def test_a_long_one_is_taken(deployment: Deployment) -> None:
    data = addendum("9" * 32, "x" * (MAX_ADDENDUM - 55))
    assert len(data) == MAX_ADDENDUM
    members = json.loads(RECORDS[9])
    members["request"]["context"] = {}
    members["addenda"] = {"/request/context/prompt": hashlib.sha256(data).hexdigest()}
    record = encode_canonical(members)
    answer = deployment.post(join_body(deployment.stream().take([record]), [data]))
    assert answer.status == 200, answer.body
    assert read(deployment, data).body == data


def test_more_than_a_batch_is_read_only_for_a_known_gateway(deployment: Deployment) -> None:
    """What a stranger sends behind a batch is not even received."""
    record, _ = withheld(10)
    batch = build_batch(ORIGIN, STRANGER, "s", 0, NO_PREVIOUS, [record]).body
    parts = urlsplit(deployment.url)
    assert parts.hostname is not None
    assert parts.port is not None
    with socket.create_connection((parts.hostname, parts.port), timeout=SECONDS) as line:
        line.sendall(
            b"POST /v1/batches HTTP/1.1\r\nHost: log\r\n"
            b"Content-Length: %d\r\n\r\n" % (2 * MAX_BATCH_BYTES)
        )
        line.sendall(batch + bytes(MAX_BATCH_BYTES + (1 << 20) - len(batch)))
        assert b" 403 " in line.recv(1000).split(b"\r\n")[0]


def post_records(deployment: Deployment, body: object) -> Answer:
    headers = {"Content-Type": "application/json", **bearing(TOKEN)}
    # Entries are read of what is published.
    url = f"{deployment.url}/v1/records{PUBLISHED}"
    return ask(url, json.dumps(body).encode(), headers)


def test_a_client_with_a_token_sends_them_as_json(deployment: Deployment) -> None:
    value = {"b": 1, "a": ["\u00e4", None]}
    data = addendum("a" * 32, value)
    evaluation = {
        "request": {
            "subject": {"type": "user", "id": "alice"},
            "action": {"name": "read"},
            "resource": {"type": "document", "id": "1"},
            "context": {},
        },
        "response": {"decision": True},
        "addenda": {"/request/context/arguments": hashlib.sha256(data).hexdigest()},
        "kept": "log",
    }
    told = post_records(deployment, {"records": [evaluation]}).problem(422, "missing-addendum")
    assert told["entry"] == 0
    sent = {"value": value, "nonce": "a" * 32}
    answer = post_records(deployment, {"records": [evaluation], "addenda": [sent]})
    assert answer.status == 200, answer.body
    assert read(deployment, data).body == data
    other = {"value": value, "nonce": "b" * 32}
    for addenda, number in [
        ([sent, other], 1),
        ([{"nonce": "A", "value": 1}], 0),
        ([sent, {"value": 1}], 1),
        ([sent, "text"], 1),
    ]:
        told = post_records(deployment, {"records": [evaluation], "addenda": addenda}).problem(
            422, "bad-addendum"
        )
        assert told["addendum"] == number, told
    post_records(deployment, {"records": evaluation, "addenda": []}).problem(400, "malformed")
    # As ever, without.
    assert post_records(deployment, [{**evaluation, "kept": None}]).json["count"] == 1
    entry = ask(f"{deployment.url}/v1/entries/{answer.json['first']}", headers=bearing(LOG_TOKEN))
    assert entry.json["producer"] == PRODUCER


def test_a_log_may_be_open_and_keeps_them_when_it_starts_again(deployment: Deployment) -> None:
    record, data = withheld(11)
    assert deployment.post(join_body(deployment.stream().take([record]), [data])).status == 200
    text = deployment.config.read_text()
    deployment.config.write_text(
        text.replace("\n[[read.token]]", "\n[read]\nopen_addenda = true\n[[read.token]]", 1)
    )
    deployment.log.terminate()
    deployment.start_log()
    try:
        answer = read(deployment, data, None)
        assert (answer.status, answer.body) == (200, data)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    finally:
        deployment.config.write_text(text)
        run(muniment_log("reload", "--config", deployment.config))
    read(deployment, data, None).problem(401, "no-token")
    if deployment.cluster is None:
        with closing(sqlite3.connect(deployment.folder / "log" / "addenda.db")) as db:
            assert db.execute("SELECT count(*) FROM arriving").fetchone() == (0,)


def test_many_at_once_are_all_there(deployment: Deployment) -> None:
    streams = [deployment.stream() for _ in range(8)]
    batches = [[withheld(100 + 20 * number + place) for place in range(20)] for number in range(8)]

    async def post_all() -> list[Answer]:
        return await asyncio.gather(
            *(
                asyncio.to_thread(
                    deployment.post,
                    join_body(
                        stream.take([record for record, _ in batch]), [data for _, data in batch]
                    ),
                )
                for stream, batch in zip(streams, batches, strict=True)
            )
        )

    assert {answer.status for answer in asyncio.run(post_all())} == {200}
    for _, data in batches[0] + batches[7]:
        assert read(deployment, data).body == data


def test_what_is_rotten_is_not_read_as_something_else(deployment: Deployment) -> None:
    if deployment.cluster is not None:
        pytest.skip("what is stored in a cluster is not in this file")
    told = json.loads(RECORDS[0])
    usual = {name: told[name] for name in ("v", "kind", "time", "producer")} | {
        "request": decisions.request("alice", "read", ("document", "1"), kind="user"),
        "response": {"decision": True},
    }
    plain = [encode_canonical(usual | {"id": f"rotten-{n}"}) for n in range(LEAST_PACKED)]
    stream = deployment.stream()
    alone, together = (
        withholding(plain[:number], number << 32) for number in (LEAST_PACKED - 1, LEAST_PACKED)
    )
    for batch in (alone, together):
        assert deployment.post(join_body(stream.take(batch[0]), batch[1])).status == 200
    deployment.log.terminate()
    one, two, three = alone[1][0], *together[1][:2]
    is_one = f"WHERE digest = x'{hashlib.sha256(one).hexdigest()}'"
    is_two = f"WHERE substr(digests, 1, 32) = x'{hashlib.sha256(two).hexdigest()}'"
    file = deployment.config.with_name("addenda.db")
    with closing(sqlite3.connect(file)) as db, db:
        [(ends,)] = db.execute(f"SELECT ends FROM pack {is_two}")
        assert db.execute(f"UPDATE addendum SET data = x'00' {is_one}").rowcount == 1
        # The first now ends where the second does.
        db.execute(f"UPDATE pack SET ends = ? {is_two}", (ends[8:16] + ends[8:],))
    deployment.start_log()
    for data in (one, two, three):
        problem = read(deployment, data).problem(500, "damaged-addendum")
        assert "muniment-log check" in problem["detail"]
    for data in (*alone[1][1:], *together[1][2:]):
        assert read(deployment, data).body == data
    deployment.log.terminate()
    with closing(sqlite3.connect(file)) as db, db:
        db.execute(f"UPDATE addendum SET data = ? {is_one}", (one,))
        db.execute(f"UPDATE pack SET ends = ? {is_two}", (ends,))
    deployment.start_log()
    assert [read(deployment, data).body for data in (one, two, three)] == [one, two, three]


def test_a_check_finds_what_is_missing_or_rotten(deployment: Deployment) -> None:
    if deployment.cluster is not None:
        pytest.skip("cluster/test_addenda_moved.py has the one of a cluster")
    record, data = withheld(290, kept="log")
    receipt = deployment.post(join_body(deployment.stream().take([record]), [data])).json
    deployment.log.terminate()
    check = muniment_log("check", "--config", deployment.config)
    file = deployment.config.with_name("addenda.db")
    try:
        assert processes.run(check).returncode == 0
        digest = hashlib.sha256(data).digest()
        for statement, told in [
            ("UPDATE addendum SET data = x'00' WHERE digest = ?", "other bytes than those of its"),
            (
                "DELETE FROM addendum WHERE digest = ?",
                f"missing; leaf {receipt['first']} says that the log has it",
            ),
        ]:
            with closing(sqlite3.connect(file)) as db, db:
                db.execute(statement, (digest,))
            done = processes.run(check, code=EXIT_DAMAGED)
            assert f"damaged addendum: {digest.hex()}: {told}" in done.stdout
            assert f"{file}: damaged" in done.stderr
        assert processes.run([*check, "--quick"]).returncode == 0
        file.rename(file.with_suffix(".away"))
        done = processes.run(check, code=EXIT_DAMAGED)
        assert "missing, with all of addenda.db" in done.stdout
    finally:
        file.with_suffix(".away").rename(file)
        deployment.start_log()
