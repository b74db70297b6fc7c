"""What was kept under earlier keys of a log, or under those of another log of its name.

Nothing is called misbehaviour that ``muniment evidence verify`` would not call so, with the same
policy; and what is by other keys is said to be, with what to do.
"""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import logsim
from auditing import audit
from governed import story
from logsim import LOG_SIGNER, NOW, ORIGIN, WITNESSES, LogSim, decision
from muniment import Guard, Trust
from muniment.audit.auditor import AuditOptions
from muniment.audit.report import Verdict
from muniment.audit.statefile import AuditState, load_state
from muniment.audit.trust import ProvenMisbehaviour
from muniment.cli import cli
from muniment.errors import Denied, InputError
from muniment.index.replica import Watched, follow_once
from muniment.monitor.core import AlarmLimits, Core
from muniment.monitor.heads import EARLIER, LOG, HeadReader
from muniment.permit import Context
from muniment.records.kinds import Entity
from muniment.tlog.checkpoint import Checkpoint, parse_signed_checkpoint, sign_checkpoint
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.note import Ed25519Signer
from muniment.tlog.policy import Policy, parse_policy
from muniment_log.errors import StorageError
from muniment_log.export import present

NEW_SIGNER = Ed25519Signer(ORIGIN, logsim.private("the new key"))
OLD, NEW = LOG_SIGNER.vkey, NEW_SIGNER.vkey


def policy_text(*keys: object) -> str:
    witnesses = "".join(f"witness w{n} {one.vkey}\n" for n, one in enumerate(WITNESSES, 1))
    logs = "".join(f"log {key}\n" for key in keys)
    return f"{logs}{witnesses}group g 2 w1 w2 w3\nquorum g\n"


OLD_POLICY, NEW_POLICY = (parse_policy(policy_text(key).encode()) for key in (OLD, NEW))


@dataclass
class Keyed(LogSim):
    """A log whose key may be another one."""

    signer: Ed25519Signer = LOG_SIGNER

    def checkpoint(
        self, size: int | None = None, *, now: int = NOW, root: bytes | None = None
    ) -> bytes:
        size = self.size if size is None else size
        head = Checkpoint(ORIGIN, size, self.root(size) if root is None else root)
        return sign_checkpoint(head, [self.signer, *self.witnesses], now).encode()


def grown(*ids: int, signer: Ed25519Signer = LOG_SIGNER) -> Keyed:
    sim = Keyed(signer=signer)
    for one in ids:
        sim.append([decision(one)])
    return sim


async def state_of(sim: LogSim) -> AuditState:
    outcome = await audit(sim, options=AuditOptions(OLD_POLICY))
    assert outcome.state is not None
    return outcome.state


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("old.policy").write_text(policy_text(OLD))
    Path("new.policy").write_text(policy_text(NEW))
    Path("old.vkey").write_text(f"# given up\n{OLD}\n")
    return tmp_path


def read(name: str) -> bytes:
    path = Path(name)
    return path.read_bytes() if path.exists() else b""


def spoil(path: Path) -> None:
    """Changes the log's signature on a state's checkpoint, and nothing else."""
    text = path.read_text()
    note: str = json.loads(text)["checkpoint"]
    line = next(line for line in note.split("\n") if line.startswith(f"— {ORIGIN} "))
    changed = line[:-9] + ("BBBB" if line[-9:-5] == "AAAA" else "AAAA") + line[-5:]
    assert text.count(line) == 1
    path.write_text(text.replace(line, changed))
    load_state(path)


async def muniment(*arguments: str, code: int) -> Result:
    result = await asyncio.to_thread(CliRunner().invoke, cli, arguments)
    assert result.exit_code == code, result.output
    return result


@pytest.mark.parametrize("others", [(2,), (2, 3), (2, 3, 4)])
async def test_a_log_set_up_anew_under_its_old_name_did_nothing(
    others: tuple[int, ...], place: Path
) -> None:
    """Also of the same size, also larger; the state is not condemned, and no evidence written."""
    old, new = grown(1), grown(*others, signer=NEW_SIGNER)
    async with old.serve() as url:
        to = ("audit", "--log", url, "--state", "state", "--policy")
        await muniment(*to, "old.policy", code=0)
        replica = (await follow_once(Watched(url, OLD_POLICY), place / "r", progress=_quiet)).leaves
        assert replica == 2
    kept = read("state")
    async with new.serve() as url:
        to = ("audit", "--log", url, "--state", "state", "--policy", "new.policy")
        told = (await muniment(*to, code=7)).output
        assert "the state's checkpoint is by keys that the policy does not list" in told
        assert f"{ORIGIN}+{OLD.key_id:08x}" in told
        assert "--old-vkey" in told
        assert "PROVEN" not in told
        assert (read("state"), read("state.evidence")) == (kept, b"")
        with pytest.raises(InputError, match="the policy does not list"):
            await follow_once(Watched(url, NEW_POLICY), place / "r", progress=_quiet)
        # Who says that they are one log's keys gets what that comes to, and can show it.
        told = (await muniment(*to, "--old-vkey", "old.vkey", code=5)).output
        assert "PROVEN" in told
        verify = ("evidence", "verify", "state.evidence", "--policy", "new.policy")
        await muniment(*verify, code=4)
        told = (await muniment(*verify, "--old-vkey", str(OLD), code=5)).output
        assert "No single key signed both" in told
        watched = Watched(url, NEW_POLICY, old_vkeys=(OLD,))
        with pytest.raises(ProvenMisbehaviour):
            await follow_once(watched, place / "r", progress=_quiet)
        # What a state keeps as proven is not repeated without the keys that prove it.
        await muniment(*to, code=7)
        assert "PROVEN" in (await muniment(*to, "--old-vkey", str(OLD), code=5)).output


def _quiet(_done: int, _total: int) -> None:
    pass


async def test_a_changed_key_is_gone_on_from(place: Path) -> None:
    log = grown(1, 2)
    async with log.serve() as url:
        audit = ("audit", "--log", url, "--state", "state")
        await muniment(*audit, "--policy", "old.policy", code=0)
        await follow_once(Watched(url, OLD_POLICY), place / "replica", progress=_quiet)
        log.signer = NEW_SIGNER
        log.append([decision(3)])
        await muniment(*audit, "--policy", "new.policy", code=7)
        told = await muniment(*audit, "--policy", "new.policy", "--old-vkey", str(OLD), code=0)
        assert "Goes on from 4 entries" in told.output
        await muniment(*audit, "--policy", "new.policy", code=0)
        for old, fails in (((), True), ((OLD,), False), ((), False)):
            watched = Watched(url, NEW_POLICY, old_vkeys=old)
            following = follow_once(watched, place / "replica", progress=_quiet)
            if fails:
                with pytest.raises(InputError, match="--old-vkey"):
                    await following
            else:
                assert (await following).checkpoint.size == 6


async def test_a_tampered_note_in_a_state_is_not_compared(place: Path) -> None:
    log = grown(1, 2)
    async with log.serve() as url:
        audit = ("audit", "--log", url, "--state", "state", "--policy", "old.policy")
        await muniment(*audit, code=0)
        spoil(Path("state"))
        assert "does not hold" in (await muniment(*audit, code=7)).output


@pytest.mark.parametrize("key", [f"{ORIGIN}+00000000+AAAA", f"{ORIGIN}+AAAA+AAAA"])
async def test_an_old_key_that_is_none(key: str, place: Path) -> None:
    for command in (
        ("audit", "--log", "http://127.0.0.1:1"),
        ("follow", "http://127.0.0.1:1", "--replica", "r", "--once"),
        ("monitor", "http://127.0.0.1:1", "http://127.0.0.1:2", "--once"),
    ):
        told = await muniment(*command, "--policy", "new.policy", "--old-vkey", key, code=7)
        assert "--old-vkey" in told.output
    other = Ed25519Signer("other.example", logsim.private("other")).vkey
    told = await muniment(
        "audit", "--log", "http://x", "--policy", "new.policy", "--old-vkey", str(other), code=7
    )
    assert "other.example is no log of the policy" in told.output


def monitored(policy: Policy, **how: object) -> Core:
    return Core(HeadReader(policy, ORIGIN, **how), ("http://w1",), AlarmLimits(), {})  # type: ignore[arg-type]


def test_a_monitors_memory_outlives_the_log_s_keys() -> None:
    log = grown(1, 2)
    kept = log.checkpoint()
    with pytest.raises(Exception, match="which the policy does not list"):
        monitored(NEW_POLICY).recall(kept)
    core = monitored(NEW_POLICY, old=(OLD,))
    core.recall(kept)
    assert core.earlier == kept
    # Old keys count for what was seen then, and not for what is shown now: others may have them.
    with pytest.raises(Exception, match="which the policy does not list"):
        core.reader.read(LOG, kept)
    other = grown(8, 9, signer=NEW_SIGNER)
    answers = {LOG: other.checkpoint(), "http://w1": other.checkpoint()}
    heads, alarms, pairs = core.heads(answers)
    assert EARLIER in heads
    result = core.conclude(heads, alarms, pairs, {}, NOW)
    proven = [alarm for alarm in result.alarms if alarm.kind == "proven-same-size"]
    assert len(proven) == 1
    assert any("No single key signed both" in line for line in result.lines())


class Exported:
    """An export's target with nothing but a checkpoint."""

    name = "static"

    def __init__(self, note: bytes) -> None:
        self._note = note

    async def get(self, key: str) -> bytes:
        if key != "checkpoint":
            raise LookupError(key)
        return self._note

    async def create_many(self, items: object) -> None:
        raise AssertionError(items)

    async def create_erasable(self, items: object) -> None:
        raise AssertionError(items)

    async def remove(self, keys: object) -> None:
        raise AssertionError(keys)

    async def replace(self, key: str, data: bytes) -> None:
        raise AssertionError(key, data)


async def test_an_export_goes_on_from_what_an_earlier_key_signed() -> None:
    log = grown()
    target, new = Exported(log.checkpoint()), [verifier_for(NEW)]
    head = parse_signed_checkpoint(log.checkpoint()).checkpoint
    with pytest.raises(StorageError, match=r"static.*--old-vkey"):
        await present(target, head, ORIGIN, new)
    assert await present(target, head, ORIGIN, new, old=[verifier_for(OLD)]) == 0


async def test_a_replica_of_another_policy_is_no_facts(place: Path) -> None:
    log = grown(1)
    replica = place / "replica"
    async with log.serve() as url:
        await follow_once(Watched(url, OLD_POLICY), replica, progress=_quiet)
    world, index = story()
    permit = world.permit(index)
    context = Context(now=NOW, action="read", resource=Entity("document", "7"))
    with pytest.raises(Denied, match="was not verified by this policy"):
        await Guard(Trust(policy=NEW_POLICY), replica, catch_up=0).check(permit, context)
    verdict = await Guard(Trust(policy=OLD_POLICY), replica, catch_up=0).verdict(permit, context)
    assert all("not verified by" not in one.sentence for one in verdict.findings)


def test_words_for_other_keys() -> None:
    signed = parse_signed_checkpoint(grown(1).checkpoint())
    for judge in (NEW_POLICY.verify, NEW_POLICY.recognise):
        with pytest.raises(Exception, match=rf"signed by {ORIGIN}\+{OLD.key_id:08x} only, which"):
            judge(signed)
    assert OLD in {found.vkey for found in OLD_POLICY.recognise(signed)}
    assert len(NEW_POLICY.recognise(signed, old=[OLD])) == 4


async def test_a_contradiction_that_does_not_verify_is_not_called_proven(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever finds it: the verdict of evidence files has the last word."""
    state = await state_of(grown(1))
    other = grown(2)
    monkeypatch.setattr("muniment.audit.auditor.check_kept", lambda *_: None)
    both = parse_policy(policy_text(NEW).encode())
    other.signer = NEW_SIGNER
    outcome = await audit(other, state, AuditOptions(both))
    assert outcome.report.verdict is Verdict.UNVERIFIED
    assert outcome.report.misbehaviour is None
    assert outcome.state == state
