"""Disk errors: the writes and syncs of a commit fail, one at a time, in a real log and witness.

strace attaches to a running process and makes the n-th call of a kind fail, for every n that a
commit, its publication and a checkpoint of the write-ahead log make. Then the request must get an
error and the process must end without showing anything more; or what it answered must hold. A
restart must find all that was acknowledged, and the witnesses must accept what follows.
MUNIMENT_IO_EVERY=1 takes every write; by default one in twelve, and every sync.
"""

import errno
import http.client
import os
import subprocess
import time
import urllib.error
from contextlib import suppress
from pathlib import Path

import pytest

import decisions
import processes
from faults import strace
from faults.services import Services
from log_deployment import GATEWAY, ORIGIN, PUBLISHED, ask, deployed, leaves_of
from log_tools import open_store
from muniment.local.sqlitefile import DatabaseError
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.encoding import unframe
from muniment.tlog.merkle import CompactRange, leaf_hashes
from muniment.tlog.witnesswire import origin_hash
from muniment_log.storage.sqlite import SQLiteStore
from muniment_service.exits import EXIT_FAILED, EXIT_UNWRITABLE
from processes import Process
from witness_tools import GrowingLog, log_signer, set_up

EVERY = int(os.environ.get("MUNIMENT_IO_EVERY", "12"))
ATTACH_SECONDS = 20.0
PAGES = 12
RECORDS = decisions.decisions(2000, producer=GATEWAY)

FAULTS = [
    ("fdatasync", "EIO", 1, 1),
    ("pwrite64", "EIO", 1, EVERY),
    ("pwrite64", "ENOSPC", 1 + EVERY // 2, EVERY),
]
"""System call, error, the first one that fails, and the step to the next."""


def attach(
    service: Process, output: Path, call: str, error: str, number: int
) -> "subprocess.Popen[bytes]":
    """Lets the n-th call of each thread from now on fail."""
    tracer = subprocess.Popen(
        strace.injecting(service.pid, output, f"{call}:error={error}:when={number}"),
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + ATTACH_SECONDS
    tasks = Path(f"/proc/{service.pid}/task")
    traced = f"TracerPid:\t{tracer.pid}\n"
    while time.monotonic() < deadline:
        if all(traced in (task / "status").read_text() for task in tasks.iterdir()):
            return tracer
        time.sleep(0.002)
    tracer.kill()
    tracer.wait()
    raise AssertionError("strace did not attach")


ENDS = {"EIO": EXIT_FAILED, "ENOSPC": EXIT_UNWRITABLE}


def end(
    service: Process,
    tracer: "subprocess.Popen[bytes]",
    output: Path,
    error: str,
    *,
    failed: bool,
) -> bool:
    """Waits for a process that answered with an error, kills one that did not; whether a call
    failed at all."""
    if failed:
        assert service.wait() == ENDS[error], service.stderr
        assert ("full" in service.stderr) == (error == "ENOSPC"), service.stderr
    else:
        # It may be about to end by itself: it had answered before a later write failed.
        assert service.kill() in {-9, ENDS[error]}, service.stderr
    tracer.wait(20)
    return "INJECTED" in output.read_text()


@pytest.mark.timeout(480)  # some sixty starts: with MUNIMENT_WORKERS, of several processes each
def test_log_stops_at_each_failing_write_and_forgets_nothing(
    tmp_path: Path, quick: Services
) -> None:
    strace.needed()
    cases = 0
    refused = 0
    with deployed(tmp_path) as made:
        made.log.terminate()
        stream = made.stream()
        known: list[tuple[int, list[bytes]]] = []
        for call, error, number, step in FAULTS:
            while True:
                service = quick.log(made.config, pages=PAGES)
                body = stream.take(RECORDS[number : number + 1 + number % 4])
                output = tmp_path / "injected"
                tracer = attach(service, output, call, error, number)
                url = f"{service.url}/v1/batches{PUBLISHED}"
                answer = None
                with suppress(OSError, http.client.HTTPException, urllib.error.URLError):
                    answer = ask(url, body)
                    assert answer.status in {200, 500, 503}, answer.body
                failed = answer is None or answer.status != 200
                happened = end(service, tracer, output, error, failed=failed)
                assert happened or not failed
                if answer is not None and answer.status == 200:
                    known.append((answer.json["first"], unframe(body)))
                # Restarted, the log has it or takes it, and the witnesses accept what follows.
                service = quick.log(made.config, pages=PAGES)
                again = ask(f"{service.url}/v1/batches{PUBLISHED}", body)
                assert again.status == 200, again.body
                if failed:
                    known.append((again.json["first"], unframe(body)))
                    refused += 1
                assert known[-1][0] == again.json["first"]
                note = ask(f"{service.url}/checkpoint").body
                assert made.policy.verify(note, origin=ORIGIN).size >= again.json["size"]
                service.kill()
                cases += 1
                if not happened:
                    break
                number += step
        with processes.start(processes.muniment_log("serve", "--config", made.config)) as last:
            size = parse_signed_checkpoint(ask(f"{last.url}/checkpoint").body).checkpoint
            entries = leaves_of(last.url, size.size)
        assert CompactRange.EMPTY.extend(leaf_hashes(entries)).root() == size.root
        assert entries == [entry for _, batch in sorted(known) for entry in batch]
    assert refused >= len(FAULTS), (cases, refused)


def test_witness_stops_at_each_failing_write_and_forgets_nothing(
    tmp_path: Path, quick: Services
) -> None:
    strace.needed()
    log = GrowingLog(signers=[log_signer()])
    config, _ = set_up(tmp_path / "w", log.vkeys)
    size, cases, refused = 0, 0, 0
    for call, error, number, step in FAULTS:
        while True:
            service = quick.witness(config, pages=PAGES)
            output = tmp_path / "injected"
            tracer = attach(service, output, call, error, number)
            request = log.request(size, size + 2).encode()
            try:
                failed = ask(f"{service.url}/add-checkpoint", request).status != 200
            except (OSError, http.client.HTTPException, urllib.error.URLError):
                failed = True
            happened = end(service, tracer, output, error, failed=failed)
            assert happened or not failed
            service = quick.witness(config, pages=PAGES)
            latest = ask(f"{service.url}/{origin_hash(log.origin)}/checkpoint")
            found = int(latest.body.split(b"\n")[1]) if latest.status == 200 else 0
            assert found in ({size, size + 2} if failed else {size + 2})
            # The log asks again, whatever became of it, and another history is refused.
            answer = ask(f"{service.url}/add-checkpoint", log.request(found, size + 2).encode())
            assert answer.status == 200, answer.body
            size += 2
            fork = log.fork(size - 1).request(size, size + 2).encode()
            assert ask(f"{service.url}/add-checkpoint", fork).status == 422
            service.kill()
            cases += 1
            refused += failed
            if not happened:
                break
            number += step
    assert refused >= len(FAULTS), (cases, refused)


async def test_database_is_not_opened_when_its_name_may_not_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite ignores a failing sync of the folder; the write-ahead log could vanish later."""
    path = tmp_path / "log.db"
    await (await open_store(path)).close()

    def fail(_: int) -> None:
        assert path.with_name("log.db-wal").exists()
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(DatabaseError, match="Input/output error"):
            await SQLiteStore.open(path)
    await (await SQLiteStore.open(path)).close()
