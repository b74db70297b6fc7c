"""The log as a real process with real witnesses: every endpoint, every refusal."""

import asyncio
import gzip
import json
from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

import decisions
import rfc6962
import signing
from log_deployment import (
    GATEWAY,
    ORIGIN,
    PRODUCER,
    PUBLISHED,
    TOKEN,
    Answer,
    Deployment,
    Stream,
    ask,
    cluster_for,
    deployed,
    start_fails,
    workers_for,
)
from muniment.records.manifest import MAX_BATCH_BYTES, MAX_BATCH_RECORDS, NO_PREVIOUS, build_batch
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.encoding import format_base64, frame, parse_base64, unframe
from muniment.tlog.note import Ed25519Signer
from muniment.tlog.proofs import verify_consistency, verify_inclusion
from muniment.tlog.tlogproof import parse_tlog_proof, verify_tlog_proof
from muniment_log.config import load
from muniment_log.core.budgets import Budgets
from muniment_log.http.access import AccessControl
from muniment_log.http.api import build
from muniment_log.http.openapi import PATHS, document
from muniment_service.metrics import Metrics
from waiting import eventually


@pytest.fixture(scope="module", params=["sqlite", "workers", "cluster"])
def deployment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    with deployed(folder, cluster_for(request), workers=workers_for(request)) as made:
        yield made


RECORDS = decisions.decisions(700, producer=GATEWAY)


def test_a_batch_is_published_with_proofs_that_verify(deployment: Deployment) -> None:
    stream = deployment.stream()
    body = stream.take(RECORDS[:300])
    answer = deployment.post(body, PUBLISHED)
    assert answer.status == 200, answer.body
    receipt = answer.json
    assert receipt["count"] == 300
    assert receipt["manifest"] == receipt["first"] + 300
    assert receipt["size"] == receipt["manifest"] + 1
    published = receipt["published"]
    cosigned = deployment.policy.verify(published["checkpoint"].encode(), origin=ORIGIN)
    assert len(cosigned.log_keys) == 2
    for number in (0, 7, 299):
        proof = [parse_base64(text, "proof") for text in published["proofs"][number]]
        leaf = rfc6962.HASH(b"\x00" + RECORDS[number])
        index = receipt["first"] + number
        verify_inclusion(leaf, index, cosigned.size, proof, cosigned.root)
    # A retry gets the first receipt.
    again = deployment.post(body).json
    assert again == {key: receipt[key] for key in ("first", "count", "manifest", "size")}


def test_a_tlog_proof_verifies_offline(deployment: Deployment) -> None:
    receipt = deployment.post(deployment.stream().take(RECORDS[:9]), PUBLISHED).json
    for index in (receipt["first"], receipt["first"] + 8, receipt["manifest"]):
        entry = ask(f"{deployment.url}/v1/entries/{index}")
        assert entry.status == 200
        assert entry.headers["Muniment-Leaf-Index"] == str(index)
        answer = ask(f"{deployment.url}/v1/proofs/inclusion?index={index}")
        assert answer.headers["Content-Type"].startswith("text/plain")
        verify_tlog_proof(parse_tlog_proof(answer.body), entry.body, deployment.policy)
    kinds = [
        ask(f"{deployment.url}/v1/entries/{index}").headers["Content-Type"]
        for index in (receipt["first"], receipt["manifest"])
    ]
    assert kinds == ["application/json", "text/plain; charset=utf-8"]


def test_c2sp_reads_make_the_whole_tree(deployment: Deployment) -> None:
    deployment.post(deployment.stream().take(RECORDS[:600]), PUBLISHED)
    answer = ask(f"{deployment.url}/checkpoint")
    # tlog-tiles, Checkpoints: "with Content-Type: text/plain; charset=utf-8".
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "max-age=1" in answer.headers["Cache-Control"]
    again = ask(f"{deployment.url}/checkpoint", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status in {200, 304}
    checkpoint = parse_signed_checkpoint(answer.body).checkpoint
    entries: list[bytes] = []
    for index in range((checkpoint.size + 255) // 256):
        width = min(256, checkpoint.size - 256 * index)
        suffix = "" if width == 256 else f".p/{width}"
        plain = ask(f"{deployment.url}/tile/entries/{index:03}{suffix}")
        # tlog-tiles: "with Content-Type: application/octet-stream", "SHOULD be long-lived".
        assert plain.headers["Content-Type"] == "application/octet-stream"
        assert "immutable" in plain.headers["Cache-Control"]
        assert "Content-Encoding" not in plain.headers
        # tlog-tiles: "Entry bundles SHOULD be compressed at the HTTP layer".
        for _ in range(2):  # compressed for the first reader, kept for the next
            packed = ask(
                f"{deployment.url}/tile/entries/{index:03}{suffix}",
                headers={"Accept-Encoding": "br, gzip"},
            )
            if len(plain.body) > 1024:
                assert packed.headers["Content-Encoding"] == "gzip"
                assert gzip.decompress(packed.body) == plain.body
                assert packed.headers["ETag"] != plain.headers["ETag"]
        bundle = unframe(plain.body)
        entries += bundle
        tile = ask(f"{deployment.url}/tile/0/{index:03}{suffix}")
        assert tile.body == b"".join(rfc6962.HASH(b"\x00" + entry) for entry in bundle)
        assert tile.headers["Content-Type"] == "application/octet-stream"
        cached = ask(
            f"{deployment.url}/tile/0/{index:03}{suffix}",
            headers={"If-None-Match": tile.headers["ETag"]},
        )
        assert cached.status == 304
    assert len(entries) == checkpoint.size
    assert rfc6962.MTH(entries) == checkpoint.root
    full = checkpoint.size // 256
    top = ask(f"{deployment.url}/tile/1/000.p/{full}")
    assert top.body == b"".join(rfc6962.MTH(entries[256 * i : 256 * i + 256]) for i in range(full))
    # A partial tile of a smaller tree is still a prefix.
    part = ask(f"{deployment.url}/tile/entries/000.p/3")
    assert unframe(part.body) == entries[:3]
    for old in (1, 255, 256, checkpoint.size - 1):
        found = ask(f"{deployment.url}/v1/proofs/consistency?from={old}&to={checkpoint.size}").json
        proof = [parse_base64(text, "proof") for text in found["proof"]]
        verify_consistency(old, rfc6962.MTH(entries[:old]), checkpoint.size, checkpoint.root, proof)
        one = ask(
            f"{deployment.url}/v1/proofs/inclusion?index=0&size={old}",
            headers={"Accept": "application/json"},
        ).json
        assert one["root"] == format_base64(rfc6962.MTH(entries[:old]))
        path = [parse_base64(text, "proof") for text in one["proof"]]
        assert path == rfc6962.PATH(0, entries[:old])
        assert one["leaf_hash"] == format_base64(rfc6962.HASH(b"\x00" + entries[0]))


def test_nothing_beyond_the_published_tree(deployment: Deployment) -> None:
    deployment.post(deployment.stream().take(RECORDS[:2]), PUBLISHED)
    size = parse_signed_checkpoint(ask(f"{deployment.url}/checkpoint").body).checkpoint.size
    for path in (
        f"/tile/0/{size // 256:03}.p/{size % 256 + 1}",
        f"/tile/entries/{size // 256:03}",
        "/tile/0/x001/000",
        "/tile/5/000",
        "/tile/63/000.p/1",
        f"/v1/entries/{size}",
        f"/v1/proofs/inclusion?index={size}",
        f"/v1/proofs/inclusion?index=0&size={size + 1}",
        f"/v1/proofs/consistency?from=0&to={size + 1}",
    ):
        problem = ask(deployment.url + path).problem(404, "not-published-yet")
        assert problem["published"] == size


def test_records_with_a_token(deployment: Deployment) -> None:
    plain = {
        "request": decisions.request("alice", "read", ("doc", "1"), kind="user"),
        "response": {"decision": False},
    }
    auth = {"Authorization": f"Bearer {TOKEN}"}
    url = f"{deployment.url}/v1/records"
    text = json.dumps(plain).encode()
    for kind, body, count in (
        ("application/json", text, 1),
        ("application/json; charset=utf-8", json.dumps([plain] * 3).encode(), 3),
        ("application/x-ndjson", b"\n".join([text] * 2) + b"\n\n", 2),
    ):
        last = ask(url + PUBLISHED, body, {**auth, "Content-Type": kind}).json
        assert last["count"] == count
    entry = ask(f"{deployment.url}/v1/entries/{last['first'] + 1}").json
    assert entry["producer"] == PRODUCER
    assert entry["kind"] == "decision"
    manifest = ask(f"{deployment.url}/v1/entries/{last['manifest']}").body.decode()
    label = manifest.split("\n")[2].split(" ")[1]
    assert label.startswith("token:")
    # Visibly not signed by a gateway: the signature is the log's.
    assert f"— {ORIGIN} " in manifest
    state = ask(f"{deployment.url}/v1/streams/{PRODUCER}/{label}").json
    assert state["next"] == 6


def test_where_a_stream_continues(deployment: Deployment) -> None:
    stream = deployment.stream()
    for name in (GATEWAY, "gw.example%2Fedge"):
        fresh = ask(f"{deployment.url}/v1/streams/{name}/{stream.label}").json
        assert fresh == {
            "gateway": GATEWAY,
            "stream": stream.label,
            "next": 0,
            "manifest": format_base64(bytes(32)),
            "origin": ORIGIN,
        }
    deployment.post(stream.take(RECORDS[:4]))
    state = ask(f"{deployment.url}/v1/streams/{GATEWAY}/{stream.label}").json
    assert state["next"] == 4
    assert state["manifest"] == format_base64(stream.previous)
    ask(f"{deployment.url}/v1/streams/other.example/main").problem(404, "unknown-gateway")
    ask(f"{deployment.url}/v1/streams/main").problem(404, "unknown-gateway")
    ask(f"{deployment.url}/v1/streams/{GATEWAY}/%20").problem(400, "malformed")
    ask(f"{deployment.url}/v1/streams/%FF/main").problem(400, "malformed")


def test_streams_are_exactly_once_over_http(deployment: Deployment) -> None:
    stream = deployment.stream()
    fork = Stream(stream.label, stream.signer)
    first = deployment.post(stream.take(RECORDS[:3]))
    conflict = deployment.post(fork.take(RECORDS[3:6])).problem(409, "stream-conflict")
    assert conflict["first"] == 0
    stream.take(RECORDS[:1])
    gap = deployment.post(stream.take(RECORDS[:1])).problem(409, "stream-gap")
    assert gap["expected"] == 3
    assert first.status == 200


def other(name: str) -> Ed25519Signer:
    return Ed25519Signer(name, signing.ed25519("somebody else"))


def bad_batches(deployment: Deployment) -> dict[str, tuple[bytes, int, str]]:
    good = deployment.stream().peek(RECORDS[:2])

    def batch(records: list[bytes], **how: Any) -> bytes:
        said = {"origin": ORIGIN, "by": deployment.signer, "label": "bad"} | how
        return build_batch(*said.values(), 0, NO_PREVIOUS, records).body

    def mangled(old: bytes, new: bytes) -> bytes:
        return batch([RECORDS[0], RECORDS[1].replace(old, new)])

    deep = b'{"a":' * 70 + b"1" + b"}" * 70
    return {
        "empty": (b"", 400, "malformed-batch"),
        "truncated": (good[:-1], 400, "malformed-batch"),
        "no manifest": (frame(RECORDS[:2]), 400, "malformed-batch"),
        "another root": (good.replace(b'"kind"', b'"kinD"', 1), 400, "malformed-batch"),
        "token label": (batch(RECORDS[:1], label="token:x"), 400, "malformed-batch"),
        "another log": (batch(RECORDS[:1], origin="log.example/other"), 403, "wrong-log"),
        "unknown gateway": (batch(RECORDS[:1], by=other("gw.example/x")), 403, "unknown-gateway"),
        "wrong key": (batch(RECORDS[:1], by=other(GATEWAY)), 403, "bad-signature"),
        "white space": (mangled(b'"kind":', b'"kind": '), 422, "bad-record"),
        "duplicate member": (mangled(b'"v":1}', b'"v":1,"v":1}'), 422, "bad-record"),
        "unknown member": (mangled(b'"v":1}', b'"v":1,"z":1}'), 422, "bad-record"),
        "float": (mangled(b'"v":1}', b'"v":1.0}'), 422, "bad-record"),
        "producer": (mangled(GATEWAY.encode(), b"gw.example/other"), 422, "bad-record"),
        "not json": (batch([RECORDS[0], b"{"]), 422, "bad-record"),
        "too deep": (batch([RECORDS[0], deep]), 422, "bad-record"),
        "too large": (b"x" * (MAX_BATCH_BYTES + 1), 413, "too-large"),
    }


def test_bad_batches_each_have_their_problem(deployment: Deployment) -> None:
    size = ask(f"{deployment.url}/readyz").json["integrated"]
    for name, (body, status, slug) in bad_batches(deployment).items():
        problem = deployment.post(body).problem(status, slug)
        if slug == "bad-record":
            assert problem["entry"] == 1, name
    assert ask(f"{deployment.url}/readyz").json["integrated"] == size


def test_bad_records_each_have_their_problem(deployment: Deployment) -> None:
    url = f"{deployment.url}/v1/records"
    json_type = {"Content-Type": "application/json"}
    auth = {"Authorization": f"Bearer {TOKEN}", **json_type}
    good = json.dumps(
        {
            "request": decisions.request("a", "r", ("d", "1"), kind="u"),
            "response": {"decision": True},
        }
    ).encode()
    answer = ask(url, good, json_type)
    answer.problem(401, "no-token")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    ask(url, good, {**json_type, "Authorization": "Basic x"}).problem(401, "no-token")
    ask(url, good, {**json_type, "Authorization": "Bearer x"}).problem(401, "bad-token")
    ask(url, good, {**auth, "Content-Type": "text/plain"}).problem(415, "content-type")
    for body in (b"{", b"[]", b"\xff", b'{"v":1,"v":1}'):
        ask(url, body, auth).problem(400, "malformed")
    foreign = good[:-1] + b',"producer":"somebody.else"}'
    for body in (b"[" * 5000, b"[{" + b"[" * 5000, b"{}", foreign):
        ask(url, body, auth).problem(422, "bad-record")
    lines = {**auth, "Content-Type": "application/x-ndjson"}
    for body, kind in (b"[" + good + b",{}]", auth), (good + b"\nnope\n", lines):
        assert ask(url, body, kind).problem(422, "bad-record")["entry"] == 1
    ask(url, b"\n\n", lines).problem(400, "malformed")
    many = b"[" + b",".join([b"{}"] * (MAX_BATCH_RECORDS + 1)) + b"]"
    assert ask(url, many, auth).status in {413, 422}
    ask(url, b"x" * (MAX_BATCH_BYTES + 1), auth).problem(413, "too-large")
    ask(url + "?wait=never", good, auth).problem(400, "bad-query")


BAD_READS = {
    (404, "not-found"): "/nothing",
    (400, "malformed"): """
        /tile/ /tile/0/0 /tile/0/000.p/0 /tile/0/000.p/256 /tile/64/000 /tile/00/000
        /tile/0/x000/000 /v1/entries/ /v1/entries/+1 /v1/entries/01 /v1/entries/%31
        /v1/entries/99999999999999999999
    """,
    (400, "bad-query"): """
        /tile/0/000?x=1 /v1/proofs/inclusion /v1/proofs/inclusion?index=x
        /v1/proofs/inclusion?index=1&index=2 /v1/proofs/inclusion?index=1&color=red
        /v1/proofs/inclusion?index=1&size=1 /v1/proofs/consistency?from=1
        /v1/proofs/consistency?from=2&to=1
    """,
    (404, "no-checkpoint"): "/v1/proofs/inclusion?index=0&size=1",
    (405, "method-not-allowed"): "/v1/batches",
}


@pytest.mark.parametrize(
    ("path", "status", "slug"),
    [(path, *said) for said, paths in BAD_READS.items() for path in paths.split()],
)
def test_bad_reads(deployment: Deployment, path: str, status: int, slug: str) -> None:
    deployment.post(deployment.stream().take(RECORDS[:2]), PUBLISHED)
    ask(deployment.url + path).problem(status, slug)


@pytest.mark.parametrize(
    "query",
    ["?wait=", "?wait=integrated", "?timeout=1", "?wait=published&timeout=61",
     "?wait=published&timeout=-1", "?wait=published&timeout=1e1", "?wait=published&timeout=nan",
     "?wait=published&wait=published", "?x=1"],
)  # fmt: skip
def test_bad_waiting(deployment: Deployment, query: str) -> None:
    deployment.post(deployment.stream().peek(RECORDS[:1]), query).problem(400, "bad-query")


def healthy(url: str) -> dict[str, Any]:
    """What readiness says when all is well; a slow machine may have kept a witness too long."""
    answers: list[Answer] = []

    def is_ready() -> bool:
        answers.append(ask(f"{url}/readyz"))
        return answers[-1].status == 200

    eventually(is_ready, lambda: answers[-1].body)
    return answers[-1].json


def test_operations(deployment: Deployment) -> None:
    assert ask(f"{deployment.url}/healthz").json == {"status": "ok"}
    # An integrator tells frontends of its witnesses, from time to time.
    eventually(lambda: bool(healthy(deployment.url)["witnesses"]))
    ready = healthy(deployment.url)
    assert ready["status"] == "ready"
    assert {witness["error"] for witness in ready["witnesses"]} == {None}
    metrics = ask(f"{deployment.url}/metrics").body.decode()
    for name in ("integrated_size", "published_size", "commit_seconds_count", "witness_size"):
        assert f"muniment_log_{name}" in metrics
    assert ask(f"{deployment.url}/checkpoint", method="HEAD").body == b""
    assert ORIGIN in ask(f"{deployment.url}/").body.decode()


def test_the_openapi_document_is_complete_and_true(deployment: Deployment) -> None:
    shown = ask(f"{deployment.url}/openapi.json").json
    config = load(deployment.config)
    unasked: Any = SimpleNamespace(published=None)  # no handler is called
    app = build(
        access=AccessControl(config.admission),
        budgets=Budgets(),
        sequencer=unasked,
        publisher=unasked,
        tiles=unasked,
        addenda=unasked,
        metrics=Metrics("test"),
    )
    routes = {(method.lower(), path) for method, path in app.routes}
    prefixed = {(method, path[:-1]) for method, path in routes if path.endswith("*")}
    routed = {(method, path) for method, path in routes if not path.endswith("*")}
    documented = {(method, path) for path, item in PATHS.items() for method in item}
    assert {pair for pair in documented if "{" not in pair[1]} == routed
    assert {(m, p[: p.index("{")]) for m, p in documented if "{" in p} == prefixed
    assert shown["paths"].keys() == PATHS.keys()
    assert shown["info"]["title"] == document(ORIGIN, "0")["info"]["title"]
    # The answers are what the schemas say.
    receipt = deployment.post(deployment.stream().take(RECORDS[:2]), PUBLISHED).json
    base = deployment.url
    index = receipt["first"]
    json_only = {"Accept": "application/json"}
    for name, value in {
        "Receipt": receipt,
        "Stream": ask(f"{base}/v1/streams/{GATEWAY}/main").json,
        "Inclusion": ask(f"{base}/v1/proofs/inclusion?index={index}", headers=json_only).json,
        "Consistency": ask(f"{base}/v1/proofs/consistency?from=1&to=2").json,
        "Health": healthy(base),
        "Problem": ask(f"{base}/nothing").json,
    }.items():
        schema = {"$ref": f"#/components/schemas/{name}", "components": shown["components"]}
        jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)


def test_many_gateways_at_once(deployment: Deployment) -> None:
    streams = [deployment.stream() for _ in range(8)]

    async def all_of_them() -> list[Answer]:
        return await asyncio.gather(
            *(
                asyncio.to_thread(deployment.post, stream.take(RECORDS[:50]))
                for stream in streams
                for _ in range(3)
            )
        )

    answers = asyncio.run(all_of_them())
    assert {answer.status for answer in answers} == {200}
    firsts = sorted(answer.json["first"] for answer in answers)
    assert all(b - a == 51 for a, b in pairwise(firsts))


def test_two_processes_on_one_database(deployment: Deployment) -> None:
    if deployment.cluster is not None:
        pytest.skip("the processes of a cluster share theirs")
    start_fails(deployment.config, 4, "in use by another process")
    assert ask(f"{deployment.url}/healthz").status == 200
