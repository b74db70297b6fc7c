"""Permits and records in the browser: the same denials, for the same reasons, as by the command."""

import json
import random
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from msgspec import structs

import browser
import page_cases
from decisions import request
from fuzzing import corpus
from governed import (
    AUTHORITY,
    DIGEST,
    GATEWAY,
    RUNTIME,
    SECOND,
    World,
    approved,
    artifact,
    policy,
    story,
)
from muniment import withhold
from muniment.page import schema
from muniment.permit import Permit
from muniment.permit.permitfile import WITH_STATUS
from muniment.records.addenda import ARGUMENTS
from muniment.records.approval import approver_vkey, call_digest, sign_approval
from muniment.records.authority import authority_vkey, sign_decision
from muniment.records.canonical import encode_canonical
from muniment.records.codec import encode_record
from muniment.records.commitments import addendum
from muniment.records.kinds import Decision
from muniment.tlog.encoding import FormatError
from muniment.tlog.policy import format_policy
from page_cases import Case, same
from signing import NOW, ed25519, mldsa44, witness

ARGUED: dict[str, Any] = {"to": "ada", "amount": 2.5, "\U0001f600": 1, "\uffff": [1, {"x/~": None}]}

OTHER_CONTEXTS: list[dict[str, Any]] = [
    {"now": NOW + 5000},
    {"now": 5},
    {"now": NOW * 1000},
    {"now": 1.5},
    {"now": 1.8e9},
    {"now": NOW - 70},
    {"action": "x"},
    {"action": 1},
    {"resource": {"type": "document", "id": "8"}},
    {"resource": {"type": "document"}},
    {"subject": {"type": "agent", "id": "é\u202e"}},
    {"execution": None},
    {"execution": "another"},
    {"spiffe_id": None},
    {"spiffe_id": "spiffe://other.example/x"},
    {"thumbprint": DIGEST},
    {"measurements": {}},
    {"measurements": {"image": "sha256:" + "cd" * 32}},
    {"measurements": {"a b": DIGEST}},
    {"policy": None},
    {"policy": {"id": "other"}},
    {"policy": {}},
    {"governance": {}},
    {"governance": {"region": "us", "10": "a", "9": "b"}},
    {"unknown": 1},
    {"arguments": ARGUED},
    {"arguments": {**ARGUED, "amount": 3, "to": None, "more": 1}},
    {"arguments": {"amount": 2.50, "to": "ada", "\U0001f600": 1.0, "\uffff": [True, {}]}},
]


def case(permit: Permit, *, post_quantum: bool = False, **context: Any) -> Case:
    trusted = format_policy(policy(post_quantum=post_quantum))
    stated = json.dumps({**RUNTIME, **context}).encode()
    return Case("permit", {"file": permit.encode(), "policy": trusted, "context": stated})


def permits() -> list[Case]:
    """Good ones: as it is, signed by authorities of both kinds, and one that discloses."""
    world, index = story()
    plain = case(world.permit(index))
    world, index = story()
    decision = world.records[index]
    assert isinstance(decision, Decision)
    for name, private in (("authority", ed25519("authority")), ("second", mldsa44("second"))):
        decision = sign_decision(decision, f"{name}.example", private)
    world.records[index] = decision
    signed = case(world.permit(index, post_quantum=True), post_quantum=True)
    signed = signed.with_file(
        "authorities", f"# whose word counts\n{AUTHORITY}\n{SECOND}\n".encode()
    )
    world, index, addenda = withholding()
    permit = Permit.of(encode_record(world.records[index]), world.permit(index).proof, held=addenda)
    return [plain, signed, case(permit.disclose(permit.decision.addenda or ()), arguments=ARGUED)]


def withholding() -> tuple[World, int, dict[str, bytes]]:
    """A story whose decision withholds the arguments and who somebody is, and its addenda."""
    world, index = story()
    decision = world.records[index]
    assert isinstance(decision, Decision)
    decision.request["context"] = {"arguments": ARGUED, "report": b"%PDF \xff\0"}
    decision.request["subject"]["properties"] = {"name": "<script>Ada</script>"}
    world.records[index], addenda = withhold(decision, (ARGUMENTS, "/request/*/properties"))
    return world, index, addenda


def test_good_permits_are_permitted(page: browser.Page, tmp_path: Path) -> None:
    said = same(page, tmp_path, permits())
    assert all(one["permitted"] for one in said)
    assert said[2]["addenda"]["withheld"] == []


def test_each_context_gets_the_same_reasons(page: browser.Page, tmp_path: Path) -> None:
    cases = [
        one.with_file("context", json.dumps({**RUNTIME, **other}).encode())
        for one in permits()
        for other in OTHER_CONTEXTS
    ]
    odd = [*corpus.load("context"), b"\xef\xbb\xbf{}"]
    cases += [permits()[0].with_file("context", data) for data in odd]
    codes = {code for one in same(page, tmp_path, cases) for code in one.get("codes", ())}
    assert len(codes) == 5  # whatever a context can be wrong about


def test_each_decision_gets_the_same_reasons(page: browser.Page, tmp_path: Path) -> None:
    cases: list[Case] = []
    for members in (
        {"allow": False},
        {"allow": False, "codes": ["policy_mismatch", "denied_by_policy"]},
        {"allow": False, "codes": ["could_not_evaluate"]},
        {"artifact": None},
        {"artifact": artifact(binding=None, environment=None, governance=None)},
        {"subject": "<b>x</b>\u202e" * 40},
    ):
        world = World()
        cases.append(
            case(world.permit(world.decide("call", **{"artifact": artifact(), **members})))
        )
    world = World()
    cases.append(case(world.permit(world.decide(None, artifact=artifact()))))
    world, _ = story()
    cases.append(case(world.permit(1)))  # an edge, and no decision
    plain, signed, _ = permits()
    for keys in (b"", f"{AUTHORITY}\n".encode(), str(witness("w").vkey).encode(), b"none"):
        cases += [plain.with_file("authorities", keys), signed.with_file("authorities", keys)]
        cases.append(plain.with_file("gateways", keys))
    # The page reads no status; see `test_a_status_is_named_and_not_read`.
    kept = [one for one in corpus.load("permit") if not one.startswith(WITH_STATUS.encode())]
    cases += [plain.with_file("file", data) for data in kept]
    same(page, tmp_path, cases)


def test_a_status_is_named_and_not_read(page: browser.Page) -> None:
    """A permit with completeness proofs is not judged without them in silence."""
    plain, *_ = permits()
    data = f"{WITH_STATUS}\nstatus AA==\n\n".encode() + plain.files["file"]
    [told] = page_cases.ask(page, [plain.with_file("file", data)])
    assert not told["permitted"]
    assert "which this page does not read" in told["findings"][0]["found"]


def test_approvals_get_the_same_reasons(page: browser.Page, tmp_path: Path) -> None:
    """By whom, of which call, in time, and not by who asks, whatever they say of themselves."""
    carol = approver_vkey("people.example/carol", ed25519("carol"))
    cases: list[Case] = []
    hidden = {"/request/context/x": "aa" * 32, "/request/context/ids/call": "bb" * 32}
    for changed, context, addenda in (
        ({}, None, None),
        ({}, {"ids": {"user": "carol"}, "time": 1}, None),
        ({}, {"ids": {"user": ["carol"]}, "muniment": 1}, None),
        ({}, {"ids": {"user": {"carol": 1}}, "x": [1.5, {"é": None}]}, None),
        ({}, {"ids": {}, "x2": 1}, hidden),
        ({"call": DIGEST}, None, None),
        ({"at": NOW - 9000, "not_after": NOW - 8000}, None, None),
        ({"gateway": "gateway.example/two"}, None, None),
        ({"approver": "sub"}, None, None),
        ({"private": ed25519("thief")}, None, None),
    ):
        asked = request("sub", "read", ("document", "7")) | (
            {"context": context} if context else {}
        )
        said: dict[str, Any] = {
            "id_": "apr-1",
            "request": "arq-1",
            "gateway": GATEWAY,
            "call": call_digest(asked, addenda),
            "decision": True,
            "approver": "carol",
            "at": NOW - 600,
            "not_after": NOW,
            "name": "people.example/carol",
            "private": ed25519("carol"),
        }
        world = World()
        approval = sign_approval(**(said | changed))
        index = world.decide("call", artifact=artifact(approval=approval), addenda=addenda)
        decision = world.records[index]
        assert isinstance(decision, Decision)
        decision.request.update(asked)
        made = case(world.permit(index))
        people = (carol, authority_vkey("people.example/dave", ed25519("dave")), SECOND)
        cases += [made, *(made.with_file("approvers", f"{one}\n".encode()) for one in people)]
    said_of = same(page, tmp_path, cases)
    assert sum(one.get("permitted", False) for one in said_of) == 4


def test_who_asks_is_compared_where_it_is_disclosed(page: browser.Page, tmp_path: Path) -> None:
    listed = f"{approver_vkey('people.example/carol', ed25519('carol'))}\n".encode()
    cases: list[Case] = []
    for user in ("carol", "erin"):
        data = addendum("0a" * 16, user)
        withheld = {"/request/context/ids/user": sha256(data).hexdigest()}
        world = World()
        index = world.decide(
            "call", artifact=artifact(approval=approved(GATEWAY)), addenda=withheld
        )
        decision = world.records[index]
        assert isinstance(decision, Decision)
        decision.request["context"] = {"ids": {}}
        made = case(world.permit(index)).with_file("approvers", listed)
        cases += [made, replace(made, addenda=(data,))]
    said_of = same(page, tmp_path, cases)
    assert [one["permitted"] for one in said_of] == [True, False, True, True]


def test_approvals_by_several_people_get_the_same_reasons(
    page: browser.Page, tmp_path: Path
) -> None:
    people = [approver_vkey(f"people.example/{who}", ed25519(who)) for who in ("carol", "dave")]
    listed = "".join(f"{one}\n" for one in people).encode()
    cases: list[Case] = []
    for changed in (
        None,
        {},
        {"approver": "carol"},
        {"approver": "sub"},
        {"private": ed25519("thief")},
        {"call": DIGEST},
        {"gateway": "gateway.example/two"},
        {"not_after": NOW - 599},
    ):
        second = None
        if changed is not None:
            second = (approved(GATEWAY, "dave", **({"id_": "apr-2"} | changed)),)
        world = World()
        rests_on = artifact(approval=approved(GATEWAY), further_approvals=second)
        made = case(world.permit(world.decide("call", artifact=rests_on)))
        cases += [
            replace(made.with_file("approvers", listed), approvals=count) for count in (1, 2, 3)
        ]
        cases.append(made.with_file("approvers", f"{people[0]}\n".encode()))
    for by, key in (("carol", "carol's other"), ("dave", "carol")):
        second = (approved(GATEWAY, by, key, id_="apr-2", approver="dave"),)
        rests_on = artifact(approval=approved(GATEWAY), further_approvals=second)
        world = World()
        made = case(world.permit(world.decide("call", artifact=rests_on)))
        other = approver_vkey(f"people.example/{by}", ed25519(key))
        made = made.with_file("approvers", f"{people[0]}\n{other}\n".encode())
        cases += [replace(made, approvals=count) for count in (1, 2)]
    keys = (("carol", "carol's other"), ("dave", "carol"), ("carol", "carol"))
    vkeys = [approver_vkey(f"people.example/{name}", ed25519(key)) for name, key in keys]
    first, second = (
        approved(GATEWAY, name, key, id_=f"apr-{name}", approver=name) for name, key in keys[:2]
    )
    world = World()
    rests_on = artifact(approval=first, further_approvals=(second,))
    made = case(world.permit(world.decide("call", artifact=rests_on)))
    for some in (vkeys[:2], vkeys):  # two, until a third key tells that they are one
        files = made.with_file("approvers", "".join(f"{one}\n" for one in some).encode())
        cases.append(replace(files, approvals=2))
    said_of = same(page, tmp_path, cases)
    assert [number for number, one in enumerate(said_of) if one.get("permitted", False)] == [
        0, 3, 4, 5, 8, 32, 34, 36,
    ]  # fmt: skip


def test_addenda_are_checked(page: browser.Page, tmp_path: Path) -> None:
    world, index, addenda = withholding()
    bare = case(world.permit(index), arguments=ARGUED)
    one, *rest = addenda.values()
    given = ((), (one,), (one, one), (*rest, one), (b"{}",), (one + b" ",))
    cases = [replace(bare, addenda=several) for several in given]
    leaf = encode_record(world.records[index])
    files = {"file": world.permit(index).encode(), "policy": bare.files["policy"], "entry": leaf}
    cases += [Case("proof", files, several) for several in given]
    said = same(page, tmp_path, cases)
    assert [len(told["addenda"]["disclosed"]) for told in said[:4]] == [0, 1, 1, 3]


def test_an_argument_that_is_no_json_is_not_left_out(page: browser.Page, tmp_path: Path) -> None:
    world, index = story()
    decision = world.records[index]
    assert isinstance(decision, Decision)
    decision.request["context"] = {"arguments": {"a": 1, "file": b"%PDF \xff", "more": b"\0"}}
    world.records[index], addenda = withhold(decision, ())
    permit = world.permit(index)
    cases = [
        replace(case(permit, arguments=arguments), addenda=given)
        for arguments in ({"a": 1}, {"a": 1, "file": "%PDF", "more": ""}, {})
        for given in ((), tuple(addenda.values()), tuple(addenda.values())[:1])
    ]
    assert not any(one["permitted"] for one in same(page, tmp_path, cases))


def test_mutated_permits_get_the_same_verdicts(page: browser.Page, tmp_path: Path) -> None:
    chance = random.Random(18)
    cases: list[Case] = []
    for _ in range(200):
        good = chance.choice(permits())
        role = chance.choice(["file", *good.files])
        cases.append(good.with_file(role, page_cases.mutate(chance, good.files[role])))
    same(page, tmp_path, cases)


def records() -> list[bytes]:
    """Records of every kind, good ones and those of the kept corpus, and what is no record."""
    world, _ = story()
    kept = [*corpus.load("record"), *corpus.load("json")]
    return [*map(encode_record, world.records), *(data for data in kept if 0 < len(data) < 1 << 16)]


def change(chance: random.Random, value: Any) -> Any:
    """A JSON value with something else somewhere in it."""
    odd = [
        None,
        1,
        "",
        "x" * 300,
        [],
        {},
        True,
        -1,
        1.5,
        1e21,
        "é",
        "a b",
        "\x07",
        "`",
        "log",
        DIGEST,
    ]
    if chance.random() < 0.2 or not value or not isinstance(value, dict | list):
        return chance.choice(odd)
    if isinstance(value, list):
        at = chance.randrange(len(value))
        return [*value[:at], change(chance, value[at]), *value[at + chance.randint(0, 1) :]]
    name = chance.choice(list(value))
    members = {**value, name: change(chance, value[name])}
    if chance.random() < 0.2:
        del members[name]
    elif chance.random() < 0.2:
        members[chance.choice(["kept", "type", "10", "9", "é", "`x`"])] = chance.choice(odd)
    return members


def test_mutated_records_get_the_same_reasons(page: browser.Page, tmp_path: Path) -> None:
    """Of what is no canonical JSON, and of what is no record: by its first wrong member."""
    chance = random.Random(19)
    world, index = story()
    proof = world.permit(index).proof
    plain = permits()[0]
    found = records()
    for _ in range(500):
        data = chance.choice(records())
        try:
            found.append(encode_canonical(change(chance, json.loads(data))))
        except (FormatError, ValueError):
            found.append(page_cases.mutate(chance, data))
    cases = [
        plain.with_file("file", structs.replace(proof, extra=data).encode())
        for data in found
        if 0 < len(data) <= 65_536
    ]
    said = same(page, tmp_path, cases)
    assert len({json.dumps(told) for told in said}) > 150


def test_the_page_knows_the_records_that_there_are() -> None:
    """Else run ``python -m muniment.page.schema`` into source/schema.json, and scripts/page."""
    committed = page_cases.PAGE.parent / "source" / "schema.json"
    assert committed.read_text() == schema.text()
