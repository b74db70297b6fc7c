"""Clocks that are hours wrong: the times in signatures never go back, and nothing forks."""

import signal
import time
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import decisions
from faults.services import Services
from log_deployment import GATEWAY, ORIGIN, PUBLISHED, Deployment, ask, deployed, run
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.note import Verifier, parse_vkey, verify_note
from muniment.tlog.witnesswire import origin_hash
from muniment_service.exits import EXIT_FAILED
from processes import muniment_log
from witness_tools import GrowingLog, log_signer, set_up

HOURS = 3600
RECORDS = decisions.decisions(40, producer=GATEWAY)


def log_keys(made: Deployment) -> list[Verifier]:
    vkeys = run(muniment_log("vkeys", "--config", made.config))
    return [verifier_for(parse_vkey(vkey)) for vkey in vkeys]


def times(note: bytes, keys: list[Verifier]) -> list[int]:
    """The times that signatures of these keys state."""
    verified = verify_note(parse_signed_checkpoint(note).note, keys)
    return [each.timestamp for each in verified.signatures if each.timestamp is not None]


def test_a_log_never_signs_an_earlier_time_than_before(tmp_path: Path, quick: Services) -> None:
    with deployed(tmp_path) as made:
        made.log.terminate()
        keys, stream = log_keys(made), made.stream()
        cosigners = [verifier_for(witness.vkey) for witness in made.policy.witnesses]
        began, newest, size = int(time.time()), 0, 0
        for at, off in enumerate((0, -5 * HOURS, 3 * HOURS, -1 * HOURS, 0)):
            log = quick.log(made.config, clock_off=off)
            body = stream.take(RECORDS[at : at + 2])
            assert ask(f"{log.url}/v1/batches{PUBLISHED}", body).status == 200
            note = ask(f"{log.url}/checkpoint").body
            head = made.policy.verify(note, origin=ORIGIN)
            assert head.size > size
            size = head.size
            (signed,) = times(note, keys)
            assert signed >= newest
            assert signed <= time.time() + 3 * HOURS
            # Where its own clock is right or ahead, it is what is signed.
            assert signed == newest or signed >= began + off
            newest = signed
            # The witnesses have clocks of their own, and do not care.
            assert all(began <= each <= time.time() for each in times(note, cosigners))
            assert ("the clock is behind" in log.stderr) == (off < 0 or at == 4)
            log.kill()


def test_two_logs_with_clocks_hours_apart_sign_one_history(tmp_path: Path, quick: Services) -> None:
    """A stale process whose clock is ahead, resumed beside one that is behind."""
    with deployed(tmp_path) as made:
        made.log.terminate()
        keys, first, second = log_keys(made), made.stream(), made.stream()
        stale = quick.log(made.config, clock_off=5 * HOURS)
        answer = ask(f"{stale.url}/v1/batches{PUBLISHED}", first.take(RECORDS[:2]))
        assert answer.status == 200
        seen = times(ask(f"{stale.url}/checkpoint").body, keys)
        stale.signal(signal.SIGSTOP)
        made.config.with_name("log.db.lock").unlink()
        other = quick.log(made.config, clock_off=-5 * HOURS)
        answer = ask(f"{other.url}/v1/batches{PUBLISHED}", second.take(RECORDS[2:5]))
        assert answer.status == 200
        seen += times(ask(f"{other.url}/checkpoint").body, keys)
        stale.signal(signal.SIGCONT)
        # It may have ended by then: a witness of which it still waits for an answer tells it, too.
        with suppress(OSError, HTTPException):
            refused = ask(f"{stale.url}/v1/batches", first.peek(RECORDS[5:6]))
            assert refused.status == 503, refused.body
        assert stale.wait() == EXIT_FAILED
        answer = ask(f"{other.url}/v1/batches{PUBLISHED}", first.take(RECORDS[5:6]))
        assert answer.status == 200, answer.body
        note = ask(f"{other.url}/checkpoint").body
        assert made.policy.verify(note, origin=ORIGIN).size == answer.json["size"]
        seen += times(note, keys)
        assert seen == sorted(seen)
        other.kill()


def test_a_witness_waits_until_its_clock_has_caught_up(tmp_path: Path, quick: Services) -> None:
    log = GrowingLog(signers=[log_signer()])
    config, [vkey] = set_up(tmp_path / "w", log.vkeys, "mldsa44")
    keys = [verifier_for(vkey)]
    size, newest = 0, 0
    for off, signs in ((0, True), (2 * HOURS, True), (0, False), (-9 * HOURS, False),
                       (2 * HOURS + 5, True)):  # fmt: skip
        witness = quick.witness(config, clock_off=off)
        answer = ask(f"{witness.url}/add-checkpoint", log.request(size, size + 3).encode())
        latest = f"{witness.url}/{origin_hash(log.origin)}/checkpoint"
        if signs:
            assert answer.status == 200, answer.body
            size += 3
            (signed,) = times(ask(latest).body, keys)
            assert signed >= newest
            assert abs(signed - time.time() - off) < 60
            newest = signed
        else:
            answer.problem(503, "clock")
            assert ask(f"{witness.url}/readyz").status == 503
            status = ask(f"{witness.url}/status.json").json
            assert [alarm["kind"] for alarm in status["alarms"]] == ["clock"]
            # What it had signed is still what it shows.
            assert times(ask(latest).body, keys) == [newest]
        witness.kill()
