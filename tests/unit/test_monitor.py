"""The monitor's judgement without I/O: what it concludes, since when, and what it never says."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byzantine import View, bad_signature, cosigned, poisoned, unsigned
from muniment.errors import FormatError, VerificationError
from muniment.monitor.core import MAX_PROVEN, AlarmLimits, Core, Missing, Tiles
from muniment.monitor.heads import EARLIER, LOG, HeadReader, ShownHead, compare, pairs_of
from muniment.monitor.report import CAVEAT, AlarmWeight, MonitorRound
from muniment.tlog.cosignature import signer_for
from muniment.tlog.heads import Prefix
from muniment.tlog.keys.keyfile import generate
from muniment.tlog.note import Signer
from muniment.tlog.policy import parse_policy
from muniment.tlog.quorum import CLOCK_SKEW

NOW = 1_790_000_000
ONE, TWO, THREE = "http://w1", "http://w2", "http://w3"


def witness(name: str) -> Signer:
    return signer_for(f"witness.example/{name}", generate("ed25519"), use="witness")


W1, W2, W3 = (witness(name) for name in ("w1", "w2", "w3"))
LOG_VIEW = View(clock=lambda: NOW).append(40)
OTHER = LOG_VIEW.fork(10, 40)
POLICY = parse_policy(
    (
        f"log {LOG_VIEW.vkeys[0]}\nwitness w1 {W1.vkey} {ONE}\nwitness w2 {W2.vkey} {TWO}\n"
        f"witness w3 {W3.vkey}\ngroup g 2 w1 w2 w3\nquorum g\n"
    ).encode()
)


def core(**limits: int) -> Core:
    return Core(
        HeadReader(POLICY, LOG_VIEW.origin),
        (ONE, TWO, THREE),
        AlarmLimits(**limits),
        {ONE: frozenset({"w1"}), TWO: frozenset({"w2"})},
    )


def log_head(size: int, view: View = LOG_VIEW, now: int = NOW) -> bytes:
    return view.checkpoint(size, cosigners=[W1, W2], now=now).encode()


def held(by: Signer, size: int, view: View = LOG_VIEW, now: int = NOW) -> bytes:
    return cosigned(view, by, size, now=now)


def one_round(
    it: Core,
    answers: Mapping[str, bytes | Missing],
    *,
    now: int = NOW,
    views: tuple[View, ...] = (LOG_VIEW, OTHER),
    withheld: bool = False,
) -> MonitorRound:
    """A round in which the tiles of the newer head's own view are found."""
    heads, alarms, pairs = it.heads(answers)
    tiles: dict[object, Tiles] = {}
    for pair in pairs:
        if not pair.needs_proof:
            continue
        tiles[pair] = Tiles(is_compared=False, reason="withheld")
        for view in views:
            if not withheld and view.root(pair.newer.size) == pair.newer.root:
                old, new = pair.older.size, pair.newer.size
                evidence = compare(pair, Prefix(view.root(old), view.proof(old, new)))
                tiles[pair] = Tiles(is_compared=True, evidence=evidence)
    return it.conclude(heads, alarms, pairs, tiles, now)  # type: ignore[arg-type]


def kinds(result: MonitorRound) -> set[str]:
    return {alarm.kind for alarm in result.alarms}


def honest(
    size: int = 40, w1: int = 40, w2: int = 40, w3: int = 40, now: int = NOW
) -> dict[str, bytes | Missing]:
    return {
        LOG: log_head(size, now=now),
        ONE: held(W1, w1, now=now),
        TWO: held(W2, w2, now=now),
        THREE: held(W3, w3, now=now),
    }


def test_all_agree() -> None:
    result = one_round(core(), honest(40, 40, 39, 7))
    assert result.alarms == ()
    assert set(result.agreeing) == {ONE, TWO, THREE}
    assert len(result.compared) == 3
    told = "\n".join(result.lines())
    assert CAVEAT in told
    assert "2026" in told
    for words in ("no split", "all is well", "no fork"):
        assert words not in told.lower()


def test_the_log_behind_its_witnesses_is_compared_in_the_other_direction() -> None:
    result = one_round(core(), honest(20, 40, 35, 10))
    assert kinds(result) == set()
    assert set(result.agreeing) == {ONE, TWO, THREE}


def test_two_roots_of_one_size_are_proven() -> None:
    result = one_round(core(), {**honest(), TWO: held(W2, 40, OTHER)})
    assert result.weight is AlarmWeight.PROVEN
    alarm = result.alarms[0]
    assert (alarm.kind, alarm.evidence is not None) == ("proven-same-size", True)
    assert TWO not in result.agreeing
    assert "not_compared" in result.as_json()


@pytest.mark.parametrize(("log", "at"), [(40, 25), (25, 40)])
def test_a_fork_at_another_size_is_proven(log: int, at: int) -> None:
    answers = {**honest(log, 20, 20, 20), TWO: held(W2, at, OTHER)}
    result = one_round(core(), answers)
    assert "proven-fork" in kinds(result)
    assert result.alarms[0].evidence is not None


def test_an_empty_tree_with_a_root_is_proven() -> None:
    bad = LOG_VIEW.checkpoint(0, root=b"x" * 32, cosigners=[W1, W2]).encode()
    result = one_round(core(), {**honest(), LOG: bad})
    assert "proven-empty-root" in kinds(result)


def test_withheld_tiles_are_suspicion_only() -> None:
    """A failed proof or a missing tile is never said to be a proof against the log."""
    answers = {**honest(40), TWO: held(W2, 25, OTHER)}
    result = one_round(core(), answers, withheld=True)
    assert result.weight is AlarmWeight.UNVERIFIED
    assert "not-compared" in kinds(result)
    assert all(alarm.evidence is None for alarm in result.alarms)


def test_what_stays_open_becomes_an_alarm() -> None:
    """Design 3.3: suspicion "is stored apart and resolved with a deadline"."""
    it = core(grace=100)
    answers = {**honest(30), TWO: held(W2, 25)}
    opened = one_round(it, answers, withheld=True)
    assert kinds(opened) == set()
    assert TWO not in opened.agreeing
    assert TWO in opened.as_json()["not_compared"]
    assert kinds(one_round(it, answers, now=NOW + 99, withheld=True)) == set()
    late = one_round(it, answers, now=NOW + 100, withheld=True)
    assert {alarm.kind for alarm in late.raised} == {"not-compared"}
    assert TWO in {alarm.party for alarm in late.raised}
    assert {kind for kind, _ in one_round(it, answers, now=NOW + 101).cleared} == {"not-compared"}
    # A new clock, not the old one.
    assert kinds(one_round(it, answers, now=NOW + 102, withheld=True)) == set()


def test_what_was_proven_stays() -> None:
    it = core()
    split = {**honest(), TWO: held(W2, 40, OTHER)}
    first = one_round(it, split)
    again = one_round(it, split)
    healed = one_round(it, honest())
    assert [alarm.kind for alarm in first.raised] == ["proven-same-size"]
    assert again.raised == ()
    assert healed.raised == healed.cleared == ()
    assert healed.weight is AlarmWeight.PROVEN


def test_a_log_that_forks_for_ever_makes_a_bounded_noise() -> None:
    it = core()
    raised = 0
    for size in range(11, 40):
        answers = {**honest(), LOG: log_head(size), TWO: held(W2, size, OTHER)}
        raised += sum(a.weight is AlarmWeight.PROVEN for a in one_round(it, answers).raised)
    assert raised == MAX_PROVEN


def test_the_log_is_compared_with_what_it_showed_before() -> None:
    it = core()
    silent = dict.fromkeys((ONE, TWO, THREE), Missing("unreachable", "gone"))
    one_round(it, {LOG: log_head(20), **silent})
    assert EARLIER in one_round(it, {LOG: log_head(30), **silent}).agreeing
    forked = one_round(it, {LOG: log_head(35, OTHER), **silent})
    assert "proven-fork" in kinds(forked)
    # And the memory is still of the first history.
    assert "proven-same-size" in kinds(one_round(it, {LOG: log_head(30, OTHER), **silent}))


def test_who_does_not_answer_is_named() -> None:
    it = core()
    answers: dict[str, bytes | Missing] = {
        **honest(),
        ONE: Missing("unreachable", "no route\x1b[2J"),
        TWO: Missing("bad-answer", "a redirect"),
    }
    result = one_round(it, answers)
    assert {(alarm.kind, alarm.party) for alarm in result.alarms} == {
        ("unreachable", ONE),
        ("bad-answer", TWO),
    }
    assert all("\x1b" not in line for line in result.lines())
    assert result.agreeing == (THREE,)
    over = one_round(it, honest())
    assert set(over.cleared) == {("unreachable", ONE), ("bad-answer", TWO)}
    nobody = one_round(it, dict.fromkeys((LOG, ONE, TWO, THREE), Missing("unreachable", "x")))
    assert nobody.weight is AlarmWeight.UNREACHABLE


@pytest.mark.parametrize("spoil", [bad_signature, unsigned, poisoned])
def test_only_what_the_log_signed_counts(spoil: object) -> None:
    bad = spoil(OTHER.checkpoint(40))  # type: ignore[operator]
    result = one_round(core(), {**honest(), THREE: bad.encode()})
    assert kinds(result) == {"bad-checkpoint"}
    assert THREE not in result.agreeing


def test_no_quorum_no_cosignature() -> None:
    alone = LOG_VIEW.checkpoint(40, cosigners=[W1]).encode()
    stranger = cosigned(LOG_VIEW, witness("w9"), now=NOW)
    # w2 is expected at TWO by its URL in the policy; any witness will do at THREE.
    result = one_round(core(), {LOG: alone, ONE: held(W1, 40), TWO: held(W3, 40), THREE: stranger})
    assert {(alarm.kind, alarm.party) for alarm in result.alarms} == {
        ("no-quorum", LOG),
        ("not-cosigned", TWO),
        ("not-cosigned", THREE),
    }
    assert kinds(one_round(core(), {**honest(), THREE: held(W1, 40)})) == set()


def test_ages() -> None:
    old = {**honest(), LOG: log_head(40, now=NOW - 100)}
    assert kinds(one_round(core(), old)) == set()
    assert kinds(one_round(core(max_age=99), old)) == {"too-old"}
    assert kinds(one_round(core(max_age=100), old)) == set()
    ahead = {**honest(), ONE: held(W1, 40, now=NOW + CLOCK_SKEW + 1)}
    [alarm] = one_round(core(), ahead).alarms
    assert (alarm.kind, alarm.party) == ("future", ONE)
    assert "w1 states 2026-" in alarm.sentence


def test_lag_counts_from_when_somebody_was_ahead() -> None:
    it = core(max_lag=100)
    assert kinds(one_round(it, honest(20, 20, 20, 5))) == set()
    # The log goes on growing; that does not restart the clock of who stands still.
    assert kinds(one_round(it, honest(30, 30, 30, 5, NOW + 90), now=NOW + 90)) == set()
    late = one_round(it, honest(40, 40, 40, 5, NOW + 101), now=NOW + 101)
    assert [(alarm.kind, alarm.party) for alarm in late.alarms] == [("behind", THREE)]
    # It has reached what it was late for: a new clock, from when the new size is known to exist.
    moved = one_round(it, honest(40, 40, 40, 25, NOW + 102), now=NOW + 102)
    assert moved.cleared == (("behind", THREE),)
    assert kinds(one_round(it, honest(40, 40, 40, 25, NOW + 201), now=NOW + 201)) == set()
    late = one_round(it, honest(40, 40, 40, 25, NOW + 202), now=NOW + 202)
    assert kinds(late) == {"behind"}


def test_one_wrong_clock_makes_nobody_late_and_hides_no_freeze() -> None:
    slow = {**honest(20, 20, 20, 20), ONE: held(W1, 40, now=NOW - 864_000)}
    assert kinds(one_round(core(max_lag=100), slow)) == set()
    frozen = LOG_VIEW.checkpoint(40, now=NOW - 3601)
    fast = frozen.with_signatures(
        [
            *frozen.note.signatures,
            W1.sign(frozen.note.text, NOW + 864_000),
            W2.sign(frozen.note.text, NOW - 3601),
            W3.sign(frozen.note.text, NOW - 3700),
        ]
    )
    result = one_round(core(max_age=3600), {**honest(), LOG: fast.encode()})
    assert {(alarm.kind, alarm.party) for alarm in result.alarms} == {
        ("too-old", LOG),
        ("future", LOG),
    }


def test_lag_of_the_log_and_of_a_witness_with_nothing() -> None:
    """With --once there is no history: the cosignatures' times are what is known."""
    ahead = {ONE: held(W1, 40, now=NOW - 200), TWO: held(W2, 40, now=NOW - 200)}
    answers: dict[str, bytes | Missing] = {
        LOG: log_head(20, now=NOW - 900),
        **ahead,
        THREE: Missing("nothing-yet", "never"),
    }
    result = one_round(core(max_lag=100), answers)
    assert {(alarm.kind, alarm.party) for alarm in result.alarms} == {
        ("behind", LOG),
        ("behind", THREE),
    }
    assert kinds(one_round(core(max_lag=300), answers)) == set()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_alarm_without_misbehaviour(data: st.DataObject) -> None:
    """Honest parties at any sizes, some silent, in any rounds."""
    it = core()
    size = 0
    for number in range(data.draw(st.integers(1, 6))):
        size = data.draw(st.integers(size, 40))
        sizes = [data.draw(st.integers(0, size)) for _ in range(3)]
        answers: dict[str, bytes | Missing] = {
            LOG: log_head(data.draw(st.integers(0, size))),
            ONE: held(W1, sizes[0]),
            TWO: held(W2, sizes[1]),
            THREE: held(W3, sizes[2]),
        }
        for party in data.draw(st.sets(st.sampled_from([LOG, ONE, TWO, THREE]))):
            answers[party] = Missing("unreachable", "x")
        result = one_round(it, answers, now=NOW + number)
        assert kinds(result) <= {"unreachable"}
        assert set(result.heads) - {LOG} == set(result.agreeing) or LOG not in result.heads


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_split_view_among_who_answered_is_proven(data: st.DataObject) -> None:
    """With the tiles at hand, heads of two histories never pass as one."""
    views = [data.draw(st.sampled_from([LOG_VIEW, OTHER])) for _ in range(4)]
    sizes = [data.draw(st.integers(11, 40)) for _ in range(4)]
    answers = {
        LOG: log_head(sizes[0], views[0]),
        ONE: held(W1, sizes[1], views[1]),
        TWO: held(W2, sizes[2], views[2]),
        THREE: held(W3, sizes[3], views[3]),
    }
    result = one_round(core(), answers)
    split = len({id(view) for view in views}) > 1
    assert (result.weight is AlarmWeight.PROVEN) == split
    for party, view in zip((ONE, TWO, THREE), views[1:], strict=True):
        assert party not in result.agreeing or view is views[0]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_an_alarm_and_nothing_else(data: bytes) -> None:
    result = one_round(core(), {**honest(), TWO: data})
    assert kinds(result) == {"bad-checkpoint"}
    with pytest.raises((FormatError, VerificationError)):
        HeadReader(POLICY, LOG_VIEW.origin).read(TWO, data)


def test_the_reader_knows_its_log() -> None:
    with pytest.raises(ValueError, match="does not list"):
        HeadReader(POLICY, "other.example")
    stranger = View("other.example").append(3)
    with pytest.raises(VerificationError, match=r"other\.example"):
        HeadReader(POLICY, LOG_VIEW.origin).read(LOG, stranger.checkpoint().encode())
    alone = W1.sign(LOG_VIEW.checkpoint().note.text, NOW)
    only_witness = LOG_VIEW.checkpoint().note.text + "\n" + alone.line
    with pytest.raises(VerificationError, match="not signed by a key of log"):
        HeadReader(POLICY, LOG_VIEW.origin).read(LOG, only_witness.encode())


def test_pairs() -> None:
    def head(party: str, size: int) -> ShownHead:
        return ShownHead(party, LOG_VIEW.checkpoint(size), (), (), has_quorum=True)

    heads = [head(LOG, 5), head(ONE, 3), head(TWO, 5), head(THREE, 0)]
    pairs = pairs_of(heads)
    assert [(pair.older.size, pair.newer.size) for pair in pairs] == [(0, 3), (3, 5), (5, 5)]
    assert [pair.needs_proof for pair in pairs] == [False, True, False]
    assert pairs_of([]) == pairs_of(heads[:1]) == []
