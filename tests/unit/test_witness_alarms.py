"""Each alarm, at its limit and just within; and token buckets."""

from typing import Any

import pytest
from msgspec.structs import replace

from muniment_witness.config import LogOptions
from muniment_witness.gossip.alarms import KINDS, Situation, WitnessAlarm, alarms
from muniment_witness.gossip.logstate import LogState
from muniment_witness.gossip.peers import PeerHead, PeerState
from muniment_witness.gossip.senders import SenderBudget
from muniment_witness.witnessfile import Gossip

NOW = 1_700_000_000
LOG, PEER = "log.example", "w2.example"
LIMITS = Gossip(deadline_seconds=900, lag_seconds=600, skew_seconds=300)
QUIET = Situation(
    now=NOW,
    started=NOW - 100_000,
    name="w1.example",
    limits=LIMITS,
    options={LOG: LogOptions("http://log", max_age=3600)},
    heads={LOG: NOW - 3600},
    pulled={LOG: LogState(reached=NOW, size=5)},
    peers={PEER: PeerState(reached=NOW, heads={LOG: PeerHead(5, NOW, compared=NOW)})},
)


def kinds(situation: Situation) -> list[str]:
    return [alarm.kind for alarm in alarms(situation)]


def peer(**changes: Any) -> Situation:
    return replace(QUIET, peers={PEER: PeerState(reached=NOW, heads={LOG: PeerHead(**changes)})})


def two_logs(other: PeerHead) -> Situation:
    heads = {LOG: PeerHead(5, NOW, compared=NOW), "other.example": other}
    return replace(QUIET, peers={PEER: PeerState(reached=NOW, heads=heads)})


def log(**changes: Any) -> Situation:
    return replace(QUIET, pulled={LOG: LogState(**{"reached": NOW, **changes})})


@pytest.mark.parametrize(
    ("situation", "kind"),
    [
        (replace(QUIET, evidence=[(LOG, "ab", "fork")]), "evidence"),
        (replace(QUIET, unresolved=[(LOG, PEER, NOW - 901)]), "unresolved"),
        (replace(QUIET, restored=[LOG]), "restored"),
        (replace(QUIET, heads={LOG: NOW - 3601}), "old-head"),
        (log(behind=NOW - 601), "log-behind"),
        (peer(size=9, ahead=NOW - 601), "peer-ahead"),
        (peer(size=5, time=NOW + 301), "future"),
        (peer(size=-1), "not-compared"),
        (peer(size=-1, compared=NOW - 901), "not-compared"),
        (peer(size=5, error="status 403", compared=NOW - 901), "not-compared"),
        (two_logs(PeerHead(-1, cosigns=True)), "not-compared"),
        (replace(QUIET, clock_is_behind=True), "clock"),
        (log(reached=NOW - 901, error="x"), "unreachable"),
        (replace(QUIET, peers={PEER: PeerState(reached=NOW - 901, error="x")}), "unreachable"),
    ],
)
def test_each_alarm(situation: Situation, kind: str) -> None:
    assert kinds(situation) == [kind]


@pytest.mark.parametrize(
    "situation",
    [
        QUIET,
        replace(QUIET, unresolved=[(LOG, PEER, NOW - 900)]),
        log(behind=NOW - 600),
        # A head that is old while the log does not answer is the log's silence, not a freeze.
        replace(log(error="x"), heads={LOG: NOW - 9999}),
        peer(size=9, ahead=NOW - 600),
        peer(size=5, time=NOW + 300),
        replace(log(reached=0, error="x"), started=NOW - 900),
        replace(QUIET, heads={}),
        peer(size=-1, compared=NOW - 900),
        replace(peer(size=-1), started=NOW - 900),
        peer(size=5, error="status 403", compared=NOW - 900),
        # A peer need not cosign every log, as long as it shows one.
        two_logs(PeerHead(-1)),
    ],
)
def test_within_the_limits_there_is_none(situation: Situation) -> None:
    assert alarms(situation) == []


def test_the_gravest_comes_first() -> None:
    found = alarms(
        replace(
            peer(size=9, ahead=1),
            clock_is_behind=True,
            evidence=[(LOG, "ab", "fork")],
            restored=[LOG],
        )
    )
    assert [KINDS.index(alarm.kind) for alarm in found] == sorted(
        KINDS.index(alarm.kind) for alarm in found
    )
    assert found[0] == WitnessAlarm("evidence", LOG, "evidence ab: its key signed two histories")


def test_budgets_refill_up_to_their_burst() -> None:
    now = 0.0
    budget = SenderBudget(2.0, 3.0, lambda: now)
    assert [budget.take(("a",)) for _ in range(4)] == [True, True, True, False]
    assert budget.take(("b",))
    now = 0.5
    assert [budget.take(("a",)) for _ in range(2)] == [True, False]
    now = 100.0
    assert [budget.take(("a",)) for _ in range(4)] == [True, True, True, False]
