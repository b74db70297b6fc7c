"""Policies over time: what a version is, and which version judges a checkpoint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from chains import START, YEAR, body, file, root, root_signer, two_years, version
from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.cosignature import Ed25519Cosigner
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.note import parse_note, sign_note
from muniment.tlog.policy import Policy, PolicyChain, format_policy, parse_policy
from muniment.tlog.policyupdate import PolicyFork, PolicyRollback, check_first, check_update
from muniment.tlog.policyversion import KeyRevocation, SignedVersion, parse_chain, parse_version
from signing import ed25519, log_signer, signed, witness

YEAR1, YEAR2 = START + YEAR // 2, START + YEAR + YEAR // 2
END = START + 2 * YEAR
CHAIN = parse_policy(file(two_years()))
times = st.integers(START - YEAR, END + YEAR)


def head(*cosigners: tuple[str, int], by: str | None = None) -> SignedCheckpoint:
    """A checkpoint of the log, cosigned by witnesses at times."""
    made = signed(log_signer() if by is None else log_signer(by), origin=log_signer().vkey.name)
    text = made.checkpoint.text
    return made.with_signatures(witness(name).sign(text, time) for name, time in cosigners)


def refused(data: bytes, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        parse_policy(data)


def denied(policy: Policy, checkpoint: SignedCheckpoint, match: str) -> None:
    with pytest.raises(VerificationError, match=match):
        policy.verify(checkpoint)


def revoke(word: str, name: str, since: int, *, of_log: bool = False) -> PolicyChain:
    """The two years, and a third version, of the second year too, that lists a key."""
    key = (log_signer(name) if of_log else witness(name)).vkey
    window = (START + YEAR, END)
    chain = version(
        two_years(), body("w3", "w4"), window, revoked=[KeyRevocation(word, key, since)]
    )  # type: ignore[arg-type]
    policy = parse_policy(file(chain))
    assert isinstance(policy, PolicyChain)
    return policy


class TestFile:
    """One spelling, in order, signed."""

    def test_it_comes_back(self):
        data = file(two_years())
        policy = parse_policy(data)
        assert isinstance(policy, PolicyChain)
        assert format_policy(policy) == data
        assert policy == parse_policy(data)
        assert [one.version.number for one in policy.chain] == [1, 2]
        assert all(parse_version(one.version.text) == one.version for one in policy.chain)

    def test_numbers_go_up_by_one(self):
        chain = two_years()
        refused(file((chain[0], chain[0])), "version 2: says that it is version 1")
        refused(file(chain[1:]), "version 1: says that it is version 2")

    def test_each_names_the_one_before(self):
        other = version((), body("w1", "w5"), (START, START + YEAR))
        refused(file((other[0], two_years()[1])), "version 2: is not made for the version before")

    def test_windows_do_not_begin_earlier(self):
        first = version((), body("w1"), (START, START + YEAR))
        refused(file(version(first, body("w1"), (START - 1, END))), "version 2: its window begins")
        assert parse_policy(file(version(first, body("w1"), (START, END))))

    @pytest.mark.parametrize("window", [(START, START), (START + 1, START), (0, START)])
    def test_a_window_has_a_second(self, window):
        with pytest.raises(FormatError, match="window"):
            version((), body("w1"), window)

    def test_the_root_has_signed(self):
        chain = version((), body("w1"), (START, END), signers=["root.example/thief"])
        refused(file(chain), "version 1: lacks 1 of the 1 root signatures")

    def test_a_signature_that_does_not_hold(self):
        first = two_years()[0]
        other = sign_note(first.version.text + "\n", [root_signer()], 0)
        forged = replace(first.note, signatures=other.signatures)
        refused(file([SignedVersion(first.version, forged)]), "version 1: root.example/a: sig")

    def test_a_quorum_takes_witnesses(self):
        text = f"log {log_signer().vkey}\nquorum none\n"
        with pytest.raises(FormatError, match="quorum none"):
            version((), text, (START, END))

    def test_a_policy_within_is_a_policy(self):
        text = two_years()[0].version.text
        with pytest.raises(FormatError, match="policy: line"):
            parse_version(text + "what\n")
        with pytest.raises(FormatError, match="line 6"):
            parse_version(text + file(two_years()).decode())

    def test_colliding_key_ids_are_refused(self):
        """Two keys of one name and ID would poison each other's notes."""
        first, second = two_years()
        one = first.version.policy.witnesses[0]
        twin = replace(one, vkey=replace(witness("w9").vkey, name="w1", key_id=one.vkey.key_id))
        policy = Policy(second.version.policy.logs, (twin,), (), twin.name)
        object.__setattr__(second.version, "policy", policy)
        with pytest.raises(FormatError, match="two keys w1 have the ID"):
            PolicyChain.of((first, second))


class TestRoots:
    """Thresholds, and other root keys."""

    def test_a_threshold(self):
        two = root("root.example/a", "root.example/b", "root.example/c", threshold=2)
        for signers in (["root.example/a"], ["root.example/b", "root.example/thief"]):
            chain = version((), body("w1"), (START, END), signers=signers, new_root=two)
            refused(file(chain), "lacks 1 of the 2 root signatures")
        chain = version(
            (), body("w1"), (START, END), signers=["root.example/a", "root.example/c"], new_root=two
        )
        assert parse_policy(file(chain))

    def test_one_key_counts_once(self):
        two = root("root.example/a", "root.example/b", threshold=2)
        twice = ["root.example/a", "root.example/a"]
        chain = version((), body("w1"), (START, END), signers=twice, new_root=two)
        refused(file(chain), "lacks 1 of the 2")
        same = root_signer().vkey
        with pytest.raises(FormatError, match="twice"):
            version((), body("w1"), (START, END), new_root=root()._replace(keys=(same, same)))

    def test_a_new_root_is_signed_by_both(self):
        first = version((), body("w1"), (START, END))
        new = root("root.example/b")
        for signers in (["root.example/a"], ["root.example/b"]):
            chain = version(first, body("w1"), (START, END), signers=signers, new_root=new)
            refused(file(chain), "version 2: lacks 1 of the 1 root signatures")
        both = ["root.example/a", "root.example/b"]
        chain = version(first, body("w1"), (START, END), signers=both, new_root=new)
        assert parse_policy(file(chain))
        # From then on the new one signs alone, and the old one no more.
        third = version(chain, body("w1"), (START, END), signers=["root.example/b"])
        assert parse_policy(file(third))
        refused(file(version(chain, body("w1"), (START, END))), "version 3: lacks")

    def test_a_draft_may_lack_signatures_of_its_newest_version(self):
        two = root("root.example/a", "root.example/b", threshold=2)
        chain = version((), body("w1"), (START, END), new_root=two)
        assert parse_chain(file(chain), is_draft=True) == chain
        longer = version(chain, body("w1"), (START, END), signers=["root.example/a"])
        with pytest.raises(FormatError, match="version 1: lacks"):
            parse_chain(file(longer), is_draft=True)


class TestWindows:
    """A cosignature counts under the versions whose window has its time."""

    def test_each_year_by_its_own_witnesses(self):
        old, new = head(("w1", YEAR1), ("w2", YEAR1)), head(("w3", YEAR2), ("w4", YEAR2))
        assert CHAIN.verify(old).cosigners == (("w1", YEAR1), ("w2", YEAR1))
        assert CHAIN.verify(new).cosigners == (("w3", YEAR2), ("w4", YEAR2))
        only_new = parse_policy(two_years()[1].version.body.encode())
        assert only_new.verify(new)
        with pytest.raises(VerificationError, match="no quorum"):
            only_new.verify(old)

    @given(times, times)
    def test_half_open(self, one, other):
        inside = all(START <= time < START + YEAR for time in (one, other))
        checkpoint = head(("w1", one), ("w2", other))
        if inside:
            assert CHAIN.verify(checkpoint)
        else:
            denied(CHAIN, checkpoint, "these do not count: .*(before|after) the version")

    def test_the_seconds_at_its_ends(self):
        assert CHAIN.verify(head(("w1", START), ("w2", START + YEAR - 1)))
        denied(CHAIN, head(("w1", START - 1), ("w2", START)), "before the version, from 2026-01-01")
        denied(CHAIN, head(("w1", START), ("w2", START + YEAR)), "until 2027-01-01 00:00:00 UTC")

    @given(st.lists(st.tuples(st.sampled_from(["w1", "w2", "w3", "w4"]), times), max_size=6))
    def test_accepted_by_one_version_alone(self, cosignatures):
        """A quorum is of one version: two halves of two versions are none."""
        by_hand = any(
            all(any(n == w and lo <= t < hi for n, t in cosignatures) for w in pair)
            for pair, lo, hi in (
                (("w1", "w2"), START, START + YEAR),
                (("w3", "w4"), START + YEAR, END),
            )
        )
        checkpoint = head(*cosignatures)
        if by_hand:
            accepted = CHAIN.verify(checkpoint)
            assert {w for w, _ in accepted.cosigners} in ({"w1", "w2"}, {"w3", "w4"})
        else:
            denied(CHAIN, checkpoint, "no quorum")

    def test_overlapping_windows_take_either(self):
        first = version((), body("w1"), (START, START + YEAR))
        policy = parse_policy(file(version(first, body("w3"), (START + YEAR // 2, END))))
        time = START + YEAR // 2
        assert policy.verify(head(("w1", time))).cosigners == (("w1", time),)
        assert policy.verify(head(("w3", time))).cosigners == (("w3", time),)
        both = policy.verify(head(("w1", time), ("w3", time)))
        assert both.policy == parse_policy(body("w3").encode())  # the newest that accepts

    def test_time_0_does_not_count(self):
        denied(CHAIN, head(("w1", 0), ("w2", YEAR1)), "no quorum")

    def test_a_signature_of_any_known_key_must_hold(self):
        good = head(("w1", YEAR1), ("w2", YEAR1))
        line = witness("w3").sign(signed(size=8).checkpoint.text, YEAR2)
        denied(CHAIN, good.with_signatures([line]), "w3: ")

    def test_what_a_reader_asks(self):
        assert CHAIN.origins == (log_signer().vkey.name,)
        assert CHAIN.log_keys(CHAIN.origins[0]) == (log_signer().vkey,)
        old = head(("w1", YEAR1), ("w2", YEAR1))
        assert CHAIN.recognise(old)[0].vkey == log_signer().vkey
        assert CHAIN.judge_of(old).is_met(["w1", "w2"])
        assert CHAIN.judge_of(head(("w1", YEAR1))).is_met(["w3", "w4"])
        with pytest.raises(VerificationError, match="expected other"):
            CHAIN.verify(old, origin="other")
        with pytest.raises(VerificationError, match="does not list"):
            CHAIN.verify(signed(log_signer("x"), origin="x"))

    def test_whom_it_names_depends_on_the_time(self):
        data = file(two_years())
        names = {
            now: {one.name for one in parse_policy(data, now=now).witnesses}
            for now in (None, START - 1, START, YEAR1, START + YEAR, END)
        }
        assert names[START] == names[YEAR1] == {"w1", "w2"}
        assert names[None] == names[START + YEAR] == names[END] == {"w3", "w4"}


class TestActing:
    """Who acts now counts the versions in force now."""

    def test_the_versions_in_force(self):
        now = CHAIN.at(YEAR2)
        assert {one.name for one in now.witnesses} == {"w3", "w4"}
        assert now.verify(head(("w3", YEAR2), ("w4", YEAR2)))
        assert now is CHAIN.at(YEAR2 + 1)

    def test_stolen_keys_of_last_year_are_of_no_use(self):
        """They can state any time, and sign what was never there."""
        backdated = head(("w1", YEAR1), ("w2", YEAR1))
        denied(CHAIN.at(YEAR2), backdated, "no quorum")
        assert CHAIN.at(YEAR1).verify(backdated)

    def test_an_expired_policy_denies(self):
        with pytest.raises(
            VerificationError, match="expired: its newest version, 2, ended on 2028-01-01"
        ):
            CHAIN.at(END)
        assert CHAIN.at(END - 1)
        denied(CHAIN, head(("w3", END), ("w4", END)), "after the version, until 2028-01-01")

    def test_before_the_first(self):
        with pytest.raises(VerificationError, match="begins on 2026-01-01"):
            CHAIN.at(START - 1)

    def test_a_policy_without_versions_is_always_in_force(self):
        plain = parse_policy(body("w1").encode())
        assert plain.at(0) is plain


class TestRevoked:
    """Keys that were stolen, and keys that were given up."""

    @given(times)
    def test_a_compromised_witness_counts_for_no_time(self, since):
        policy = revoke("compromised", "w1", since)
        denied(policy, head(("w1", YEAR1), ("w2", YEAR1)), r"w1 \(its key is compromised since")
        assert policy.verify(head(("w3", YEAR2), ("w4", YEAR2)))

    @given(st.integers(START, START + YEAR - 1), st.integers(START, START + YEAR - 1))
    def test_a_retired_witness_counts_for_before(self, since, time):
        policy, checkpoint = revoke("retired", "w1", since), head(("w1", time), ("w2", YEAR1))
        if time < since:
            assert policy.verify(checkpoint)
        else:
            denied(policy, checkpoint, "retired since")

    @pytest.mark.parametrize("word", ["compromised", "retired"])
    def test_a_key_of_the_log_counts_for_what_a_quorum_saw_before(self, word):
        policy = revoke(word, log_signer().vkey.name, YEAR1, of_log=True)
        assert policy.verify(head(("w1", YEAR1 - 1), ("w2", YEAR1 - 1)))
        # Witnesses cosign the head of an idle log again.
        again = [(name, time) for time in (YEAR1 - 1, YEAR1) for name in ("w1", "w2")]
        assert policy.verify(head(*again))
        denied(policy, head(*again[1:]), "no quorum says that this was there")
        denied(policy, head(("w1", YEAR1), ("w2", YEAR1)), "no quorum says that this was there")
        denied(policy, head(("w3", YEAR2), ("w4", YEAR2)), f"the log's key .* is {word} since")

    @pytest.mark.parametrize("word", ["compromised", "retired"])
    def test_an_index_log_is_judged_by_the_versions_of_its_log(self, word):
        log = log_signer().vkey.name
        policy = revoke(word, log, YEAR1, of_log=True).of_index_log(log)

        def index_head(*times: int) -> SignedCheckpoint:
            own = log_signer().under(f"{log}/index")
            made = signed(own, origin=own.vkey.name)
            text = made.checkpoint.text
            return made.with_signatures(
                witness(name).sign(text, time)
                for name, time in zip(("w1", "w2"), times, strict=True)
            )

        assert policy.verify(index_head(YEAR1 - 1, YEAR1 - 1)).origin == f"{log}/index"
        denied(policy, index_head(YEAR1, YEAR1), f"the log's key .*/index is {word} since")
        denied(policy, index_head(YEAR2, YEAR2), "after the version")
        denied(policy, head(("w1", YEAR1 - 1), ("w2", YEAR1 - 1)), "does not list log")
        unknown = replace(log_signer().vkey, algorithm=0x7F, public=b"another key")
        window = (START + YEAR, END)
        listed = [KeyRevocation(word, unknown, YEAR1)]
        chain = version(two_years(), body("w3", "w4"), window, revoked=listed)
        assert parse_policy(file(chain)).of_index_log(log).verify(index_head(YEAR1, YEAR1))

    def test_the_word_that_weighs_most_and_the_earliest_time(self):
        key = witness("w1").vkey
        window = (START + YEAR, END)
        one = version(
            two_years(), body("w3", "w4"), window, revoked=[KeyRevocation("retired", key, 5)]
        )
        chain = version(
            one, body("w3", "w4"), window, revoked=[KeyRevocation("compromised", key, 9)]
        )
        more = version(chain, body("w3", "w4"), window, revoked=[KeyRevocation("retired", key, 7)])
        for versions, expected in ((one, "retired"), (chain, "compromised"), (more, "compromised")):
            policy = parse_policy(file(versions))
            assert isinstance(policy, PolicyChain)
            assert policy.revoked[key.public] == KeyRevocation(expected, key, 5)  # type: ignore[arg-type]

    @pytest.mark.parametrize("word", ["compromised", "retired"])
    def test_a_key_that_had_another_name_counts_under_neither(self, word):
        """Who has stolen it signs under the name that an earlier version knows."""
        later = Ed25519Cosigner("renamed.example/w1", ed25519("w1"))
        assert later.vkey.public == witness("w1").vkey.public
        listed = [KeyRevocation(word, later.vkey, YEAR1)]
        chain = version(two_years(), body("w3", "w4"), (START + YEAR, END), revoked=listed)
        policy = parse_policy(file(chain))
        denied(policy, head(("w1", YEAR1), ("w2", YEAR1)), rf"w1 \(its key is {word} since")
        assert policy.has_revoked(witness("w1").vkey)

    def test_a_log_s_key_that_had_another_name_counts_under_neither(self):
        later = log_signer().under("renamed.example/log").vkey
        listed = [KeyRevocation("compromised", later, YEAR1)]
        chain = version(two_years(), body("w3", "w4"), (START + YEAR, END), revoked=listed)
        policy = parse_policy(file(chain))
        assert policy.verify(head(("w1", YEAR1 - 1), ("w2", YEAR1 - 1)))
        denied(policy, head(("w1", YEAR1), ("w2", YEAR1)), f"{log_signer().vkey.name} is comp")

    def test_what_a_version_lists_holds_for_those_before_and_after(self):
        policy = revoke("compromised", "w3", YEAR2)
        denied(policy, head(("w3", YEAR2 - 1), ("w4", YEAR2)), "compromised since")
        denied(policy.at(YEAR2), head(("w3", YEAR2), ("w4", YEAR2)), "compromised since")


class TestUpdates:
    """Versions only go up."""

    def test_more_versions(self):
        chain = two_years()
        assert check_update(chain, chain) == 0
        assert check_update(chain[:1], chain) == 1
        assert check_update(chain[:1], version(chain, body("w5"), (START + YEAR, END))) == 2

    def test_a_rollback(self):
        with pytest.raises(PolicyRollback, match="ends with version 1, and version 2 is installed"):
            check_update(two_years(), two_years()[:1])

    def test_a_fork(self):
        chain = two_years()
        other = version(chain[:1], body("w5", "w6"), (START + YEAR, END))
        longer = version(other, body("w5"), (START + YEAR, END))
        for offered in (other, longer):
            with pytest.raises(PolicyFork, match="two versions 2") as caught:
                check_update(chain, offered)
            assert caught.value.number == 2

    def test_a_fork_at_the_first_version(self):
        other = version((), body("w5"), (START, END))
        with pytest.raises(PolicyFork, match="two versions 1"):
            check_update(two_years(), other)

    def test_another_policy(self):
        thief = "root.example/thief"
        other = version((), body("w5"), (START, END), signers=[thief], new_root=root(thief))
        with pytest.raises(VerificationError, match="another policy") as caught:
            check_update(two_years(), other)
        assert type(caught.value) is VerificationError

    def test_further_signatures_make_no_other_version(self):
        first = two_years()[0]
        more = sign_note(first.version.text, [root_signer(), root_signer("root.example/x")], 0)
        assert check_update([first], [SignedVersion(first.version, more)]) == 0

    def test_the_first_is_signed_by_the_roots_that_were_given(self):
        keys = [root_signer(f"root.example/{name}").vkey for name in "abc"]
        two = root(*(key.name for key in keys), threshold=2)
        chain = version(
            (), body("w1"), (START, END), signers=["root.example/a", "root.example/b"], new_root=two
        )
        check_first(chain, keys)
        check_first(chain, keys[:2])
        with pytest.raises(VerificationError, match="lacks 1 of the 2"):
            check_first(chain, keys[1:])
        with pytest.raises(VerificationError, match="needs 2 root keys"):
            check_first(chain, keys[:1])

    def test_one_stolen_root_key_is_no_threshold(self):
        keys = [root_signer(f"root.example/{name}").vkey for name in "ab"]
        one = root(*(key.name for key in keys), threshold=1)
        chain = version((), body("w1"), (START, END), signers=["root.example/a"], new_root=one)
        check_first(chain, keys)
        with pytest.raises(VerificationError, match="asks for 1 root signatures, and 2"):
            check_first(chain, keys, 2)

    def test_a_note_signs_the_text_alone(self):
        first = two_years()[0]
        assert parse_note(first.note.encode()).text == first.version.text
