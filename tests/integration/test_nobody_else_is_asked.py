"""No URL or address that somebody submits makes a service connect there (SSRF)."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import decisions
import processes
import signing
from byzantine import View
from log_deployment import GATEWAY, PRODUCER, PUBLISHED, TOKEN, Deployment, Stream, ask, deployed
from muniment.records.canonical import encode_canonical
from muniment.tlog.encoding import frame
from muniment.tlog.evidence import same_size
from muniment.tlog.note import Ed25519Signer
from processes import muniment_witness
from rawhttp import send
from stand import Answer, Asked, Stand, post
from witness_deployment import configure


@contextmanager
def canary() -> Iterator[tuple[str, list[Any]]]:
    """A port that nobody has a reason to connect to, and who did."""
    came: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, peer = server.accept()
                except OSError:
                    return
                came.append(peer)
                connection.close()

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}", came
        # The port listens, or the test would show nothing.
        before = len(came)
        socket.create_connection(server.getsockname()).close()
        for _ in range(1000):
            if len(came) > before:
                break
            threading.Event().wait(0.01)
        assert len(came) == before + 1
        came.pop()


def requests_naming(place: str) -> list[bytes]:
    """Requests whose target or headers name another host, as proxies are asked."""
    headers = (
        f"Host: {place}\r\nX-Forwarded-For: {place}\r\nX-Forwarded-Host: {place}\r\n"
        f"Forwarded: host={place}\r\nReferer: http://{place}/\r\nOrigin: http://{place}\r\n"
        f"Connection: close\r\n\r\n"
    )
    targets = (
        f"GET http://{place}/checkpoint",
        f"CONNECT {place}",
        f"GET /tile/http://{place}/",
        f"GET /v1/lineage/run/http://{place}/x",
        f"GET //{place}/checkpoint",
        f"GET /gossip/evidence/http://{place}/",
    )
    return [f"{target} HTTP/1.1\r\n{headers}".encode() for target in targets]


def records_naming(place: str, producer: str) -> list[bytes]:
    """Records with a URL wherever one may stand."""
    url = f"http://{place}/x"
    made = []
    for record in decisions.decisions(3, producer=producer):
        value = json.loads(record)
        value["request"]["resource"] = {"type": "url", "id": url, "properties": {"$ref": url}}
        value["request"]["context"] = {"jwks_uri": url, "callback": url, "@context": url}
        value["execution"] = url
        value.pop("denial", None)
        value["response"] = {"decision": True, "context": {"redirect_uri": url}}
        made.append(encode_canonical(value))
    edge = {
        "v": 1,
        "kind": "edge",
        "id": "e1",
        "time": 1_790_000_000_000,
        "producer": producer,
        "relation": "triggered_by",
        "from": {"type": "run", "id": url},
        "to": {"type": "run", "id": url, "origin": place, "index": 1, "leaf": "A" * 43 + "="},
    }
    return [*made, encode_canonical(edge)]


def test_a_log_connects_to_no_address_that_it_is_given(tmp_path: Path) -> None:
    with canary() as (place, came), deployed(tmp_path) as deployment:
        stream = deployment.stream()
        answer = deployment.post(stream.take(records_naming(place, GATEWAY)), PUBLISHED)
        assert answer.status == 200, answer.body
        _others(deployment, place)
        for request in requests_naming(place):
            assert send(deployment.url, request).startswith(b"HTTP/1.1 ")
        # By now the index, too, has read the records; whatever it would ask for, it has.
        url = f"{deployment.url}/v1/executions/http:%2F%2F{place}%2Fx"
        for _ in range(200):
            if (found := ask(url).json).get("records"):
                break
            threading.Event().wait(0.05)
        assert found["records"]
        assert came == []


def _others(deployment: Deployment, place: str) -> None:
    """A batch for another log, one of a gateway with a host for a name, and plain JSON."""
    unknown = Ed25519Signer(place, signing.ed25519("x"))
    body = Stream("s", unknown).take(records_naming(place, place))
    assert deployment.post(body).status == 403
    token = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    plain = b"[" + b",".join(records_naming(place, PRODUCER)) + b"]"
    assert ask(f"{deployment.url}/v1/records", plain, token).status == 200


def test_a_witness_connects_to_no_address_that_it_is_given(tmp_path: Path) -> None:
    view = View("log.example/known").append(20)
    with canary() as (place, came):
        moved = {"Location": f"http://{place}/"}
        seen: list[Asked] = []

        def redirecting(asked: Asked) -> Answer:
            seen.append(asked)
            return Answer(status=(301, 302, 307, 308)[len(seen) % 4], headers=moved)

        stand = Stand(redirecting)
        with stand.serve("127.0.0.1"):
            # The one address that it is configured to read sends it elsewhere.
            config = configure(tmp_path / "w", {view.vkeys[0]: stand.url()}, {})
            with processes.start(muniment_witness("serve", "--config", config)) as witness:
                for origin in (place, f"http://{place}/"):
                    other = View(origin).append(9)
                    pair = other.checkpoint(9), other.fork(3, 9).checkpoint(9)
                    for path, body, statuses in (
                        ("/add-checkpoint", other.add_checkpoint(0).encode(), {404}),
                        ("/gossip/heads", frame([other.checkpoint(9).encode()]), {200}),
                        ("/gossip/evidence", same_size(*pair).encode(), {404}),
                    ):
                        status, answer = post(witness.url + path, body)
                        assert status in statuses, answer
                known = view.checkpoint(20)
                assert post(witness.url + "/gossip/heads", frame([known.encode()]))[0] == 200
                for request in requests_naming(place):
                    assert send(witness.url, request).startswith(b"HTTP/1.1 ")
                for _ in range(200):
                    if len(seen) >= 8:
                        break
                    threading.Event().wait(0.05)
                assert len(seen) >= 8
        assert came == []
