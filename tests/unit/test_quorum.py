"""What a quorum tolerates, against enumeration of all sets of witnesses."""

from itertools import combinations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from muniment.tlog.policy import Policy, PolicyGroup, PolicyLog, PolicyWitness
from muniment.tlog.quorum import CLOCK_SKEW, Analysis, ahead, analyse, shortage, time_of, witnessed
from signing import log_signer, witness, witness_mldsa44

LOG = PolicyLog(log_signer().vkey)
KEYS = [witness(f"w{n}").vkey for n in range(2)]


def policy(count: int, groups: list[tuple[str, int, tuple[str, ...]]], quorum: str) -> Policy:
    witnesses = [PolicyWitness(f"w{n}", witness(f"w{n}").vkey) for n in range(count)]
    return Policy((LOG,), tuple(witnesses), tuple(PolicyGroup(*g) for g in groups), quorum)


def flat(k: int, n: int) -> Policy:
    return policy(n, [("g", k, tuple(f"w{i}" for i in range(n)))], "g")


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any nesting over up to six witnesses; some may stay unused."""
    count = draw(st.integers(0, 6))
    free = [f"w{n}" for n in range(count)]
    names = list(free)
    groups = []
    while free and draw(st.integers(0, 3)):
        members = draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
        name = f"g{len(groups)}"
        groups.append((name, draw(st.integers(1, len(members))), tuple(members)))
        free = [item for item in free if item not in members] + [name]
        names.append(name)
        if len(groups) == 8:
            break
    return policy(count, groups, draw(st.sampled_from([*names, *names[-1:] * 5, "none"])))


def brute(p: Policy) -> tuple[int, int, int]:
    """(smallest, byzantine, absent) from the definitions, over all subsets of the witnesses."""
    names = [w.name for w in p.witnesses]
    sets = [frozenset(c) for size in range(len(names) + 1) for c in combinations(names, size)]
    quorums = [s for s in sets if p.is_met(s)]
    smallest = min(map(len, quorums))
    overlap = min(len(one & two) for one in quorums for two in quorums)
    everyone = frozenset(names)
    absent = max(
        d for d in range(len(names) + 1) if all(p.is_met(everyone - s) for s in sets if len(s) == d)
    )
    return smallest, overlap - 1, absent


def naive_met(p: Policy, cosigners: frozenset[str]) -> bool:
    """The spec's definition of witnessing, by recursion."""
    groups = {g.name: g for g in p.groups}

    def holds(name: str) -> bool:
        if name not in groups:
            return name in cosigners
        return sum(map(holds, groups[name].members)) >= groups[name].threshold

    return p.quorum == "none" or holds(p.quorum)


@settings(max_examples=250, deadline=None)
@given(policies())
@example(flat(2, 3))
@example(flat(1, 6))
@example(flat(6, 6))
@example(
    policy(
        6, [("a", 2, ("w0", "w1", "w2")), ("b", 2, ("w3", "w4", "w5")), ("c", 2, ("a", "b"))], "c"
    )
)
@example(
    policy(
        6, [("a", 2, ("w0", "w1", "w2")), ("b", 1, ("w3", "w4")), ("c", 2, ("a", "b", "w5"))], "c"
    )
)
def test_analysis_is_what_enumeration_says(p):
    result = analyse(p)
    assert (result.smallest, result.byzantine, result.absent) == brute(p)


def with_two_keys(p: Policy, doubled: set[str]) -> Policy:
    """The policy with some witnesses replaced by an `any` group of two keys of one key name."""
    witnesses, groups = [], []
    for w in p.witnesses:
        if w.name in doubled:
            members = (f"{w.name}-1", f"{w.name}-2")
            witnesses.append(PolicyWitness(members[0], w.vkey))
            witnesses.append(PolicyWitness(members[1], witness_mldsa44(w.vkey.name).vkey))
            groups.append(PolicyGroup(w.name, 1, members))
        else:
            witnesses.append(w)
    return Policy(p.logs, tuple(witnesses), (*groups, *p.groups), p.quorum)


@settings(max_examples=60, deadline=None)
@given(policies().filter(lambda p: p.quorum != "none"), st.sets(st.sampled_from("012345")))
def test_a_witness_with_two_keys_is_one_witness(p, doubled):
    names = {f"w{n}" for n in doubled} & {w.name for w in p.witnesses}
    result = analyse(with_two_keys(p, names))
    assert (result.smallest, result.byzantine, result.absent) == brute(p)
    assert result.scattered == ()


def test_a_witness_whose_keys_stand_apart_is_named():
    one, two = witness("w0").vkey, witness_mldsa44("w0").vkey
    witnesses = (PolicyWitness("a", one), PolicyWitness("b", two), PolicyWitness("c", KEYS[1]))
    p = Policy((LOG,), witnesses, (PolicyGroup("g", 2, ("a", "b", "c")),), "g")
    assert analyse(p).scattered == (one.name,)
    assert analyse(Policy((LOG,), witnesses, (), "a")).scattered == ()


@settings(max_examples=150)
@given(
    policies(), st.sets(st.sampled_from([*(f"w{n}" for n in range(6)), "g0", "g1", "none", "x"]))
)
def test_is_met_is_the_definition(p, cosigners):
    assert p.is_met(cosigners) == naive_met(p, frozenset(cosigners))


@settings(max_examples=150)
@given(policies(), st.sets(st.sampled_from([f"w{n}" for n in range(6)])))
def test_shortage_is_empty_iff_met_and_filling_it_meets(p, cosigners):
    missing = shortage(p, cosigners)
    assert (not missing) == p.is_met(cosigners)
    everything = cosigners | {name for _, _, members in missing for name in members}
    if missing:
        assert missing[0][0] == p.quorum
        assert all(1 <= count <= len(members) for _, count, members in missing)
        assert p.is_met(everything)


@pytest.mark.parametrize(
    ("k", "n", "byzantine", "absent"),
    [
        (1, 1, 0, 0),
        (2, 3, 0, 1),
        (3, 4, 1, 1),
        (3, 5, 0, 2),
        (5, 7, 2, 2),
        (1, 2, -1, 1),
        (4, 4, 3, 0),
    ],
)
def test_k_of_n(k, n, byzantine, absent):
    """Prevention needs 2k - n > f, liveness needs k <= n - d."""
    result = analyse(flat(k, n))
    names = tuple(f"w{i}" for i in range(n))
    assert result == Analysis(names, (), (), smallest=k, byzantine=byzantine, absent=absent)


def test_none():
    p = policy(2, [("g", 1, ("w0",))], "none")
    assert analyse(p) == Analysis((), ("w0", "w1", "g"), (), smallest=0, byzantine=-1, absent=2)
    assert p.is_met(())
    assert shortage(p, ()) == []


def test_single_witness_and_unused():
    p = policy(3, [("g", 1, ("w1",))], "w2")
    assert analyse(p) == Analysis(("w2",), ("w0", "w1", "g"), (), smallest=1, byzantine=0, absent=0)


def test_deep_and_wide():
    """256 levels, without recursion."""
    groups = [("g0", 1, ("w0",))] + [(f"g{n}", 1, (f"g{n - 1}",)) for n in range(1, 256)]
    p = policy(1, groups, "g255")
    assert analyse(p).byzantine == 0
    assert p.is_met({"w0"})
    assert len(shortage(p, ())) == 256


def test_group_names_are_not_cosigners():
    p = policy(2, [("g", 2, ("w0", "w1"))], "g")
    assert witnessed(p, {"g", "w0", "x"}) == {"w0"}
    assert not p.is_met({"g"})


@given(policies(), st.data())
def test_the_time_is_the_latest_by_which_a_quorum_vouches(p: Policy, data: st.DataObject) -> None:
    """Against the definition: of all stated times, the latest T with a quorum of times from T."""
    names = [w.name for w in p.witnesses]
    line = st.tuples(st.sampled_from(names or ["nobody"]), st.integers(0, 200))
    stated = data.draw(st.lists(line, max_size=10 if names else 0))
    now = data.draw(st.one_of(st.none(), st.integers(0, 150)))
    latest = 1_000 if now is None else now + CLOCK_SKEW

    def vouched(lines: list[tuple[str, int]]) -> int:
        enough = [t for _, t in lines if p.is_met(frozenset(n for n, at in lines if at >= t))]
        return max(enough, default=0)

    told = [(name, time) for name, time in stated if time]
    counted = [(name, time) for name, time in told if time <= latest]
    found = vouched(counted) or vouched(told)
    assert time_of(p, stated, now) == (found if found <= latest else 0)
    if now is not None:
        assert set(ahead(stated, now)) == set(told) - set(counted)


@pytest.mark.parametrize("wrong", [-864_000, -400, 63, 90, 3600, 864_000])
@pytest.mark.parametrize("who", ["w0", "w1", "w2"])
def test_one_wrong_clock_of_three_is_one_witness_away(who: str, wrong: int) -> None:
    p, now = flat(2, 3), 1_000_000
    stated = [(f"w{n}", now - n + (wrong if f"w{n}" == who else 0)) for n in range(3)]
    without = [line for line in stated if line[0] != who]
    assert time_of(p, stated, now) == time_of(p, without, now)
    # Also when it is one of two that have cosigned: its seat counts, its time does not.
    first = [line for line in stated if line[0] != without[1][0]]
    assert time_of(p, first, now) == min(first, key=lambda line: line[1])[1]
    # Without a clock to compare with, it is still no better than the other two.
    assert time_of(p, stated) <= max(time for _, time in without)
