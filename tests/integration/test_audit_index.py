"""An auditor that computes the index itself, by the command: whoever has cosigned a wrong one."""

import json
from pathlib import Path
from typing import Any

import pytest

import index_tools as tools
import logsim
import processes
from indexed_log import IndexedLog
from muniment.records.api import Decision, Revocation, Target, encode_record, parse_record
from muniment.tlog.evidence import WrongMapRoot, parse_evidence
from muniment.tlog.note import parse_vkey
from staticserver import static


@pytest.fixture
def log(tmp_path: Path) -> IndexedLog:
    """Decisions, one of which is revoked, in batches as a log takes them."""
    sim = logsim.LogSim()
    sim.append([logsim.decision(number) for number in range(300)])
    first = parse_record(sim.entries[0])
    assert isinstance(first, Decision)
    revoked = Revocation(
        v=1,
        id="revocation-1",
        time=first.time,
        producer=logsim.GATEWAY,
        target=Target(decision=first.id),
        since=1,
        reason="a test",
    )
    sim.append([encode_record(revoked)])
    made = IndexedLog(tmp_path / "log", logsim.ORIGIN, logsim.LOG_SIGNER)
    made.log.leaves = sim.entries[:301]
    made.index()
    made.log.leaves = sim.entries
    return made


def revocation_of(log: IndexedLog) -> int:
    return next(at for at, leaf in enumerate(log.log.leaves) if b'"revocation-1"' in leaf)


class Auditor:
    """Who has the policy, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.policy = folder / "policy"
        self.policy.write_text(logsim.POLICY_TEXT)
        self.evidence = folder / "wrong.evidence"
        self.replica = folder / "replica.db"

    def audit(self, url: str) -> tuple[int, dict[str, Any]]:
        arguments = ("--log", url, "--policy", self.policy, "--evidence", self.evidence)
        gateway = ("--gateway", str(logsim.GATEWAY_SIGNER.vkey))
        done = processes.run(processes.muniment("audit", *arguments, *gateway, "--index", "--json"))
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def verify(self, *more: object) -> processes.Done:
        argv = processes.muniment(
            "evidence", "verify", self.evidence, "--policy", self.policy, *more
        )
        return processes.run(argv)


def test_a_log_that_colludes_with_witnesses_is_convicted_by_any_auditor(
    tmp_path: Path, log: IndexedLog
) -> None:
    """Two of three witnesses have cosigned an index without the revocation: a quorum."""
    log.index(hide={revocation_of(log)})
    log.write(logsim.WITNESSES[:2], logsim.NOW)
    auditor = Auditor(tmp_path)
    with static(log.folder) as url:
        code, report = auditor.audit(url)
        processes.run(
            processes.muniment(
                "follow", url, "--policy", auditor.policy, "--replica", auditor.replica, "--once"
            ),
            code=0,
        )
    assert (code, report["verdict"]) == (5, "misbehaviour")
    [finding] = report["findings"]
    assert (finding["kind"], finding["proven"]) == ("wrong-index", True)
    evidence = parse_evidence(auditor.evidence.read_bytes())
    assert isinstance(evidence, WrongMapRoot)
    assert evidence.index == 1
    # Offline, for whoever has the leaves; without them nothing is proven.
    proven = auditor.verify("--replica", auditor.replica)
    assert proven.returncode == 5, proven.stdout + proven.stderr
    assert "the log signed an index that is not that of its leaves" in proven.stdout
    alone = auditor.verify()
    assert alone.returncode == 4
    assert "takes the leaves" in alone.stderr
    with tools.database(auditor.replica) as db:
        db.execute("DELETE FROM bundle WHERE idx = 1")
    assert auditor.verify("--replica", auditor.replica).returncode not in (0, 5)


def test_an_index_without_a_quorum_is_compared_all_the_same(
    tmp_path: Path, log: IndexedLog
) -> None:
    """Whoever colludes with one of three has no quorum, and is convicted as well."""
    log.index(hide={revocation_of(log)})
    log.write(logsim.WITNESSES[:2], logsim.NOW)
    log.indexed.write(log.folder / "index", logsim.WITNESSES[:1], logsim.NOW)
    with static(log.folder) as url:
        code, report = Auditor(tmp_path).audit(url)
    assert code == 5
    assert {one["kind"] for one in report["findings"]} == {"bad-index-checkpoint", "wrong-index"}


def test_an_honest_index_is_clean_and_one_that_is_not_there_is_told(
    tmp_path: Path, log: IndexedLog
) -> None:
    log.index()
    log.write(logsim.WITNESSES, logsim.NOW)
    auditor = Auditor(tmp_path)
    with static(log.folder) as url:
        code, report = auditor.audit(url)
        assert (code, report["findings"], report["index"]) == (0, [], {"leaves": 2})
        (log.folder / "index" / "checkpoint").unlink()
        code, report = auditor.audit(url)
        assert (code, [one["kind"] for one in report["findings"]]) == (4, ["no-index"])
        other = IndexedLog(log.folder, logsim.ORIGIN, logsim.LOG_SIGNER)
        other.log.leaves = [*log.log.leaves[:-1], b"{}"]
        other.index()
        other.indexed.write(log.folder / "index", logsim.WITNESSES, logsim.NOW)
        code, report = auditor.audit(url)
        assert (code, [one["kind"] for one in report["findings"]]) == (4, ["index-unverified"])
    assert parse_vkey(log.indexed.vkey).name == f"{logsim.ORIGIN}/index"
