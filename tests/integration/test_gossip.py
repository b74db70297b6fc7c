"""Real witness processes against a log that lies: some see one history, some another."""

from contextlib import ExitStack
from pathlib import Path

import pytest

import processes
from byzantine import ByzantineLog, View
from muniment.tlog.evidence import parse_evidence
from muniment.tlog.policy import parse_policy
from muniment.tlog.proven import log_verifiers, verify_evidence
from stand import get, post
from waiting import eventually
from witness_deployment import Deployment

ROUNDS = 8
"""Rounds that a witness may begin with a peer until it knows: in one period each side pulls its
history, three are for gossip. A pause is at least 0.6 of a period, and one round may be under way.
"""


@pytest.mark.parametrize("kind", ["same-size", "fork", "middle"])
def test_a_split_view_is_found_by_every_witness_within_few_rounds(
    tmp_path: Path, kind: str
) -> None:
    """Evidence on every honest witness within three gossip periods of the split, that
    verifies offline by the command line; and cosigning has stopped."""
    log = ByzantineLog()
    log.main.append(300)
    with ExitStack() as stack:
        stand = stack.enter_context(log.serve("127.0.0.1", "127.0.0.2"))
        deployment = Deployment(tmp_path, ["w1", "w2", "w3"], log)
        # w1 sees one side, w2 the other; with "middle" only w3, which sees no log, knows both.
        joined = {"w1": ["w3"], "w2": ["w3"], "w3": ["w1", "w2"]}
        if kind != "middle":
            joined = {name: [n for n in joined if n != name] for name in joined}
        deployment.configure("w1", stand.url("127.0.0.1"), joined["w1"])
        deployment.configure("w2", stand.url("127.0.0.2"), joined["w2"])
        deployment.configure("w3", None, joined["w3"])
        running = stack.enter_context(deployment.running())
        for name in ("w1", "w2"):
            deployment.settle(name, 300)
        assert not any(deployment.evidence(name) for name in running)
        # The split: from here on each address shows another history.
        other = log.split("other", at=299, size=300)
        other.append(5 if kind == "same-size" else 90)
        log.show("other", at="127.0.0.2")
        log.main.append(5)
        before = {name: deployment.rounds(name) for name in running}
        found = {name: deployment.evidence_of(name) for name in running}
        assert all(found.values()), {name: process.stderr for name, process in running.items()}
        made = {name: rounds - before[name] for name, (_, rounds) in found.items()}
        assert max(made.values()) <= ROUNDS, made
        policy = tmp_path / "policy"
        policy.write_text("".join(f"log {vkey}\n" for vkey in log.vkeys) + "quorum none\n")
        for name, (hashes, _) in found.items():
            status, file = get(f"{deployment.url(name)}/gossip/evidence/{hashes[0]}")
            assert status == 200
            evidence = parse_evidence(file)
            verify_evidence(evidence, log_verifiers(parse_policy(policy.read_bytes())))
            path = tmp_path / f"{name}.evidence"
            path.write_bytes(file)
            processes.run(
                processes.muniment("evidence", "verify", path, "--policy", policy), code=5
            )
            _refuses(deployment, name, log.main)


def _refuses(deployment: Deployment, name: str, view: View) -> None:
    status, body = post(deployment.url(name) + "/add-checkpoint", view.add_checkpoint(0).encode())
    assert status == 403
    assert b"misbehaviour-proven" in body


def test_honest_witnesses_agree_through_restarts_and_say_what_they_compared(
    tmp_path: Path,
) -> None:
    log = ByzantineLog()
    log.main.append(10)
    with log.serve() as stand:
        deployment = Deployment(tmp_path, ["w1", "w2"], log)
        deployment.configure("w1", stand.url(), ["w2"])
        deployment.configure("w2", stand.url(), ["w1"])
        for _ in range(2):
            with deployment.running() as running:
                for _ in range(3):
                    log.main.append(70)
                    # Some growth between the rounds, however many.
                    asked = stand.count("/checkpoint")
                    eventually(lambda asked=asked: stand.count("/checkpoint") > asked + 2)  # type: ignore[misc]
                for name, peer in (("w1", "w2"), ("w2", "w1")):
                    status = deployment.settle(name, log.main.size, compared=True)
                    assert status["alarms"] == []
                    assert status["logs"][0]["cosigned"]["size"] == log.main.size
                    assert status["logs"][0]["evidence"] == []
                    [compared] = status["peers"][0]["logs"]
                    assert status["peers"][0]["name"] == f"{peer}.example"
                    assert compared["size"] == log.main.size
                    assert compared["finding"] in {"same", "extends", "prefix"}
                assert all(process.terminate() == 0 for process in running.values())
