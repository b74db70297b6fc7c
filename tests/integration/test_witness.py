"""`muniment-witness` as a real process: what it told survives anything, and is told only once."""

import http.client
import json
import os
import resource
import signal
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

import processes
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.note import SignatureLine, Verifier, parse_vkey, verify_note
from muniment.tlog.witnesswire import origin_hash, parse_cosignatures, parse_size
from muniment_service.exits import EXIT_ADDRESS, EXIT_CONFIG, EXIT_DATABASE, EXIT_FAILED
from muniment_witness.config import load
from muniment_witness.store.database import APPLICATION
from processes import ProcessFailedError, muniment_witness
from waiting import SECONDS, eventually
from witness_tools import WITNESS, GrowingLog, log_signer, set_up

LOG = GrowingLog(signers=[log_signer(), log_signer(algorithm="mldsa44")])


class Client:
    """One keep-alive connection to a witness."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self.connection = http.client.HTTPConnection(host, int(port), timeout=SECONDS)

    def request(
        self, method: str, path: str, body: bytes | None = None
    ) -> tuple[int, bytes, dict[str, str]]:
        self.connection.request(method, path, body)
        response = self.connection.getresponse()
        return response.status, response.read(), dict(response.getheaders())

    def add(self, old: int, new: int, log: GrowingLog = LOG) -> tuple[int, bytes]:
        return self.request("POST", "/add-checkpoint", log.request(old, new).encode())[:2]

    def latest(self, log: GrowingLog = LOG) -> bytes:
        status, body, _ = self.request("GET", f"/{origin_hash(log.origin)}/checkpoint")
        assert status == 200
        return body

    def close(self) -> None:
        self.connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a witness with both keys that knows LOG."""
    init(tmp_path / "w")
    return tmp_path / "w"


def init(folder: Path) -> None:
    """What the command does, in this process: starting Python once for each test takes long."""
    set_up(folder, LOG.vkeys, "ed25519", "mldsa44")


def serve(folder: Path) -> list[str]:
    return muniment_witness("serve", "--config", folder / "witness.toml")


def verifiers(folder: Path) -> tuple[Verifier, ...]:
    signers = load(folder / "witness.toml").signers
    return tuple(verifier_for(signer.vkey) for signer in signers)


@pytest.fixture
def running(folder: Path) -> Iterator[processes.Process]:
    with processes.start(serve(folder)) as process:
        yield process


def test_the_commands(tmp_path: Path) -> None:
    def command(*arguments: object) -> list[str]:
        return processes.run(muniment_witness(*arguments), code=0).stdout.split()

    folder = tmp_path / "w"
    listen = ("--listen", "127.0.0.1:0")
    vkeys = command("init", folder, "--name", WITNESS, *listen, "--log", LOG.vkeys[0])
    assert [parse_vkey(vkey).name for vkey in vkeys] == [WITNESS, WITNESS]
    assert command("vkeys", "--config", folder / "witness.toml") == vkeys
    with processes.start(serve(folder)) as process:
        client = Client(process.url)
        assert client.add(0, 5)[0] == 200
        client.close()


def test_the_ready_line_is_all_of_stdout(running: processes.Process) -> None:
    assert json.loads(running.stdout) == {"event": "ready", "url": running.url}
    client = Client(running.url)
    assert client.request("GET", "/readyz")[0] == 200
    client.close()
    assert running.terminate() == 0
    assert running.stdout.count("\n") == 1
    assert "witness is ready" in running.stderr


def test_monitoring_returns_the_very_cosignatures(folder: Path, running: processes.Process) -> None:
    """tlog-witness: the checkpoint "MUST include the cosignature(s)" that were returned."""
    client = Client(running.url)
    own = verifiers(folder)
    size = 0
    for new in (3, 3, 8, 20):
        status, body = client.add(size, new)
        assert status == 200
        size = new
        note = parse_signed_checkpoint(client.latest()).note
        assert set(parse_cosignatures(body)) < set(note.signatures)
        assert len(verify_note(note, [*own, *LOG.verifiers]).signatures) == 4
    client.close()


def test_a_restart_keeps_the_state(folder: Path) -> None:
    with processes.start(serve(folder)) as process:
        client = Client(process.url)
        client.add(0, 7)
        before = client.latest()
        client.close()
        assert process.terminate() == 0
    with processes.start(serve(folder)) as process:
        client = Client(process.url)
        assert client.latest() == before
        status, body = client.add(0, 9)
        assert (status, parse_size(body)) == (409, 7)
        assert client.add(7, 9)[0] == 200
        client.close()


def test_a_second_process_on_the_database_refuses(folder: Path, running: processes.Process) -> None:
    with pytest.raises(ProcessFailedError, match=r"witness\.db: in use by another process"):
        processes.start(serve(folder))
    client = Client(running.url)
    assert client.add(0, 7)[0] == 200
    client.close()


def test_racing_requests_have_one_winner_and_no_rollback(running: processes.Process) -> None:
    """tlog-witness: checking the old size and persisting "must be performed atomically"."""
    clients = [Client(running.url) for _ in range(12)]
    size = 0
    with ThreadPoolExecutor(len(clients)) as pool:
        for _ in range(12):
            old = size
            news = [old + 1 + number % 5 for number in range(len(clients))]
            bodies = [LOG.request(old, new).encode() for new in news]
            answers = list(
                pool.map(
                    lambda pair: pair[0].request("POST", "/add-checkpoint", pair[1])[:2],
                    zip(clients, bodies, strict=True),
                )
            )
            won = [new for new, (status, _) in zip(news, answers, strict=True) if status == 200]
            assert len(won) == 1
            told = {parse_size(body) for status, body in answers if status == 409}
            assert told == set(won)
            size = won[0]
            latest = parse_signed_checkpoint(clients[0].latest()).checkpoint
            assert (latest.size, latest.root) == (size, LOG.root(size))
    for client in clients:
        client.close()


@pytest.mark.parametrize("round_", range(3))
def test_kill_loses_nothing_that_was_told(folder: Path, round_: int) -> None:
    """tlog-witness: "The witness MUST persist the new checkpoint before responding"."""
    logs = [GrowingLog(f"log{number}.example") for number in range(4)]
    extra = "".join(f'\n[[log]]\nvkeys = ["{log.vkeys[0]}"]\n' for log in logs)
    config = folder / "witness.toml"
    config.write_text(config.read_text() + extra)
    told = [0] * len(logs)
    signatures: list[set[SignatureLine]] = [set() for _ in logs]
    stop = Event()

    def load(number: int, url: str) -> None:
        client = Client(url)
        try:
            while not stop.is_set() and told[number] < 60:
                status, body = client.add(told[number], told[number] + 1, logs[number])
                assert status == 200
                told[number] += 1
                signatures[number] = set(parse_cosignatures(body))
        except (OSError, http.client.HTTPException):
            pass
        finally:
            client.close()

    with processes.start(serve(folder)) as process, ThreadPoolExecutor(len(logs)) as pool:
        work = [pool.submit(load, number, process.url) for number in range(len(logs))]
        eventually(lambda: sum(told) > 20 * round_)
        process.kill()
        stop.set()
        for future in work:
            future.result()
    assert any(told)
    with processes.start(serve(folder)) as process:
        client = Client(process.url)
        for log, size, lines in zip(logs, told, signatures, strict=True):
            status, body = client.add(10_000, 10_000, _Huge(log))
            assert status == 409
            # One more than was told can have been committed, when the kill hit the reply.
            assert parse_size(body) in {size, size + 1}
            if parse_size(body) == size and size:
                assert lines <= set(parse_signed_checkpoint(client.latest(log)).note.signatures)
            assert client.add(parse_size(body), parse_size(body) + 1, log)[0] == 200
        client.close()


class _Huge(GrowingLog):
    """Asks with an old size that cannot be, to be told the size."""

    def __init__(self, log: GrowingLog) -> None:
        super().__init__(log.origin, log.signers)

    def root(self, size: int) -> bytes:
        return super().root(1)

    def proof(self, old: int, new: int) -> tuple[bytes, ...]:
        return ()


def test_stopping_answers_what_is_in_flight(folder: Path) -> None:
    with processes.start(serve(folder)) as process:
        client = Client(process.url)
        body = LOG.request(0, 5).encode()
        connection = client.connection
        connection.putrequest("POST", "/add-checkpoint")
        connection.putheader("Content-Length", str(len(body)))
        connection.putheader("Expect", "100-continue")
        connection.endheaders()
        assert connection.sock.recv(64) == b"HTTP/1.1 100 Continue\r\n\r\n"  # it has begun
        connection.send(body[:100])
        os.kill(process.pid, signal.SIGTERM)
        eventually(lambda: "stopping" in process.stderr)
        connection.send(body[100:])
        response = connection.getresponse()
        assert response.status == 200
        response.read()
        client.close()
        assert process.wait() == 0


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit(2)")
def test_a_disk_that_fails_ends_the_process_and_nothing_is_released(folder: Path) -> None:
    """An I/O error during commit is fatal to the process."""
    with processes.start(serve(folder)) as process:
        client = Client(process.url)
        assert client.add(0, 5)[0] == 200
        # No file of the process can grow: the next commit cannot write its pages.
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (16384, 16384))
        size = 5
        for new in range(6, 60):
            try:
                status, body = client.add(size, new)
            except (OSError, http.client.HTTPException):
                break
            if status != 200:
                assert status == 503
                assert b"storage-failed" in body
                break
            size = new
        else:
            raise AssertionError("the limit did not bite")
        assert process.wait() == EXIT_FAILED
        assert "the service failed" in process.stderr
        client.close()
    with processes.start(serve(folder)) as process:
        client = Client(process.url)
        assert parse_size(client.add(size + 1, size + 1)[1]) == size
        client.close()


def fails(folder: Path) -> tuple[int, str]:
    process = processes.Process(serve(folder))
    with process:
        code = process.wait()
    assert process.stdout == ""
    assert process.stderr.count("\n") == 1
    assert process.stderr.startswith("muniment-witness: ")
    return code, process.stderr


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "witness.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_database_that_does_not_fit_is_refused_in_one_line(folder: Path) -> None:
    database = folder / "witness.db"
    with processes.start(serve(folder)) as process:
        process.terminate()
    # A database of another witness.
    init(folder.parent / "other")
    (folder / "mine.db").write_bytes(database.read_bytes())
    database.write_bytes(b"")
    (folder / "mine.db").replace(folder.parent / "other" / "witness.db")
    code, message = fails(folder.parent / "other")
    assert code == EXIT_DATABASE
    assert "belongs to a witness with other keys" in message
    # A database of a newer program.
    with sqlite3.connect(database) as connection:
        connection.execute(f"PRAGMA application_id={APPLICATION}")
        connection.execute("PRAGMA user_version=99")
    connection.close()
    code, message = fails(folder)
    assert code == EXIT_DATABASE
    assert "schema version 99 is newer" in message
    database.write_bytes(b"nonsense " * 1000)
    assert fails(folder)[0] == EXIT_DATABASE


def test_an_address_that_is_taken_is_refused_in_one_line(folder: Path) -> None:
    with processes.start(serve(folder)) as process:
        other = folder.parent / "other"
        init(other)
        edit(other, "127.0.0.1:0", process.url.removeprefix("http://"))
        code, message = fails(other)
        assert code == EXIT_ADDRESS
        assert f"listen: {process.url.removeprefix('http://')}: Address already in use" in message


def test_a_bad_configuration_or_key_is_refused_in_one_line(folder: Path) -> None:
    edit(folder, "listen =", "lisden =")
    code, message = fails(folder)
    assert code == EXIT_CONFIG
    assert "witness.toml: lisden: unknown key" in message or "listen: missing" in message
    edit(folder, "lisden =", "listen =")
    (folder / "witness-ed25519.pem").chmod(0o644)
    code, message = fails(folder)
    assert code == EXIT_CONFIG
    assert "keys[0]" in message


def test_processes_that_fail_leave_nothing(folder: Path) -> None:
    """The helper itself: an early end is reported with stderr, and the process is gone."""
    edit(folder, "listen =", "lisden =")
    with pytest.raises(ProcessFailedError, match="lisden"):
        processes.start(serve(folder))
