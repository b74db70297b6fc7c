"""Erasing addenda of a real log: by command and by schedule, watched, killed, and audited."""

import hashlib
import json
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import processes
from log_deployment import (
    ORIGIN,
    Answer,
    Deployment,
    ask,
    audit_addenda,
    deployed,
    erase,
    leaves_of,
    send,
)
from log_deployment import run as output
from muniment.records.addenda import addendum_path
from muniment.records.api import Erasure, parse_record
from processes import muniment, muniment_log
from waiting import SECONDS, eventually
from withholding import POINTER, digest_of, withheld


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with deployed(tmp_path) as made:
        open_addenda(made)
        yield made


def open_addenda(made: Deployment, *lines: str) -> None:
    text = made.config.read_text().partition("\n# What this test adds")[0]
    more = "\n".join(("[read]", "open_addenda = true", *lines))
    made.config.write_text(f"{text}\n# What this test adds\n{more}\n")
    output(muniment_log("reload", "--config", made.config))


def read(made: Deployment, data: bytes) -> Answer:
    return ask(f"{made.url}/{addendum_path(digest_of(data))}")


def on_disk(made: Deployment, data: bytes) -> list[str]:
    """The files of the log in which something of an addendum is found."""
    secret = json.loads(data)["value"].encode()
    folder = made.folder / "log"
    return sorted(
        file.name for file in folder.iterdir() if file.is_file() and secret in file.read_bytes()
    )


def status(made: Deployment) -> dict[str, Any]:
    done = processes.run(muniment_log("status", "--config", made.config), code=0)
    return json.loads(done.stdout)


def test_erased_bytes_are_nowhere_and_everything_else_stays_valid(deployment: Deployment) -> None:
    mine = [withheld(number) for number in range(3)]
    others = [withheld(number, "bob") for number in range(2)]
    first, body = send(deployment, [*mine, *others])
    policy = deployment.folder / "log" / "witnesses.policy"
    proof, entry = deployment.folder / "a.tlog-proof", deployment.folder / "a.json"
    processes.run(
        muniment(
            "prove", "--log", deployment.url, "--index", first, "--out", proof, "--entry-out", entry
        ),
        code=0,
    )
    permit = made_permit(proof, entry)
    assert on_disk(deployment, mine[0][1])

    listed = erase(deployment, "--subject", "user", "alice", "--dry-run")
    assert listed.returncode == 0, listed.stderr
    assert sorted(listed.stdout.splitlines()) == sorted(
        f"{digest_of(data)}  {POINTER}  record {first + number}  {len(data)} bytes"
        for number, (_, data) in enumerate(mine)
    )
    assert "nothing was erased" in listed.stderr
    assert read(deployment, mine[0][1]).status == 200
    asking = muniment_log("erase", "--config", deployment.config, "--subject", "user", "alice")
    for said in ("n\n", ""):
        asked = processes.run(asking, stdin=said)
        assert "Erase 3 addenda" in asked.stderr
        assert asked.returncode == 1
        assert read(deployment, mine[0][1]).status == 200

    done = erase(deployment, "--record", first, "--reason", "asked for", "--by", "dpo", "--yes")
    assert done.returncode == 0, done.stderr
    assert f"logged by record {first + 6}" in done.stdout
    assert "backups" in done.stderr
    done = processes.run(asking, stdin="y\n")
    assert "Erased 2 addenda" in done.stdout
    for _, data in mine:
        assert on_disk(deployment, data) == []
        told = read(deployment, data).problem(410, "erased")
        assert told["record"] >= first + 6
    for _, data in others:
        assert on_disk(deployment, data)
        assert read(deployment, data).body == data

    # A retry of the batch brings back nothing.
    assert deployment.post(body).json["first"] == first
    assert read(deployment, mine[0][1]).status == 410
    assert on_disk(deployment, mine[0][1]) == []

    # The log says so itself, and whoever looks at it finds nothing amiss.
    assert status(deployment)["addenda"] == {
        "addenda": 2,
        "bytes": sum(len(data) for _, data in others),
        "erased": 3,
        "erasing": 0,
    }
    metrics = ask(f"{deployment.url}/metrics").body.decode()
    assert "\nmuniment_log_addenda_erased 3.0\n" in metrics
    eventually(lambda: status(deployment)["published"] == status(deployment)["integrated"])
    leaves = leaves_of(deployment.url, status(deployment)["published"])
    found = [parse_record(leaf) for leaf in leaves if b'"kind":"erasure"' in leaf]
    assert isinstance(found[0], Erasure)
    assert (found[0].producer, found[0].by, found[0].reason) == (ORIGIN, "dpo", "asked for")
    audited = audit_addenda(deployment)
    assert audited.returncode == 0, audited.stdout + audited.stderr
    assert "Verdict: clean." in audited.stdout
    assert f"A member of entry {first}: erased by entry {first + 6}." in audited.stdout
    assert (
        processes.run(muniment("verify", proof, "--entry", entry, "--policy", policy)).returncode
        == 0
    )
    context = deployment.folder / "context.json"
    context.write_text(
        json.dumps(
            {
                "action": "call",
                "resource": {"type": "tool", "id": "mail"},
                "execution": "run-alice-0",
            }
        )
    )
    processes.run(
        muniment(
            "permit", "verify", permit, "--policy", policy, "--context", context,
            "--without-facts", "--allow-unbound", "--allow-any-policy",
        ), code=0)  # fmt: skip


def made_permit(proof: Path, entry: Path) -> Path:
    """A permit of a proof: the same with the record in it."""
    from muniment.tlog.encoding import format_base64

    header, rest = proof.read_text().split("\n", 1)
    permit = proof.with_suffix(".permit")
    permit.write_text(f"{header}\nextra {format_base64(entry.read_bytes())}\n{rest}")
    return permit


def test_what_cannot_be_erased_is_refused_with_the_reason(deployment: Deployment) -> None:
    record, data = withheld(1, "alice", "domain=hr")
    first, _ = send(deployment, [(record, data)])
    for arguments, reason in [
        (("--digest", "0" * 64), "keeps no addendum of this digest"),
        (("--record", first + 1), "names no addendum"),
        (("--record", 99), "the log has 2 leaves"),
        (("--subject", "user", "nobody"), "keeps no such addendum"),
        (("--digest", "xyz"), "not a request to erase"),
    ]:
        done = erase(deployment, *arguments, "--yes")
        assert (done.returncode, reason in done.stderr) == (1, True), done.stderr
    for option in ("--by", "--reason"):
        done = erase(deployment, "--record", first, "--yes", option, "")
        assert done.returncode == 2
        assert f"'{option}': empty: say it in words" in done.stderr
    open_addenda(deployment, "[[retention]]", 'label = "domain=hr"', 'legal_minimum = "90d"')
    for arguments in [("--digest", digest_of(data)), ("--record", first)]:
        done = erase(deployment, *arguments, "--yes")
        assert done.returncode == 1
        assert "legal minimum of 90d (label domain=hr)" in done.stderr
    assert read(deployment, data).body == data
    assert b"erasure" not in b"".join(leaves_of(deployment.url, 2))
    deployment.log.terminate()
    done = erase(deployment, "--record", first, "--yes")
    assert done.returncode == 9
    assert "it takes a log that runs" in done.stderr


def test_a_restored_copy_brings_nothing_back(deployment: Deployment) -> None:
    (record, data), (other, kept) = withheld(1), withheld(2)
    first, _ = send(deployment, [(record, data), (other, kept)])
    folder = deployment.folder
    copies = folder / "copy.db", folder / "addenda-copy.db"
    output(muniment_log("backup", "--config", deployment.config, copies[0], "--addenda", copies[1]))
    assert erase(deployment, "--record", first, "--yes").returncode == 0
    deployment.log.terminate()
    copies[1].replace(folder / "log" / "addenda.db")
    assert on_disk(deployment, data)
    deployment.start_log()
    assert on_disk(deployment, data) == []
    assert read(deployment, data).status == 410
    assert read(deployment, kept).body == kept


def test_a_start_notices_that_the_addenda_are_lost_or_older(deployment: Deployment) -> None:
    (record, data), (other, kept) = withheld(1), withheld(2)
    first, body = send(deployment, [(record, data)])
    folder = deployment.folder
    file = folder / "log" / "addenda.db"
    old = folder / "addenda-copy.db"
    copy = folder / "copy.db"
    output(muniment_log("backup", "--config", deployment.config, copy, "--addenda", old))
    send(deployment, [(other, kept)])
    assert erase(deployment, "--record", first, "--yes").returncode == 0
    deployment.log.terminate()
    newest, numbers = file.read_bytes(), count(3)
    serve = muniment_log("serve", "--config", deployment.config)

    file.unlink()
    done = processes.run(serve, code=7)
    assert f"missing: the log has acknowledged the addendum {digest_of(kept)}" in done.stderr
    assert "muniment-log new-addenda" in done.stderr

    file.write_bytes(old.read_bytes())
    for _ in range(2):  # it says so at each start
        deployment.start_log()
        assert status(deployment)["addenda"]["lost"] == digest_of(kept)
        assert gauges(deployment)["addenda_lost"] == 1
        send(deployment, [withheld(next(numbers))])
        deployment.log.terminate()

    file.write_bytes(newest)
    deployment.start_log()
    assert read(deployment, kept).body == kept
    assert gauges(deployment)["addenda_lost"] == 0
    made_anew = muniment_log("new-addenda", "--config", deployment.config)
    processes.run(made_anew, code=4)
    deployment.log.terminate()

    # There is no copy: the log goes on, and what was erased does not come back with a retry.
    file.unlink()
    assert processes.run(made_anew).returncode == 0
    deployment.start_log()
    assert read(deployment, kept).status == 404
    assert deployment.post(body).json["first"] == first
    assert read(deployment, data).status == 410
    assert on_disk(deployment, data) == []


def test_nobody_else_logs_an_erasure_in_the_name_of_the_log(deployment: Deployment) -> None:
    token = "of the log itself"
    digest = hashlib.sha256(token.encode()).hexdigest()
    open_addenda(deployment, "[[token]]", f'producer = "{ORIGIN}"', f'sha256 = "{digest}"')
    erasure = {"kind": "erasure", "digests": ["0a" * 32], "by": "nobody"}
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    told = ask(f"{deployment.url}/v1/records", json.dumps(erasure).encode(), headers)
    assert "an erasure in the log's own name" in told.problem(422, "bad-record")["detail"]


def test_a_schedule_erases_what_it_covers(deployment: Deployment) -> None:
    (labelled, hr), (plain, other) = withheld(1, "alice", "domain=hr"), withheld(2)
    send(deployment, [(labelled, hr), (plain, other)])

    def is_gone() -> bool:
        open_addenda(deployment, "[[retention]]", 'label = "domain"', 'retain = "1s"')
        return read(deployment, hr).status == 410

    eventually(is_gone)
    eventually(lambda: status(deployment)["addenda"]["erasing"] == 0)
    assert on_disk(deployment, hr) == []
    assert read(deployment, other).body == other
    eventually(lambda: status(deployment)["published"] == status(deployment)["integrated"])
    leaves = leaves_of(deployment.url, status(deployment)["published"])
    [record] = [parse_record(leaf) for leaf in leaves if b'"kind":"erasure"' in leaf]
    assert isinstance(record, Erasure)
    assert (record.by, record.reason) == ("retention of label domain", "retain = 1s")


@pytest.mark.parametrize("removed", [0, 1, 600, 1_199])
def test_a_kill_at_any_time_leaves_no_addendum_that_outlives_its_erasure(
    deployment: Deployment, removed: int
) -> None:
    """The kills fall at E1, E2 and E3, the more is removed the later. Of E0 nothing is seen."""
    pairs = [withheld(number) for number in range(1_200)]
    send(deployment, pairs)
    eventually(lambda: gauges(deployment)["erasures_pending"] == 0)
    everything = muniment_log(
        "erase", "--config", deployment.config, "--subject", "user", "alice", "--yes"
    )
    with processes.Process(everything) as command:
        deadline = time.monotonic() + SECONDS
        while (seen := gauges(deployment))["erasures_pending"] + seen["addenda_erased"] <= removed:
            assert time.monotonic() < deadline
        deployment.log.kill()
        command.wait()
    deployment.start_log()
    eventually(lambda: status(deployment)["addenda"]["erasing"] == 0)
    eventually(lambda: status(deployment)["published"] == status(deployment)["integrated"])
    leaves = leaves_of(deployment.url, status(deployment)["published"])
    named = [json.loads(leaf)["digests"] for leaf in leaves if b'"kind":"erasure"' in leaf]
    erased = {digest for digests in named for digest in digests}
    assert len(erased) == sum(map(len, named)) == len(pairs)  # each by one record
    for _, data in pairs[::200]:
        assert read(deployment, data).status == 410
        assert on_disk(deployment, data) == []
    audited = audit_addenda(deployment)
    assert audited.returncode == 0, audited.stdout + audited.stderr


def gauges(made: Deployment) -> dict[str, float]:
    """What the log shows of its addenda; it is asked often."""
    lines = ask(f"{made.url}/metrics").body.decode().splitlines()
    values = [line.removeprefix("muniment_log_").split(" ") for line in lines if line[0] != "#"]
    return {name: float(value) for name, value in values if name.startswith(("addenda", "eras"))}
