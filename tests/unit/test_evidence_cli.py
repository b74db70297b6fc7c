"""``muniment evidence`` and the evidence of ``muniment audit``: words, files and exit codes."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import Result

from byzantine import ByzantineLog
from chains import START, YEAR, file, version
from commands import muniment, online
from logsim import LOG_SIGNER, ORIGIN, POLICY, POLICY_TEXT, WITNESSES, LogSim, decision
from muniment.audit.evidence import prove
from muniment.audit.trust import Misbehaviour
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.evidence import (
    Evidence,
    empty_root,
    fork,
    log_verifiers,
    parse_evidence,
    same_size,
    verify_evidence,
)
from muniment.tlog.note import parse_vkey
from muniment.tlog.policy import Policy, parse_policy
from muniment.tlog.policyversion import KeyRevocation
from signing import witness
from witness_tools import log_signer

LOG = ByzantineLog()
LOG.main.append(12)
OTHER = LOG.split("other", at=5)


def policy_text(vkey: object = LOG.vkeys[0]) -> str:
    return f"log {vkey}\nquorum none\n"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast_reads: None) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.policy").write_text(policy_text())


def write(evidence: Evidence) -> str:
    Path("it.evidence").write_bytes(evidence.encode())
    return "it.evidence"


FORK = fork(LOG.main.checkpoint(8), OTHER.checkpoint(12), OTHER.root(8), OTHER.proof(8, 12))
SAME = same_size(LOG.main.checkpoint(), OTHER.checkpoint())


def test_verify_says_what_is_proven() -> None:
    told = muniment("evidence", "verify", write(FORK), "--policy", "p.policy", code=5).stdout
    assert told.startswith("Proven: the log signed a tree that does not contain the tree")
    assert LOG.origin in told
    assert "8 leaves" in told
    assert FORK.hash.hex() in told


def test_verify_in_json() -> None:
    told = muniment("evidence", "verify", write(SAME), "--policy", "p.policy", "--json", code=5)
    value = json.loads(told.stdout)
    assert (value["verified"], value["kind"], value["origin"]) == (True, "same-size", LOG.origin)
    assert [signed["size"] for signed in value["checkpoints"]] == [12, 12]
    assert {tuple(signed["signed_by"]) for signed in value["checkpoints"]} == {(LOG.vkeys[0],)}
    assert value["sha256"] == SAME.hash.hex()


def test_that_others_may_have_the_key_is_said_and_takes_nothing_back() -> None:
    text = f"log {LOG.vkeys[0]}\nwitness w1 {witness('w1').vkey}\nquorum w1\n"
    listed = KeyRevocation("compromised", parse_vkey(LOG.vkeys[0]), START)
    Path("p.policy").write_bytes(file(version((), text, (START, START + YEAR), revoked=[listed])))
    for command in ("verify", "explain"):
        told = muniment("evidence", command, write(SAME), "--policy", "p.policy", code=5)
        assert "as compromised since 2026-01-01 00:00:00 UTC: others than" in told.stderr


def test_evidence_that_does_not_hold_proves_nothing() -> None:
    stranger = log_signer(LOG.origin)
    Path("p.policy").write_text(policy_text(stranger.vkey))
    told = muniment("evidence", "verify", write(SAME), "--policy", "p.policy", code=4)
    assert told.stdout == ""
    assert "proves nothing" in told.stderr
    told = muniment("evidence", "verify", write(SAME), "--policy", "p.policy", "--json", code=4)
    assert json.loads(told.stdout)["verified"] is False
    muniment("evidence", "explain", write(SAME), "--policy", "p.policy", code=4)


def test_a_file_that_is_no_evidence_is_bad_input() -> None:
    Path("bad").write_bytes(b"hello\n")
    for command in ("verify", "explain"):
        assert "bad" in muniment("evidence", command, "bad", "--policy", "p.policy", code=7).stderr
        muniment("evidence", command, "missing", "--policy", "p.policy", code=7)


def test_explain_without_a_policy_claims_nothing_as_verified() -> None:
    told = muniment("evidence", "explain", write(FORK), code=0).stdout
    assert told.startswith("Not verified")
    assert "signed by" not in told
    value = json.loads(muniment("evidence", "explain", write(FORK), "--json", code=0).stdout)
    assert value["verified"] is False
    assert value["checkpoints"][0]["signed_by"] == []
    told = muniment("evidence", "explain", write(FORK), "--policy", "p.policy", code=5).stdout
    assert told.startswith("Verified")
    assert "is signed by the Ed25519 key" in told


# Audits


def audit(sim: LogSim, *more: str, code: int) -> Result:
    Path("trust.policy").write_text(POLICY_TEXT)

    async def work() -> Result:
        async with sim.serve() as url:
            arguments = ("audit", "--log", url, "--policy", "trust.policy", *more)
            return await online(*arguments, code=code)

    return asyncio.run(work())


def sims() -> tuple[LogSim, LogSim]:
    one, other = LogSim(), LogSim()
    for number, sim in enumerate((one, other)):
        sim.append([decision(at) for at in range(5)])
        sim.append([decision(100 * number + 10)])
    return one, other


def test_an_audit_leaves_evidence_beside_its_state() -> None:
    one, other = sims()
    audit(one, "--state", "s", code=0)
    assert not Path("s.evidence").exists()
    told = audit(other, "--state", "s", code=5)
    assert "s.evidence" in told.stdout
    evidence = parse_evidence(Path("s.evidence").read_bytes())
    assert verify_evidence(evidence, log_verifiers(POLICY)).kind == "same-size"
    muniment("evidence", "verify", "s.evidence", "--policy", "trust.policy", code=5)
    # The state remembers the proof: it can be written again.
    audit(one, "--state", "s", "--evidence", "again", code=5)
    assert Path("again").read_bytes() == evidence.encode()


def test_an_audit_that_finds_a_fork_writes_it_where_it_is_told() -> None:
    one, other = sims()
    audit(one, "--state", "s", code=0)
    other.append([decision(500)])
    told = audit(other, "--state", "s", "--evidence", "e", "--json", code=5)
    assert json.loads(told.stdout)["evidence_file"] == "e"
    evidence = parse_evidence(Path("e").read_bytes())
    assert verify_evidence(evidence, log_verifiers(POLICY)).kind == "fork"
    assert b"witness.example" not in Path("e").read_bytes()
    assert not Path("s.evidence").exists()


def test_a_finding_that_is_no_split_view_leaves_no_evidence() -> None:
    sim, _ = sims()
    sim.overrides["tile/entries/000.p/8"] = b"spoiled"
    audit(sim, "--evidence", "e", code=4)
    assert not Path("e").exists()


def test_proofs_of_older_keys_and_broken_states() -> None:
    sim = LogSim()
    sim.append([decision(1)])
    bad = sim.checkpoint(0, root=b"x" * 32)
    proof = Misbehaviour("empty-root", (bad,))
    known = prove(proof, POLICY).evidence
    assert verify_evidence(known, log_verifiers(POLICY))
    rotated: Policy = parse_policy(policy_text(log_signer(ORIGIN).vkey).encode())
    with pytest.raises(VerificationError, match="checkpoint 1"):
        prove(proof, rotated)
    kept = prove(proof, rotated, [LOG_SIGNER.vkey]).evidence
    assert kept == known
    assert kept.checkpoints[0].note.signatures[0].key_id == LOG_SIGNER.vkey.key_id
    assert len(WITNESSES) == 3
    for broken in (
        Misbehaviour("fork", (bad, bad)),
        Misbehaviour("same-size", (bad,)),
        Misbehaviour("same-size", (bad, bad)),
        Misbehaviour("empty-root", (b"junk",)),
    ):
        with pytest.raises(FormatError):
            prove(broken, POLICY)
    assert isinstance(kept, type(empty_root(kept.checkpoints[0])))


def test_a_policy_says_up_to_where_evidence_can_still_be_found() -> None:
    """Design 5: "gossip buys detection with latency from k >= f + 1"."""
    witnesses = "".join(f"witness w{n} {w.vkey}\n" for n, w in enumerate(WITNESSES, 1))
    for needed, detectable in ((1, 0), (2, 1), (3, 2)):
        group = f"group g {needed} w1 w2 w3\nquorum g\n"
        Path("q.policy").write_text(policy_text().replace("quorum none\n", witnesses + group))
        value = json.loads(muniment("policy", "explain", "q.policy", "--json", code=0).stdout)
        assert (value["detectable"], value["byzantine"]) == (detectable, max(2 * needed - 3, 0) - 1)
        told = muniment("policy", "explain", "q.policy", code=0).stdout
        assert ("find a split view afterwards" in told) == (needed < 3)
        assert ("none of them cheats" in told) == (needed == 1)
    value = json.loads(muniment("policy", "explain", "p.policy", "--json", code=0).stdout)
    assert value["detectable"] == -1
