"""What a person signs of a call, and which call it is about."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from decisions import request
from muniment.records.api import (
    Approval,
    SignedApproval,
    approver_vkey,
    call_digest,
    encode_record,
    parse_record,
    sign_approval,
    verify_approval,
)
from muniment.records.approval import UNBOUND, is_own
from muniment.tlog.encoding import FormatError, VerificationError

ALICE = Ed25519PrivateKey.from_private_bytes(b"a" * 32)
BOB = Ed25519PrivateKey.from_private_bytes(b"b" * 32)
NOW = 1_790_000_000
DIGEST = "0a" * 32

_TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)


def approval(**changes: Any) -> SignedApproval:
    given_: dict[str, Any] = {
        "id_": "apr-1",
        "request": "arq-1",
        "gateway": "gw.example/edge",
        "call": "sha256:" + DIGEST,
        "decision": True,
        "approver": "alice@example.com",
        "at": NOW,
        "not_after": NOW + 300,
        "name": "people.example/alice",
        "private": ALICE,
    }
    return sign_approval(**(given_ | changes))


ALICE_VKEY = approver_vkey("people.example/alice", ALICE)
BOB_VKEY = approver_vkey("people.example/bob", BOB)


def test_a_signed_approval_verifies_by_its_key_and_by_no_other() -> None:
    signed = approval(reason="it is the customer's ticket")
    assert verify_approval(signed, [BOB_VKEY, ALICE_VKEY]) == ALICE_VKEY
    assert verify_approval(signed, [BOB_VKEY]) is None
    assert verify_approval(signed, []) is None
    record = Approval(v=1, id="apr-1", time=NOW * 1000, producer="gw.example/edge", approval=signed)
    found = parse_record(encode_record(record))
    assert isinstance(found, Approval)
    assert verify_approval(found.approval, [ALICE_VKEY]) == ALICE_VKEY


def test_another_key_of_the_same_name_and_id_does_not_pass() -> None:
    signed = approval(private=BOB)  # by Bob, who says that he is Alice
    with pytest.raises(VerificationError, match="does not verify"):
        verify_approval(replace(signed, key=approval().key), [ALICE_VKEY])


@pytest.mark.parametrize(
    "change",
    [
        {"id": "apr-2"},
        {"request": "arq-2"},
        {"gateway": "gw.example/other"},
        {"call": "sha256:" + "0b" * 32},
        {"decision": False},
        {"approver": "bob@example.com"},
        {"at": NOW - 1},
        {"not_after": NOW + 3000},
        {"reason": "because"},
    ],
)
def test_every_member_is_signed(change: dict[str, Any]) -> None:
    with pytest.raises(VerificationError):
        verify_approval(replace(approval(), **change), [ALICE_VKEY])


def test_it_covers_the_time_from_its_signing_to_its_expiry() -> None:
    signed = approval()
    assert [signed.covers(NOW + at) for at in (-1, 0, 299, 300)] == [False, True, True, False]


@given(
    st.dictionaries(_TEXT, _JSON, max_size=3), st.dictionaries(st.sampled_from([*UNBOUND]), _JSON)
)
def test_what_differs_from_one_asking_to_the_next_is_not_part_of_the_call(
    context: dict[str, Any], volatile: dict[str, Any]
) -> None:
    bound = {name: value for name, value in context.items() if name not in UNBOUND}
    asked = {**request("planner"), "context": bound}
    once = call_digest(asked)
    assert call_digest({**asked, "context": {**bound, **volatile}}) == once
    if not bound:
        assert call_digest(request("planner")) == once


@given(_JSON, _JSON)
def test_other_arguments_are_another_call(one: Any, other: Any) -> None:
    asked = {**request("planner"), "context": {"arguments": one}}
    changed = {**request("planner"), "context": {"arguments": other}}
    same = repr(one) == repr(other)  # 1 is not true
    assert (call_digest(asked) == call_digest(changed)) is same or one == other


def test_subject_action_resource_and_withheld_members_are_part_of_the_call() -> None:
    asked = request("planner")
    withheld = {"/request/context/arguments": DIGEST}
    digests = {
        call_digest(asked),
        call_digest(request("other")),
        call_digest({**asked, "action": {"name": "other"}}),
        call_digest({**asked, "resource": {"type": "tool", "id": "other"}}),
        call_digest({**asked, "subject": {**asked["subject"], "properties": {"role": "x"}}}),
        call_digest({**asked, "more": 1}),
        call_digest(asked, withheld),
        call_digest(asked, {"/request/context/arguments": "0b" * 32}),
    }
    assert len(digests) == 8
    for pointer in ("/response/context/x", "/request/context/ids/user", "/request/context/ids"):
        assert call_digest(asked, withheld | {pointer: "0c" * 32}) == call_digest(asked, withheld)


def test_a_request_without_canonical_json_names_no_call() -> None:
    with pytest.raises(FormatError):
        call_digest({**request("planner"), "context": {"arguments": 2**70}})


def test_an_approval_by_whoever_asks_is_told() -> None:
    signed = approval()
    assert not is_own(signed, request("planner"))
    assert is_own(signed, request("alice@example.com"))
    assert is_own(signed, request("people.example/alice"))
    assert is_own(signed, request("x") | {"context": {"ids": {"user": "alice@example.com"}}})
    assert not is_own(signed, request("x") | {"context": {"ids": ["alice@example.com"]}})
