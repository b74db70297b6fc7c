"""The completeness proof: its text, both ways, and that nothing but the truth verifies."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from complete_tools import Indexed
from governed import policy, story
from muniment.complete.keys import PARTS, Key, key, parse_key
from muniment.complete.listing import KeyList
from muniment.complete.prooffile import parse_complete, verify_complete
from muniment.complete.wording import subject_of
from muniment.tlog.encoding import FormatError, VerificationError
from signing import NOW, ORIGIN, mutations

RUN = key("execution", "call")
REVOKED = key("revocations", "execution", "call")
NOBODY = key("revocations", "decision", "d-none")
AGENT = key("to", "agent", "sub")
KEYS = (RUN, REVOKED, NOBODY, AGENT)


def indexed(*, revoked: bool = True, hide: tuple[int, ...] = ()) -> Indexed:
    world, _ = story()
    if revoked:
        world.revoke(execution="call")
    return Indexed.of(world, hide=hide)


PROOF = indexed().prove(KEYS, records=True)
EXAMPLES = [
    PROOF.encode(),
    indexed().prove([NOBODY]).encode(),
    indexed().prove([RUN], limit=2, records=True).encode(),
]

texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20
)


class TestKeys:
    @given(st.sampled_from(sorted(PARTS)), st.data())
    def test_what_is_written_is_read_again(self, kind: str, data: st.DataObject) -> None:
        least, most = PARTS[kind]
        parts = data.draw(st.lists(texts, min_size=least, max_size=most))
        if kind == "revocations":
            parts[0] = data.draw(st.sampled_from(["decision", "execution", "key_name"]))
        made = key(kind, *parts)
        assert parse_key(made.text) == made
        assert len(made.digest) == 32

    @pytest.mark.parametrize(
        "text",
        ["", "execution", "execution ", "execution a b", "nothing x", "from agent", "to a b c d",
         "execution %61", "execution %ff", "execution a%00", "execution ü", " execution a"],
    )  # fmt: skip
    def test_no_other_spelling(self, text: str) -> None:
        with pytest.raises(FormatError):
            parse_key(text)

    @pytest.mark.parametrize(
        "text",
        ["revocations run call", "revocations agent sub", "revocations key gateway.example",
         "revocations key gateway.example%2B0123456", "from run call"],
    )  # fmt: skip
    def test_none_under_which_nothing_ever_stands(self, text: str) -> None:
        with pytest.raises(FormatError, match=r"key: (revocations|from): "):
            parse_key(text)

    def test_a_key_is_revoked_by_reference_or_thumbprint(self) -> None:
        for part in ("gateway.example/one%2B01234567", f"sha256%3A{'0' * 64}"):
            text = f"revocations key {part.replace('/', '%2F')}"
            assert parse_key(text).text == text

    def test_no_text_that_is_none(self) -> None:
        with pytest.raises(FormatError, match="surrogate"):
            key("execution", "\ud800")


class TestListing:
    @settings(deadline=None)
    @given(st.sets(st.integers(0, 2**40), max_size=300), st.integers(0, 300))
    def test_a_part_has_the_value_of_the_whole(self, indices: set[int], limit: int) -> None:
        whole = KeyList.of(sorted(indices))
        part = KeyList.of(sorted(indices), limit)
        assert part.value() == whole.value()
        assert part.indices == whole.indices[:limit]
        assert part.is_whole == (len(indices) <= limit)

    @given(st.sets(st.integers(0, 50), min_size=2, max_size=20), st.data())
    def test_a_part_that_skips_one_has_another_value(
        self, indices: set[int], data: st.DataObject
    ) -> None:
        ordered = sorted(indices)
        limit = data.draw(st.integers(1, len(ordered) - 1))
        part = KeyList.of(ordered, limit)
        skipped = data.draw(st.integers(0, limit - 1))
        lying = replace(part, indices=(*ordered[:skipped], *ordered[skipped + 1 : limit + 1]))
        with pytest.raises(VerificationError):
            lying.value()

    @pytest.mark.parametrize(
        "members",
        [
            {"count": -1},
            {"count": 1},
            {"count": 3},
            {"indices": (2, 1)},
            {"indices": (1, 1)},
            {"indices": (-1, 1)},
            {"rest": (bytes(32),)},
            {"count": 3, "rest": (b"",)},
        ],
    )
    def test_each_rule(self, members: dict[str, object]) -> None:
        with pytest.raises(FormatError):
            KeyList(**{"count": 2, "indices": (1, 2), **members})  # type: ignore[arg-type]


class TestFile:
    @pytest.mark.parametrize("data", EXAMPLES)
    def test_what_is_written_is_read_again(self, data: bytes) -> None:
        proof = parse_complete(data)
        assert proof.encode() == data
        assert parse_complete(proof.encode()) == proof

    @settings(deadline=None, max_examples=300)
    @given(mutations(EXAMPLES))
    def test_no_changed_file_states_anything_else(self, data: bytes) -> None:
        """A mutation that still verifies has touched cosignatures that were not needed."""
        try:
            found = verify_complete(parse_complete(data), policy())
        except (FormatError, VerificationError):
            return
        whole = indexed()
        for one, listing in found.lists.items():
            assert listing.indices == tuple(whole.lists.get(one.digest, []))[: len(listing.indices)]
            assert listing.count == len(whole.lists.get(one.digest, []))


class TestVerify:
    def test_states_all_leaves_of_each_key(self) -> None:
        found = verify_complete(PROOF, policy())
        assert {one: listing.count for one, listing in found.lists.items()} == {
            RUN: 5,
            REVOKED: 1,
            NOBODY: 0,
            AGENT: 1,
        }
        assert found.lists[REVOKED].indices == (7,)
        assert set(found.entries) == {3, 4, 5, 6, 7}
        assert found.log.time() == found.index.time() == NOW

    def test_a_revocation_that_is_left_out_of_a_list_is_missed_by_its_root(self) -> None:
        lists = tuple((one, KeyList(0, ())) if one == REVOKED else (one, two)
                      for one, two in PROOF.lists)  # fmt: skip
        with pytest.raises(VerificationError):
            verify_complete(replace(PROOF, lists=lists, entries=(), nodes=()), policy())

    def test_a_map_that_hides_a_leaf_contradicts_a_record_at_hand(self) -> None:
        lying = indexed(hide=(7,)).prove([REVOKED])
        assert verify_complete(lying, policy()).lists[REVOKED].count == 0  # its root is what it is
        shown = indexed(hide=(7,)).prove([RUN, REVOKED], records=True)
        honest = indexed().prove([RUN, REVOKED], records=True)
        with pytest.raises(VerificationError, match="the map is wrong"):
            verify_complete(replace(shown, entries=honest.entries, nodes=honest.nodes), policy())

    def test_the_index_must_be_of_the_same_log_and_head(self) -> None:
        world, _ = story()
        older = Indexed.of(world).prove(KEYS)
        with pytest.raises(VerificationError):
            verify_complete(replace(PROOF, index=older.index, path=older.path), policy())
        with pytest.raises(VerificationError):
            verify_complete(replace(PROOF, log=older.log, entries=(), nodes=()), policy())

    def test_the_index_log_is_trusted_by_the_log_s_keys_or_by_a_policy_of_its_own(self) -> None:
        own = policy().of_index_log(ORIGIN)
        assert verify_complete(PROOF, policy(), own) == verify_complete(PROOF, policy())
        with pytest.raises(VerificationError, match=r"does not list log .*/index"):
            verify_complete(PROOF, policy(), policy())

    def test_another_version_of_the_map_is_refused(self) -> None:
        with pytest.raises(VerificationError, match="version 2"):
            verify_complete(replace(PROOF, version=2), policy())

    def test_keys_in_another_order_are_no_proof(self) -> None:
        with pytest.raises(FormatError, match="order"):
            replace(PROOF, lists=PROOF.lists[::-1])

    def test_the_log_itself_is_no_other_log(self) -> None:
        own = key("to", "agent", "sub", indexed().world.origin)
        with pytest.raises(VerificationError, match="this log's own"):
            verify_complete(indexed().prove([own]), policy())

    def test_a_record_that_no_key_names_is_refused(self) -> None:
        only = indexed().prove([NOBODY])
        with pytest.raises(VerificationError, match="in no list"):
            verify_complete(replace(only, entries=PROOF.entries, nodes=PROOF.nodes), policy())


def test_a_key_is_text() -> None:
    assert RUN.text == "execution call"
    assert Key("from", ("agent", "ä b")).text == "from agent %C3%A4%20b"


def test_a_part_with_spaces_is_not_read_as_the_sentence() -> None:
    told = subject_of(Key("from", ("agent", "sub of log log.example/other")))
    assert told == 'edges from agent "sub of log log.example/other"'
    assert subject_of(Key("from", ("agent", "sub"))) == "edges from agent sub"
