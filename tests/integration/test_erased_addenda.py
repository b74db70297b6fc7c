"""Addenda of a real log that are erased, or lost: the audit, a replica and an export of it."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import decisions
import processes
from log_deployment import GATEWAY, PUBLISHED, Deployment, deployed
from log_deployment import run as output
from muniment.gateway.gateway import Gateway
from muniment.gateway.governed import governed
from muniment.records.addenda import addendum_path
from muniment.records.batchbody import join_body
from muniment.records.canonical import encode_canonical
from muniment.records.commitments import addendum
from processes import muniment, muniment_log
from staticserver import static

POINTER = "/request/context"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Deployment]:
    with deployed(tmp_path) as made:
        made.config.write_text(made.config.read_text() + "[read]\nopen_addenda = true\n")
        output(muniment_log("reload", "--config", made.config))
        yield made


def secret(number: int) -> str:
    return f"secret of person {number} " * 20


def content(number: int) -> bytes:
    return addendum(f"{number:032x}", secret(number))


def digest(number: int) -> str:
    return sha256(content(number)).hexdigest()


def withholding(number: int) -> bytes:
    members = json.loads(decisions.decisions(1, producer=GATEWAY)[0])
    members["request"].pop("context", None)
    members |= {"id": f"d-{number}", "addenda": {POINTER: digest(number)}, "kept": "log"}
    return encode_canonical(members)


def send(log: Deployment, *numbers: int) -> int:
    """The index of the first record."""
    batch = log.stream().take([withholding(number) for number in numbers])
    answer = log.post(join_body(batch, map(content, numbers)), PUBLISHED)
    assert answer.status == 200, answer.body
    return answer.json["first"]


def erase(log: Deployment, number: int) -> None:
    what = ("--digest", digest(number), "--reason", "asked to", "--yes")
    processes.run(muniment_log("erase", "--config", log.config, *what), code=0)


def audit(log: Deployment, url: str, *more: object, code: int = 0) -> dict[str, Any]:
    policy = log.folder / "log" / "witnesses.policy"
    command = ("audit", "--log", url, "--policy", policy, "--addenda", "--json", *more)
    done = processes.run(muniment(*command), code=code)
    return json.loads(done.stdout)


def lose(log: Deployment, number: int) -> None:
    """Takes an addendum out of the log's file behind its back."""
    with contextlib.closing(sqlite3.connect(log.folder / "log" / "addenda.db")) as db, db:
        found = db.execute(
            "DELETE FROM addendum WHERE digest = ?", (bytes.fromhex(digest(number)),)
        )
        assert found.rowcount == 1


def traces(folder: Path, number: int) -> list[str]:
    """The files of a folder in which something of a secret is."""
    needle = secret(number)[:40].encode()
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path.relative_to(folder)) for path in files if needle in path.read_bytes()]


def test_an_audit_finds_what_was_removed_in_silence(log: Deployment) -> None:
    first = send(log, 1, 2, 3)
    told = audit(log, log.url)
    assert (told["verdict"], told["findings"]) == ("clean", [])
    assert told["addenda"]["served"] == 3

    erase(log, 1)
    told = audit(log, log.url)
    assert told["verdict"] == "clean", told["findings"]
    [erased] = told["addenda"]["erasures"]
    assert erased["entry"] == first
    assert erased["by"] > first
    assert (told["addenda"]["served"], told["addenda"]["erased"]) == (2, 1)

    lose(log, 2)
    told = audit(log, log.url, code=4)
    [finding] = told["findings"]
    assert (finding["kind"], finding["index"]) == ("missing-addendum", first + 1)
    assert digest(2) in finding["sentence"]
    assert (told["addenda"]["served"], told["addenda"]["erased"]) == (1, 1)


def test_an_export_and_a_replica_obey_an_erasure(log: Deployment, tmp_path: Path) -> None:
    send(log, 1, 2)
    target, home = tmp_path / "public", tmp_path / "replica"
    home.mkdir()
    export = muniment_log("export", "--config", log.config, target)
    policy = log.folder / "log" / "witnesses.policy"
    follow = muniment(
        *("follow", log.url, "--policy", policy, "--replica", home / "replica.db", "--once")
    )
    # Neither takes addenda along unless it is told to.
    processes.run(export, code=0)
    processes.run(follow, code=0)
    assert (traces(target, 1), traces(home, 1)) == ([], [])
    assert not (target / "addenda").exists()

    done = processes.run([*export, "--addenda"], code=0)
    assert "2 addenda written, 0 erased" in done.stderr
    assert (target / addendum_path(digest(1))).read_bytes() == content(1)
    assert "2 addenda taken along" in processes.run([*follow, "--addenda"], code=0).stdout
    assert traces(home, 1)
    send(log, 3)
    done = processes.run([*export, "--addenda"], code=0)
    assert "1 addenda written, 0 erased" in done.stderr
    with static(target) as url:
        assert audit(log, url)["addenda"]["served"] == 3

    erase(log, 1)
    plain = log.stream().take(decisions.decisions(1, producer=GATEWAY))
    log.post(plain, PUBLISHED)  # when it is published, so is the erasure
    # Both obey, also when they are not told any more to take addenda along.
    assert "0 addenda written, 1 erased" in processes.run(export, code=0).stderr
    assert "1 erased" in processes.run(follow, code=0).stdout
    assert (traces(target, 1), traces(home, 1)) == ([], [])
    assert traces(target, 2)
    assert traces(home, 2)
    with static(target) as url:
        told = audit(log, url)
    assert told["verdict"] == "clean", told["findings"]
    assert (told["addenda"]["served"], told["addenda"]["erased"]) == (2, 1)


async def test_what_a_governed_call_sends_is_held_and_its_loss_is_found(
    log: Deployment, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"policy": log.policy, "spool": tmp_path / "spool", "keep": "log"}

    def evaluate(_: Any) -> dict[str, Any]:
        return {"decision": True}

    async with Gateway(log.url, log.signer, **options) as gateway:

        @governed(gateway, subject={"type": "agent", "id": "planner"}, decide=evaluate)
        async def send(text: str) -> str:
            return f"{text}: sent"

        assert await send("a secret") == "a secret: sent"
        await gateway.spool.drained()
    plain = log.stream().take(decisions.decisions(1, producer=GATEWAY))
    log.post(plain, PUBLISHED)
    told = audit(log, log.url)
    assert told["verdict"] == "clean", told["findings"]
    # The outcome names the arguments of the decision, and the result.
    assert (told["addenda"]["kept_by_log"], told["addenda"]["served"]) == (2, 2)
    file = log.folder / "log" / "addenda.db"
    with contextlib.closing(sqlite3.connect(file)) as db, db:
        db.execute("DELETE FROM addendum WHERE instr(data, 'a secret: sent')")
    [finding] = audit(log, log.url, code=4)["findings"]
    assert finding["kind"] == "missing-addendum"
    assert "/outputs/result" in finding["sentence"]
