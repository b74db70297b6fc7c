"""Two witnesses near a real log make the quorum; a third is asked within a rate of its own."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import decisions
import processes
from log_deployment import GATEWAY, PUBLISHED, Deployment, ask, cluster_for, deployed
from muniment.permit import Permit, parse_permit
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.tlogproof import parse_tlog_proof
from processes import muniment, muniment_log
from waiting import eventually

RECORDS = decisions.decisions(30, producer=GATEWAY)
FAR = "witness.example/w2"
OFTEN = 86_400 * 20  # twenty a second: a test does not wait for longer than it must


@pytest.fixture(params=["sqlite", "cluster"])
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    with deployed(tmp_path, cluster_for(request)) as made:
        with made.config.open("a") as file:
            file.write(f'[[witness]]\nurl = "{made.witnesses[2].url}"\nper_day = {OFTEN}\n')
        yield made


def run(*arguments: object, code: int = 0) -> processes.Done:
    return processes.run([str(argument) for argument in arguments], code=code)


def signers(note: bytes) -> list[str]:
    return [line.name for line in parse_signed_checkpoint(note).note.signatures]


def test_far_cosignatures_are_served_kept_and_put_into_proofs(
    deployment: Deployment, tmp_path: Path
) -> None:
    url = deployment.url
    log = ("--log", url)
    policy = ("--policy", deployment.folder / "log" / "witnesses.policy")
    stream = deployment.stream()
    assert ask(f"{url}/checkpoint.cosigned").status == 404
    assert deployment.post(stream.take(RECORDS[:3]), PUBLISHED).status == 200

    # A proof of before: the third witness is away, and its cosignature comes later.
    deployment.witnesses[2].pause()
    run(*muniment_log("reload", "--config", deployment.config))
    assert deployment.post(stream.take(RECORDS[3:4]), PUBLISHED).status == 200
    early, entry = tmp_path / "early.tlog-proof", tmp_path / "early.json"
    run(*muniment("prove", *log, "--index", "1", "--out", early, "--entry-out", entry, *policy))
    before = parse_tlog_proof(early.read_bytes())
    told = json.loads(run(*muniment("refresh", early, *log, *policy, "--json")).stdout)
    assert (told["changed"], told["before"], told["now"]) == (False, told["now"], told["before"])
    deployment.witnesses[2].resume()

    # It joins the head that is served, and the newest one that it has cosigned is kept.
    def has_joined() -> bool:
        kept = ask(f"{url}/checkpoint.cosigned")
        return kept.status == 200 and {FAR} < {*signers(kept.body)} and FAR in served()

    def served() -> list[str]:
        return signers(ask(f"{url}/checkpoint").body)

    eventually(has_joined)
    done = run(*muniment("refresh", early, *log, *policy))
    assert f"Entry 1 of {before.checkpoint.checkpoint.origin}" in done.stdout
    after = parse_tlog_proof(early.read_bytes())
    assert after.index == before.index
    assert FAR in {line.name for line in after.checkpoint.note.signatures}
    run(*muniment("verify", early, "--entry", entry, *policy))
    again = json.loads(run(*muniment("refresh", early, *log, *policy, "--json")).stdout)
    assert again["changed"] is False
    permit = tmp_path / "early.permit"
    permit.write_bytes(Permit.of(entry.read_bytes(), before).encode())
    run(*muniment("refresh", permit, *log, *policy))
    assert parse_permit(permit.read_bytes()) == Permit.of(entry.read_bytes(), after)

    # The tree has grown: the proof is made anew, of the same leaf.
    size = after.checkpoint.checkpoint.size
    assert deployment.post(stream.take(RECORDS[4:20]), PUBLISHED).status == 200
    early.write_bytes(before.encode())
    eventually(lambda: size < cosigned_size(url))
    run(*muniment("refresh", early, *log, *policy, "--out", tmp_path / "new.tlog-proof"))
    assert early.read_bytes() == before.encode()
    renewed = parse_tlog_proof((tmp_path / "new.tlog-proof").read_bytes())
    assert renewed.checkpoint.checkpoint.size > size
    run(*muniment("verify", tmp_path / "new.tlog-proof", "--entry", entry, *policy))

    # A proof that is to have it waits for it.
    assert deployment.post(stream.take(RECORDS[20:21]), PUBLISHED).status == 200
    newest = cosigned_size(url, "checkpoint") - 1
    fresh = tmp_path / "fresh.tlog-proof"
    run(*muniment("prove", *log, "--index", newest, "--out", fresh, "--fresh", *policy))
    made = parse_tlog_proof(fresh.read_bytes())
    assert FAR in {line.name for line in made.checkpoint.note.signatures}

    # What came is there after a restart, before anybody is asked again.
    eventually(lambda: cosigned_size(url) > newest)
    deployment.witnesses[2].pause()
    deployment.log.terminate()
    deployment.start_log()
    kept = ask(f"{deployment.url}/checkpoint.cosigned")
    assert FAR in signers(kept.body)
    deployment.witnesses[2].resume()
    status = ask(f"{deployment.url}/readyz").json
    assert [each["per_day"] for each in status["witnesses"] if "per_day" in each] == [OFTEN]


def cosigned_size(url: str, name: str = "checkpoint.cosigned") -> int:
    return parse_signed_checkpoint(ask(f"{url}/{name}").body).checkpoint.size


def test_a_proof_of_another_tree_is_not_refreshed(deployment: Deployment, tmp_path: Path) -> None:
    if deployment.cluster is not None:
        pytest.skip("the command is the same")
    stream = deployment.stream()
    assert deployment.post(stream.take(RECORDS[:5]), PUBLISHED).status == 200
    good = tmp_path / "x.tlog-proof"
    log = ("--log", deployment.url)
    run(*muniment("prove", *log, "--index", "1", "--out", good))
    proof = parse_tlog_proof(good.read_bytes())
    assert deployment.post(stream.take(RECORDS[5:9]), PUBLISHED).status == 200
    for bad in (
        proof.encode().replace(b"index 1\n", b"index 2\n"),
        proof.encode().replace(f"\n{proof.checkpoint.checkpoint.size}\n".encode(), b"\n99\n"),
    ):
        good.write_bytes(bad)
        run(*muniment("refresh", good, *log), code=4)
        assert good.read_bytes() == bad
