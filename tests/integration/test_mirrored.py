"""A real log pushes to real mirrors of ours, embedded and in a cluster."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import decisions
import muniment
import processes
from log_deployment import (
    GATEWAY,
    ORIGIN,
    PUBLISHED,
    Deployment,
    ask,
    cluster_for,
    deployed,
    leaves_of,
    run,
)
from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment.tlog.mirrors import check_mirrored
from muniment.tlog.policy import format_policy, parse_policy
from muniment.tlog.tlogproof import parse_tlog_proof
from tcpproxy import Proxy
from waiting import LONGER, eventually

RECORDS = decisions.decisions(600, producer=GATEWAY)
DECISION = {
    "kind": "decision",
    "request": decisions.request("planner", "call", ("tool", "crm.search")),
    "response": {"decision": True},
}


@pytest.fixture(params=["sqlite", "cluster"])
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    with deployed(tmp_path, cluster_for(request), mirrors=2) as made:
        yield made


def mirrored(deployment: Deployment, size: int, seconds: float = 30) -> SignedCheckpoint:
    answer = ask(f"{deployment.url}/checkpoint.mirrored?size={size}&timeout={seconds:g}")
    assert answer.status == 200, answer.body
    return parse_signed_checkpoint(answer.body)


def test_mirrors_hold_what_the_log_published_and_their_cosignatures_are_served(
    deployment: Deployment,
) -> None:
    assert ask(f"{deployment.url}/checkpoint.mirrored").status in {200, 404}
    stream = deployment.stream()
    size = 0
    for start in range(0, 500, 100):
        answer = deployment.post(stream.take(RECORDS[start : start + 100]), PUBLISHED)
        assert answer.status == 200
        size = answer.json["size"]
    note = mirrored(deployment, size)
    check_mirrored(deployment.policy.verify(note))
    leaves = leaves_of(deployment.url, size)
    for mirror in deployment.mirrors:

        def shows(copy: str = mirror.copy_of(ORIGIN)) -> bool:
            answer = ask(f"{copy}/checkpoint")
            return answer.status == 200 and (
                parse_signed_checkpoint(answer.body).checkpoint.size >= size
            )

        eventually(shows)
        assert leaves_of(mirror.copy_of(ORIGIN), size) == leaves

    # One is gone: the other is enough; and when it comes back it is given what it lacks.
    gone = deployment.mirrors[0]
    gone.process.kill()
    answer = deployment.post(stream.take(RECORDS[500:600]), PUBLISHED)
    assert answer.status == 200
    size = answer.json["size"]
    check_mirrored(deployment.policy.verify(mirrored(deployment, size)))
    gone.start()

    def has_it() -> bool:
        answer = ask(f"{gone.copy_of(ORIGIN)}/checkpoint")
        return answer.status == 200 and (
            parse_signed_checkpoint(answer.body).checkpoint.size >= size
        )

    eventually(has_it)


def test_who_wants_a_decision_held_by_mirrors_waits_for_that(tmp_path: Path) -> None:
    with deployed(tmp_path, mirrors=1) as made:
        [mirror] = made.mirrors
        signer = made.signer
        with muniment.blocking.Gateway(
            made.url, signer, stream="a", policy=made.policy, require="mirrored"
        ) as gateway:
            permit = gateway.authorize(DECISION)
            check_mirrored(made.policy.verify(permit.proof.checkpoint))
            [receipt] = gateway.submit([DECISION], mirrored=True)
            head = receipt.tlog_proof().checkpoint
            check_mirrored(made.policy.verify(head))
            # One that does not ask does not wait, whatever the mirror does.
            mirror.process.pause()
            gateway.authorize(DECISION, require="cosigned")
            for seconds in LONGER:
                with pytest.raises(muniment.Denied) as denied:
                    gateway.authorize(DECISION, timeout=seconds)
                if "mirrors do not hold it" in str(denied.value):
                    break
            assert "mirrors do not hold it" in str(denied.value)
            assert denied.value.codes == ("governance_mesh_discontinuity",)
            mirror.process.resume()
            gateway.authorize(DECISION)
            others = "".join(
                line
                for line in format_policy(made.policy).decode().splitlines(keepends=True)
                if not line.startswith("group mirrors")
            )
            with pytest.raises(ValueError, match="a group of the name mirrors"):
                muniment.blocking.Gateway(
                    made.url, signer, policy=parse_policy(others.encode()), require="mirrored"
                )

        # The command, too.
        lines = tmp_path / "decisions.ndjson"
        lines.write_bytes(b"\n".join(decisions.decisions(3, producer="gw.example/cli")) + b"\n")
        key = tmp_path / "gateway.pem"
        [vkey] = run(
            processes.muniment(
                "keygen", "--name", "gw.example/cli", "--use", "gateway", "--algorithm", "ed25519",
                "--out", key,
            )
        )  # fmt: skip
        with made.config.open("a") as file:
            file.write(f'[[gateway]]\nvkey = "{vkey}"\n')
        run(processes.muniment_log("reload", "--config", made.config))
        policy = tmp_path / "log" / "witnesses.policy"
        done = processes.run(
            processes.muniment(
                "submit", "--log", made.url, "--key", key, "--stream", "cli", "--wait", "mirrored",
                "--policy", policy, lines,
            ),
            code=0,
        )  # fmt: skip
        told = json.loads(done.stdout.splitlines()[0])
        for option in ("--mirrored", "--fresh"):
            proof = tmp_path / f"x{option}.tlog-proof"
            run(
                processes.muniment(
                    "prove", "--log", made.url, "--index", str(told["first"]), "--out", proof,
                    "--policy", policy, option,
                )
            )  # fmt: skip
            check_mirrored(made.policy.verify(parse_tlog_proof(proof.read_bytes()).checkpoint))
        note = parse_signed_checkpoint(told["published"]["checkpoint"].encode())
        check_mirrored(made.policy.verify(note))


def test_a_push_may_be_cut_off_anywhere_and_the_log_killed(tmp_path: Path) -> None:
    with deployed(tmp_path, mirrors=1) as made:
        [mirror] = made.mirrors
        with Proxy(mirror.port) as proxy:
            policy = tmp_path / "log" / "witnesses.policy"
            policy.write_text(
                policy.read_text().replace(mirror.url, f"http://127.0.0.1:{proxy.port}")
            )
            run(processes.muniment_log("reload", "--config", made.config))
            stream = made.stream()
            size = 0
            # Within the checkpoint, its proof, the first package, and far into the entries.
            for number, bytes_ in enumerate((1, 300, 900, 5_000, 60_000)):
                proxy.tripped.clear()
                proxy.left = bytes_
                records = RECORDS[100 * number : 100 * number + 100]
                answer = made.post(stream.take(records), PUBLISHED)
                assert answer.status == 200
                size = answer.json["size"]
                assert proxy.tripped.wait(60)
                if number % 2:
                    made.log.kill()
                    made.start_log()
                # Whatever is shown as mirrored, the mirror has.
                shown = ask(f"{made.url}/checkpoint.mirrored")
                if shown.status == 200:
                    claimed = parse_signed_checkpoint(shown.body).checkpoint
                    held = parse_signed_checkpoint(ask(f"{mirror.copy_of(ORIGIN)}/checkpoint").body)
                    assert held.checkpoint.size >= claimed.size
                check_mirrored(made.policy.verify(mirrored(made, size, 60)))
            assert leaves_of(mirror.copy_of(ORIGIN), size) == leaves_of(made.url, size)
