"""A mirror as a real process, beside a witness: what clients on real connections get from it."""

import gzip
import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import processes
from log_deployment import Answer, ask
from mirror_tools import MIRROR, MirrorLog
from muniment.tlog.mirrorwire import Upload, parse_mirror_info
from muniment.tlog.witnesswire import origin_hash, parse_cosignatures
from processes import muniment_witness
from witness_tools import log_signer, set_up

LOG = MirrorLog(signers=[log_signer()])
OTHER = MirrorLog("other.example/log")
SECONDS = 60


@pytest.fixture
def config(tmp_path: Path) -> Path:
    config, _ = set_up(tmp_path / "w", LOG.vkeys)
    processes.run(muniment_witness("add-mirror", "--config", config, "--name", MIRROR), code=0)
    return config


@pytest.fixture
def url(config: Path) -> Iterator[str]:
    with processes.start(muniment_witness("serve", "--config", config)) as process:
        yield process.url
        assert process.terminate() == 0


def pend(url: str, old: int, new: int, log: MirrorLog = LOG) -> None:
    answer = ask(f"{url}/add-checkpoint", log.request(old, new).encode())
    assert answer.status == 200, answer.body


def held(url: str, log: MirrorLog = LOG) -> Answer:
    return ask(f"{url}/mirror/{origin_hash(log.origin)}/checkpoint")


def talk(url: str, length: int, body: bytes, *headers: str, ends: bool = True) -> bytes:
    """Sends some of a body of that length, and all that comes back."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    head = ["POST /add-entries HTTP/1.1", f"Host: {host}", f"Content-Length: {length}"]
    head += ["Content-Type: application/octet-stream", "Connection: close", *headers]
    with socket.create_connection((host, int(port)), SECONDS) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode() + body)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        found = b""
        while piece := connection.recv(65536):
            found += piece
    return found


def test_an_upload_that_ends_early_is_told_how_to_go_on(url: str) -> None:
    pend(url, 0, 700)
    body = LOG.upload(0, 700)
    kept = len(LOG.upload(0, 700, packages=1))
    # What had come with the end itself may be lost, and is sent again.
    answer = talk(url, len(body), body[: kept + 10])
    status = int(answer.split()[1])
    assert status in {202, 400}
    if status == 202:
        assert parse_mirror_info(answer.partition(b"\r\n\r\n")[2]).next_entry == 256
    again = ask(f"{url}/add-entries", LOG.upload(0, 700))
    assert len(parse_cosignatures(again.body)) == 2
    assert held(url).body.startswith(b"log.example/decisions\n700\n")


def test_a_client_that_is_gone_disturbs_nobody(url: str) -> None:
    pend(url, 0, 700)
    body = LOG.upload(0, 700)
    host, _, port = url.removeprefix("http://").rpartition(":")
    for cut in (1, 100, len(body) // 2, len(body) - 1):
        with socket.create_connection((host, int(port)), SECONDS) as connection:
            head = f"POST /add-entries HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
            kind = "Content-Type: application/octet-stream\r\n\r\n"
            connection.sendall((head + kind).encode() + body[:cut])
    assert ask(f"{url}/add-entries", body).status == 200


def test_a_refusal_comes_before_the_body_has(url: str) -> None:
    """The mirror "SHOULD send these error responses without waiting for the entire request"."""
    pend(url, 0, 300)
    head = Upload(OTHER.origin, 0, 300).encode()
    assert b" 404 " in talk(url, 10_000_000, head, ends=False)
    head = Upload(LOG.origin, 1, 300).encode()
    answer = talk(url, 10_000_000, head, ends=False)
    assert b" 409 " in answer
    assert b"text/x.tlog.mirror-info" in answer
    assert b"Accept-Encoding: gzip" in answer


def test_a_body_of_unknown_length_is_taken_compressed(url: str) -> None:
    pend(url, 0, 700)
    body = gzip.compress(LOG.upload(0, 700))
    host, _, port = url.removeprefix("http://").rpartition(":")
    client = http.client.HTTPConnection(host, int(port), timeout=SECONDS)
    headers = {"Content-Type": "application/octet-stream", "Content-Encoding": "gzip"}
    pieces = (body[at : at + 1000] for at in range(0, len(body), 1000))
    client.request("POST", "/add-entries", pieces, headers, encode_chunked=True)
    with client.getresponse() as response:
        assert response.status == 200
        assert len(parse_cosignatures(response.read())) == 2
    client.close()


def test_a_log_that_is_added_while_it_runs_is_mirrored(config: Path, url: str) -> None:
    pend(url, 0, 3)
    assert ask(f"{url}/add-entries", OTHER.upload(0, 5)).status == 404
    added = processes.run(muniment_witness("add-log", "--config", config, *OTHER.vkeys))
    assert "taken up" in added.stdout, added.stderr
    pend(url, 0, 5, OTHER)
    assert ask(f"{url}/add-entries", OTHER.upload(0, 5)).status == 200
    assert held(url, OTHER).status == 200
    assert ask(f"{url}/add-entries", LOG.upload(0, 3)).status == 200
    removed = processes.run(muniment_witness("remove-log", "--config", config, OTHER.origin))
    assert "taken up" in removed.stdout, removed.stderr
    assert ask(f"{url}/add-entries", OTHER.upload(5, 5)).status == 404
    assert held(url, OTHER).status == 200  # what is held stays readable


def test_without_its_copies_a_mirror_does_not_start(config: Path) -> None:
    (config.parent / "mirror.db").unlink()
    done = processes.run(muniment_witness("serve", "--config", config))
    assert done.returncode != 0
    assert "new-mirror-database" in done.stderr
    processes.run(muniment_witness("new-mirror-database", "--config", config), code=0)
    with processes.start(muniment_witness("serve", "--config", config)) as process:
        pend(process.url, 0, 3)
        assert ask(f"{process.url}/add-entries", LOG.upload(0, 3)).status == 200
