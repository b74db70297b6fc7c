"""What may become of a call that waits for a person, and the file in which calls wait."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from decisions import request
from muniment.local.sqlitefile import Writer
from muniment.records.approval import SignedApproval, approver_vkey, call_digest, sign_approval
from muniment.records.artifact import ResourceScope
from muniment_gateway.core.approvals import ApprovalRefusedError, Held, People, check_word, key_of
from muniment_gateway.deciding.approvals import recorded_request
from muniment_gateway.store import held as held_store
from muniment_gateway.store.held import HeldCalls, Room, TooManyError

NOW = 1_790_000_000
KEYS = {name: Ed25519PrivateKey.from_private_bytes(name[:1].encode() * 32) for name in
        ("carol", "dave", "mallory", "planner")}  # fmt: skip
VKEYS = {name: approver_vkey(f"people.example/{name}", key) for name, key in KEYS.items()}
PEOPLE = People(
    name="people",
    approvers={VKEYS[name]: name for name in ("carol", "dave", "planner")},
    request_seconds=900,
    use_seconds=300,
    hold_seconds=20.0,
    most_waiting=3,
)
ASKED = {**request("planner"), "context": {"arguments": {"amount": 10}}}


def held(id_: str = "arq-1", client: str = "", asked: bool = True, **changes: Any) -> Held:
    made = Held(
        id=id_,
        key=key_of(changes.get("request", ASKED), client, "people", ()),
        client=client,
        authority="people",
        evaluation=f"e-{id_}",
        request=ASKED,
        withheld=("/request/context/arguments",),
        salt="0a" * 16,
        call="",
        made=NOW,
        expires=NOW + 900,
        asked={} if asked else None,
    )
    made = replace(made, **changes)
    recorded, digests, _ = recorded_request(made)
    return replace(made, call=call_digest(recorded, digests))


def word(of: Held, by: str = "carol", **changes: Any) -> SignedApproval:
    said: dict[str, Any] = {
        "id_": f"apr-{by}",
        "request": of.id,
        "gateway": "gw.example/edge",
        "call": of.call,
        "decision": True,
        "approver": by,
        "at": NOW,
        "not_after": NOW + 300,
        "name": f"people.example/{by}",
        "private": KEYS[by],
    }
    return sign_approval(**(said | changes))


@pytest.mark.parametrize(
    ("by", "changes", "now", "slug"),
    [
        ("mallory", {}, NOW, "unknown-approver"),
        ("carol", {"private": KEYS["mallory"]}, NOW, "unknown-approver"),
        ("carol", {"approver": "dave"}, NOW, "unknown-approver"),
        ("carol", {"request": "arq-2"}, NOW, "other-call"),
        ("carol", {"call": "sha256:" + "0b" * 32}, NOW, "other-call"),
        ("planner", {}, NOW, "self-approval"),
        ("carol", {}, NOW + 900, "expired"),
        ("carol", {}, NOW + 300, "bad-times"),
        ("carol", {"at": NOW + 61, "not_after": NOW + 100}, NOW, "bad-times"),
        ("carol", {"not_after": NOW + 301}, NOW, "bad-times"),
        ("carol", {"at": NOW - 400, "not_after": NOW - 100}, NOW, "bad-times"),
    ],
)
def test_a_word_that_does_not_count_says_why(
    by: str, changes: dict[str, Any], now: int, slug: str
) -> None:
    with pytest.raises(ApprovalRefusedError) as refused:
        check_word(held(), word(held(), by, **changes), PEOPLE, now)
    assert refused.value.slug == slug


def test_a_signature_that_does_not_verify_does_not_count() -> None:

    said = msgspec.structs.replace(word(held()), reason="another one")
    with pytest.raises(ApprovalRefusedError) as refused:
        check_word(held(), said, PEOPLE, NOW)
    assert refused.value.slug == "bad-signature"


def test_whoever_asks_may_approve_only_where_that_is_allowed_and_may_always_say_no() -> None:
    waiting = held()
    own = word(waiting, "planner")
    assert waiting.answered(own, replace(PEOPLE, allow_self=True), NOW).status(NOW) == "approved"
    no = word(waiting, "planner", decision=False)
    assert waiting.answered(no, PEOPLE, NOW).status(NOW) == "denied"


def test_whoever_a_call_runs_for_when_it_is_used_has_not_approved_it() -> None:
    """`ids` say for whom, and are not of the call: they may differ from one asking to the next."""
    approved = held().answered(word(held()), PEOPLE, NOW)
    own = {**ASKED, "context": {**ASKED["context"], "ids": {"user": "carol"}}}
    assert key_of(own, "", "people", ()) == held().key
    with pytest.raises(ApprovalRefusedError, match="carol cannot approve their own call"):
        approved.used_by("e-2", own, PEOPLE, NOW)
    used = approved.used_by("e-2", own, replace(PEOPLE, allow_self=True), NOW)
    assert used.status(NOW) == "used"


def test_who_is_no_approver_any_more_has_approved_nothing() -> None:
    approved = held().answered(word(held()), PEOPLE, NOW)
    gone = replace(PEOPLE, approvers={VKEYS["dave"]: "dave"})
    with pytest.raises(ApprovalRefusedError):
        approved.used_by("e-2", ASKED, gone, NOW)


def test_which_requests_people_decide_on() -> None:
    some = replace(
        PEOPLE, actions=frozenset({"call"}), resources=(ResourceScope(type="tool", id="x"),)
    )
    assert PEOPLE.decide_on(request())
    assert some.decide_on(request())
    assert not some.decide_on(request(action="read"))
    assert not some.decide_on(request(resource=("tool", "y")))
    assert not some.decide_on(request(resource=("file", "x")))


_STEPS = st.sampled_from(
    ["ask", "cancel", "allow", "dave", "deny", "forged", "self", "other", "use"]
)


@given(
    steps=st.lists(st.tuples(_STEPS, st.integers(0, 500)), max_size=12),
    asked=st.booleans(),
    required=st.integers(1, 2),
)
@settings(max_examples=400)
def test_whatever_comes_in_whatever_order_a_call_is_used_once_and_by_words_that_count(
    steps: list[tuple[str, int]], asked: bool, required: int
) -> None:
    """The machine against what it is for: one use, by enough people, in time; nothing back."""
    people = replace(PEOPLE, required=required)
    call, now = held(asked=asked), NOW
    first = call
    used: list[str] = []
    said: list[SignedApproval] = []
    for number, (step, seconds) in enumerate(steps):
        now += seconds
        before = call.status(now)
        by = {"forged": "mallory", "self": "planner", "dave": "dave"}.get(step, "carol")
        mine = word(
            first, by, id_=f"apr-{number}", decision=step != "deny", at=now, not_after=now + 300,
            **({"call": "sha256:" + "0c" * 32} if step == "other" else {}),
        )  # fmt: skip
        try:
            if step == "ask":
                call = call.asked_about(now, {"n": number})
            elif step == "cancel":
                call = call.taken_back(now)
            elif step == "use":
                call = call.used_by(f"e-{number}", ASKED, people, now)
                used.append(f"e-{number}")
                assert all(one.at <= now < one.not_after for one in call.approvals)
            else:
                call = call.answered(mine, people, now, number)
                said.append(mine)
        except ApprovalRefusedError:
            assert call.status(now) == before
        else:
            assert step in {"ask", "cancel", "allow", "dave", "deny", "use"}
        after = call.status(now)
        if before in {"denied", "used", "expired", "lapsed", "cancelled"}:
            assert after == before
    assert len(used) <= 1
    assert {one.approval for one in call.words} <= set(said)
    untouched = replace(
        call, asked=None, approval=None, leaf=None, used=None, earlier=(), cancelled=None
    )
    assert untouched == replace(first, asked=None)
    if required == 1:
        assert len(said) <= 1
    assert call.cancelled is None or not used
    if used:
        assert call.used == used[0]
        assert len({one.approver for one in call.approvals}) == required == len(call.approvals)


def test_a_yes_that_is_over_does_not_count_and_may_be_said_again() -> None:
    two = replace(PEOPLE, required=2)
    once = held().answered(word(held()), two, NOW, 7)
    assert (once.status(NOW), once.approval, once.earlier[0].leaf) == ("pending", None, 7)
    with pytest.raises(ApprovalRefusedError, match="somebody else has to"):
        once.answered(word(held(), id_="apr-2"), two, NOW)
    with pytest.raises(ApprovalRefusedError, match="has approved it already"):
        once.answered(word(held(), "dave", id_="apr-carol"), two, NOW)
    later = NOW + 400
    again = once.answered(word(held(), id_="apr-2", at=later, not_after=later + 9), two, later)
    assert again.status(later) == "pending"
    done = again.answered(word(held(), "dave", at=later, not_after=later + 300), two, later)
    assert (done.status(later), done.status(later + 9)) == ("approved", "lapsed")
    assert not once.answered(word(held(), decision=False, id_="apr-2"), two, NOW).approvals[1:]


def test_more_approvals_may_be_required_by_the_time_of_the_use() -> None:
    one = held().answered(word(held()), PEOPLE, NOW)
    with pytest.raises(ApprovalRefusedError, match="1 of 2 people have approved"):
        one.used_by("e-1", ASKED, replace(PEOPLE, required=2), NOW)


async def test_what_some_have_said_is_kept_and_a_file_of_before_is_taken(tmp_path: Path) -> None:
    old = await Writer.open(
        tmp_path / "held.db", held_store.MIGRATIONS[:1], application=held_store.APPLICATION
    )
    await old.close()
    calls = await opened(tmp_path)
    await calls.seek(held(), NOW, 3)
    two = replace(PEOPLE, required=2)
    await calls.change("arq-1", lambda one: one.answered(word(held()), two, NOW, 5))
    await calls.close()
    again = await opened(tmp_path)
    found = await again.get("arq-1")
    assert [(one.approval.approver, one.leaf) for one in found.words] == [("carol", 5)]
    assert [one.id for one in await again.pending(NOW, 9)] == ["arq-1"]
    assert await again.waiting(NOW) == {"people": (1, NOW)}
    assert await again.waiting(NOW + 900) == {}
    await again.change("arq-1", lambda one: one.taken_back(NOW + 1))
    assert await again.waiting(NOW) == {}
    assert await again.pending(NOW, 9) == []
    assert (await again.seek(held("arq-2"), NOW + 2, 3)).id == "arq-2"
    await again.close()


async def opened(folder: Path) -> HeldCalls:
    return await HeldCalls.open(folder / "held.db")


async def test_the_same_call_waits_once_and_another_one_beside_it(tmp_path: Path) -> None:
    calls = await opened(tmp_path)
    one = await calls.seek(held(), NOW, 3)
    again = await calls.seek(held("arq-2"), NOW + 1, 3)
    assert (one.id, again.id) == ("arq-1", "arq-1")
    other = {**ASKED, "context": {"arguments": {"amount": 11}}}
    assert (await calls.seek(held("arq-3", request=other), NOW, 3)).id == "arq-3"
    assert [one.id for one in await calls.pending(NOW, 10)] == ["arq-1", "arq-3"]
    found = await calls.of_evaluation("e-arq-2")
    assert found.id == "arq-1"
    assert await calls.of_evaluation("e-arq-9") is None
    await calls.close()


async def test_so_many_wait_and_no_more(tmp_path: Path) -> None:
    calls = await opened(tmp_path)

    def number(n: int, client: str = "", **changes: Any) -> Held:
        asked = {**ASKED, "context": {"arguments": n}}
        return held(f"arq-{client}{n}", client, request=asked, **changes)

    for n in range(3):
        await calls.seek(number(n), NOW, 3)
    with pytest.raises(TooManyError, match="3 calls of this client wait for people already"):
        await calls.seek(number(3), NOW, 3)
    assert (await calls.seek(number(2), NOW, 3)).id == "arq-2"  # waits already
    await calls.seek(number(3, "shop"), NOW, 3)  # another client
    late = number(4, made=NOW + 900, expires=NOW + 1800)
    assert (await calls.seek(late, NOW + 900, 3)).id == "arq-4"  # the others are over
    denied = number(5, asked=False)
    await calls.seek(denied, NOW, 3)  # nobody was asked yet
    with pytest.raises(TooManyError):
        await calls.change("arq-5", lambda one: one.asked_about(NOW, {}), Room(NOW, 3))
    await calls.close()


async def test_two_processes_on_one_file_use_an_approval_once(tmp_path: Path) -> None:
    """Each connection is its own, as that of another process is."""
    first, second = await opened(tmp_path), await opened(tmp_path)
    waiting = await first.seek(held(), NOW, 3)
    await second.change(waiting.id, lambda one: one.answered(word(waiting), PEOPLE, NOW))

    def use(by: str) -> Callable[[Held], Held]:
        return lambda one: one.used_by(by, ASKED, PEOPLE, NOW)

    ended = await asyncio.gather(
        *(calls.change(waiting.id, use(f"e-{n}")) for n, calls in enumerate([first, second] * 8)),
        return_exceptions=True,
    )
    assert [type(one) for one in ended].count(Held) == 1
    assert [type(one) for one in ended].count(ApprovalRefusedError) == 15
    await first.close()
    await second.close()
    third = await opened(tmp_path)
    found = await third.get(waiting.id)
    assert found.status(NOW) == "used"
    assert found.request == ASKED
    await third.close()


async def test_what_is_over_is_forgotten_beyond_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_store, "MOST_OVER", 2)
    calls = await opened(tmp_path)
    for n in range(5):
        asked = {**ASKED, "context": {"arguments": n}}
        await calls.seek(held(f"arq-{n}", f"c-{n}", request=asked), NOW, 3)
    later = NOW + 901
    last = {**ASKED, "context": {"arguments": "last"}}
    await calls.seek(held("arq-9", "c-9", request=last, made=later, expires=later + 900), later, 3)
    kept = [n for n in range(5) if await calls.get(f"arq-{n}") is not None]
    assert len(kept) == 2
    assert await calls.get("arq-9") is not None
    much_later = NOW + held_store.KEPT_SECONDS + 2000
    other = {**ASKED, "context": {"arguments": "other"}}
    await calls.seek(held("arq-10", request=other, expires=much_later + 9), much_later, 3)
    assert [n for n in (*kept, 9) if await calls.get(f"arq-{n}") is not None] == []
    await calls.close()
