"""A real log that lost its disk is rebuilt from a real mirror, or says why it must not go on."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import decisions
import processes
from decisions import request
from log_deployment import (
    GATEWAY,
    ORIGIN,
    PUBLISHED,
    TOKEN,
    Answer,
    Deployment,
    ask,
    deployed,
    leaves_of,
)
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment_log.app.restoring import SUFFIX, restore
from muniment_log.config import load
from waiting import eventually

RECORDS = decisions.decisions(5000, producer=GATEWAY)


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with deployed(tmp_path, mirrors=1) as made:
        yield made


def token_record(url: str, number: int, **members: object) -> Answer:
    record = {
        "id": f"order-{number}",
        "request": request("planner", "call", ("tool", "crm.search")),
        "response": {"decision": True},
        **members,
    }
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    return ask(f"{url}/v1/records{PUBLISHED}", json.dumps(record).encode(), headers)


def mirrored(url: str, size: int) -> None:
    assert ask(f"{url}/checkpoint.mirrored?size={size}&timeout=60").status == 200


def published(url: str, size: int) -> None:
    """Waits until the log, which has just started, has published its tree again."""

    def is_shown() -> bool:
        answer = ask(f"{url}/checkpoint")
        return answer.status == 200 and (
            parse_signed_checkpoint(answer.body).checkpoint.size == size
        )

    eventually(is_shown)


def lose(deployment: Deployment) -> None:
    """The machine is gone, and with it all but the keys and the configuration."""
    deployment.log.kill()
    for file in (deployment.folder / "log").iterdir():
        if file.suffix not in {".pem", ".toml", ".policy"}:
            file.unlink()


def restoring(deployment: Deployment, *more: object) -> processes.Done:
    return processes.run(processes.muniment_log("restore", "--config", deployment.config, *more))


def test_a_lost_log_is_rebuilt_and_goes_on(deployment: Deployment) -> None:
    [mirror] = deployment.mirrors
    stream, other = deployment.stream(), deployment.stream()
    sent = [stream.take(RECORDS[start : start + 200]) for start in range(0, 1000, 200)]
    first = [deployment.post(body, PUBLISHED).json for body in sent]
    logged = token_record(deployment.url, 1)
    assert logged.status == 200
    last = deployment.post(other.take(RECORDS[1000:1050]), PUBLISHED).json
    size = last["size"]
    mirrored(deployment.url, size)
    leaves = leaves_of(deployment.url, size)
    lose(deployment)
    deployment.refuses("serve", 4, "no such database")

    done = restoring(deployment, "--from", f"{mirror.url}/mirror")
    assert done.returncode == 0, done.stderr
    assert f"{size} leaves on 3 streams, which {mirror.key_name} cosigned" in done.stdout
    assert "addenda" in done.stdout
    assert "nobody would know" not in done.stdout
    assert "is there already" in restoring(deployment, "--from", mirror.url).stderr
    processes.run(processes.muniment_log("check", "--config", deployment.config), code=0)
    deployment.start_log()
    published(deployment.url, size)
    assert leaves_of(deployment.url, size) == leaves
    # Whoever repeats what was acknowledged gets the first receipt, and nothing is logged twice.
    for body, receipt in zip(sent, first, strict=True):
        again = deployment.post(body, PUBLISHED).json
        assert {k: again[k] for k in ("first", "manifest")} == {
            k: receipt[k] for k in ("first", "manifest")
        }
    again = token_record(deployment.url, 1)
    assert again.json["first"] == logged.json["first"]
    token_record(deployment.url, 1, response={"decision": False}).problem(409, "id-conflict")
    answer = deployment.post(stream.take(RECORDS[1050:1100]), PUBLISHED)
    assert answer.json["first"] == size
    mirrored(deployment.url, answer.json["size"])


def test_a_log_that_signed_more_than_the_mirror_has_does_not_go_on(deployment: Deployment) -> None:
    [mirror] = deployment.mirrors
    stream = deployment.stream()
    size = deployment.post(stream.take(RECORDS[:300]), PUBLISHED).json["size"]
    mirrored(deployment.url, size)
    mirror.process.pause()
    more = deployment.post(stream.take(RECORDS[300:310]), PUBLISHED).json["size"]
    lose(deployment)
    mirror.process.resume()
    done = restoring(deployment, "--from", f"{mirror.url}/mirror")
    assert done.returncode == 7, done.stderr
    assert f"those from {size} to {more - 1} are missing" in done.stdout
    assert "would fork it" in done.stderr
    assert "another mirror" in done.stderr
    deployment.refuses("serve", 7, f"holds {size} leaves", f"a checkpoint of {more}")


def test_what_is_not_the_mirrors_word_is_not_restored(
    deployment: Deployment, tmp_path: Path
) -> None:
    [mirror] = deployment.mirrors
    stream = deployment.stream()
    size = deployment.post(stream.take(RECORDS[:300]), PUBLISHED).json["size"]
    mirrored(deployment.url, size)
    policy = deployment.folder / "log" / "witnesses.policy"
    text = policy.read_text()
    without = "".join(
        line for line in text.splitlines(keepends=True) if not line.startswith("group mirrors")
    )
    lose(deployment)
    policy.write_text(without)
    done = restoring(deployment, "--from", f"{mirror.url}/mirror")
    assert (done.returncode, "the policy names no mirrors" in done.stderr) == (8, True)
    other = processes.run(
        processes.muniment(
            "keygen", "--name", "mirror.example/other", "--use", "witness", "--algorithm",
            "ed25519", "--out", tmp_path / "other.pem",
        ),
        code=0,
    ).stdout.strip()  # fmt: skip
    done = restoring(deployment, "--from", f"{mirror.url}/mirror", "--vkey", other)
    assert (done.returncode, "not cosigned by a mirror" in done.stderr) == (8, True)
    assert not (deployment.folder / "log" / "log.db").exists()
    mirror.process.kill()
    done = restoring(deployment, "--from", f"{mirror.url}/mirror", "--vkey", str(mirror.vkey))
    assert done.returncode == 1, done.stderr
    mirror.start()
    policy.write_text(without.replace("quorum quorum2of3", "quorum none"))
    done = restoring(deployment, "--from", mirror.copy_of(ORIGIN), "--vkey", str(mirror.vkey))
    assert done.returncode == 0, done.stderr
    assert "nobody would know" in done.stdout


def test_an_interrupted_restore_goes_on(deployment: Deployment) -> None:
    [mirror] = deployment.mirrors
    stream = deployment.stream()
    size = 0
    for start in range(0, 5000, 1000):
        size = deployment.post(stream.take(RECORDS[start : start + 1000])).json["size"]
    published(deployment.url, size)
    mirrored(deployment.url, size)
    lose(deployment)
    config = load(deployment.config)
    told: list[int] = []

    class Cut(Exception):  # noqa: N818  # no error
        pass

    def tell(done: int, _: int) -> None:
        told.append(done)
        if len(told) == 1:
            raise Cut

    # One that ended in its first moment: a name without content, and a draft of a database.
    config.database.with_name(f"log.db{SUFFIX}").touch()
    config.database.with_name(f".log.db{SUFFIX}.new").write_bytes(b"SQLite format 3\0")
    with pytest.raises(Cut):
        asyncio.run(restore(config, [f"{mirror.url}/mirror"], tell=tell))
    assert config.database.with_name(f"log.db{SUFFIX}").exists()
    assert not config.database.exists()
    restored = asyncio.run(restore(config, [f"{mirror.url}/mirror"], tell=tell))
    assert restored.head.signed.checkpoint.size == size
    assert told[1] > told[0]
    assert not list(config.database.parent.glob(f"*{SUFFIX}*"))
    deployment.start_log()
    published(deployment.url, size)
