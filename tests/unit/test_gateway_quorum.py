"""What several engines' answers come to."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.records.artifact import PolicyRef
from muniment.tlog.encoding import FormatError
from muniment_gateway.core.anyjson import encode_any, parse_any, recordable
from muniment_gateway.core.pointers import resolve
from muniment_gateway.core.quorum import AuthorityAnswer, Quorum, combine, is_settled
from muniment_gateway.deciding.decisions import joint_policy

ALLOW, DENY, SILENT = "allow", "deny", "silent"


def answers(*words: str) -> list[AuthorityAnswer]:
    return [
        AuthorityAnswer(f"a{number}", error="away")
        if word == SILENT
        else AuthorityAnswer(f"a{number}", {"decision": word == ALLOW})
        for number, word in enumerate(words)
    ]


@pytest.mark.parametrize(
    ("needed", "words", "codes"),
    [
        (1, (ALLOW,), ()),
        (1, (DENY,), ("denied_by_policy",)),
        (1, (SILENT,), ("could_not_evaluate",)),
        (1, (DENY, ALLOW), ()),  # any
        (1, (SILENT, ALLOW), ()),
        (1, (SILENT, DENY), ("denied_by_policy",)),
        (2, (ALLOW, ALLOW), ()),  # all
        (2, (ALLOW, DENY), ("policy_mismatch",)),
        (2, (ALLOW, SILENT), ("could_not_evaluate",)),
        (2, (DENY, DENY), ("denied_by_policy",)),
        (2, (DENY, SILENT), ("denied_by_policy", "could_not_evaluate")),
        (2, (ALLOW, DENY, ALLOW), ()),  # two of three
        (2, (ALLOW, DENY, DENY), ("denied_by_policy",)),
        (2, (ALLOW, DENY, SILENT), ("policy_mismatch", "could_not_evaluate")),
        (2, (SILENT, SILENT, SILENT), ("could_not_evaluate",)),
    ],
)
def test_what_answers_come_to(needed: int, words: tuple[str, ...], codes: tuple[str, ...]) -> None:
    combined = combine(answers(*words), Quorum(needed, len(words)))
    assert (combined.decision, combined.codes) == (not codes, codes)


def test_what_is_settled_nobody_changes_any_more() -> None:
    for said in product((ALLOW, DENY, SILENT), repeat=3):
        for needed in range(1, 5):
            quorum = Quorum(needed, 4)
            ends = {
                (combined.decision, combined.codes)
                for last in (ALLOW, DENY, SILENT)
                for combined in [combine(answers(*said, last), quorum)]
            }
            assert (not is_settled(answers(*said), quorum)) or len(ends) == 1
            if said.count(ALLOW) >= needed:
                assert is_settled(answers(*said), quorum)


def test_a_decision_is_true_exactly_when_enough_allow() -> None:
    for words in product((ALLOW, DENY, SILENT), repeat=4):
        for needed in range(1, 5):
            combined = combine(answers(*words), Quorum(needed, 4))
            assert combined.decision is (words.count(ALLOW) >= needed)
            assert bool(combined.codes) is not combined.decision
            assert ("could_not_evaluate" in combined.codes) <= (SILENT in words)
            if combined.speaker is not None:
                assert combined.speaker.allows is not None


def test_nobody_to_ask_is_nobody_who_allows() -> None:
    assert combine([], Quorum.of("all", 0)).codes == ("could_not_evaluate",)
    with pytest.raises(ValueError, match="3 of 2 authorities"):
        Quorum.of(3, 2)


def test_several_policies_become_one_that_names_them() -> None:
    one = PolicyRef(id="p", revision="1", digest="sha256:" + "a" * 64)
    other = PolicyRef(id="q", revision="2", digest="sha256:" + "b" * 64)

    def allowing(*policies: PolicyRef | None) -> list[AuthorityAnswer]:
        return [
            AuthorityAnswer(f"a{number}", {"decision": True}, policy=policy)
            for number, policy in enumerate(policies)
        ]

    assert joint_policy(allowing(None)) is None
    assert joint_policy(allowing(one, one)) == one
    joint = joint_policy(allowing(one, other))
    assert joint.id == "quorum:a0,a1"
    assert joint != joint_policy(allowing(other, one))


def test_an_answer_that_no_record_can_hold_has_its_digest_there() -> None:
    value = parse_any(b'{"at":1795909660137383702,"huge":123456789012345678901234567890}', "it")
    assert encode_any(value) == (
        b'{"at":1795909660137383702,"huge":123456789012345678901234567890}'
    )
    left = recordable(value)["left_out"]
    assert left["size"] == len(encode_any(value))
    assert left["digest"].startswith("sha256:")
    assert recordable({"a": 1}) == {"a": 1}
    assert "left_out" in recordable({"a": "x" * 9000})


@pytest.mark.parametrize(
    "text", [b'{"a":1,"a":2}', b"NaN", b"1e999", b"\xff", b"[" * 70, b"{", b"9" * 5000]
)
def test_what_is_no_json_is_one_error(text: bytes) -> None:
    with pytest.raises(FormatError):
        parse_any(text, "it")


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_one_error(data: bytes) -> None:
    try:
        value = parse_any(data, "it")
    except FormatError:
        return
    assert parse_any(encode_any(value), "again") == value
    recordable(value)


def test_pointers_lead_to_a_value_or_nowhere() -> None:
    value = {"a": [{"b/c": True, "~": 1}]}
    assert resolve(value, "") is value
    assert resolve(value, "/a/0/b~1c") is True
    assert resolve(value, "/a/0/~0") == 1
    for pointer in ("a", "/b", "/a/1", "/a/-1", "/a/x", "/a/0/b~1c/d"):
        with pytest.raises(LookupError):
            resolve(value, pointer)
