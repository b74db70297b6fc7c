"""Permits that disclose what their decision withholds: what is shown, compared, and denied."""

import copy
import json
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governed import World, artifact, policy, runtime, story
from muniment import Erasure, FormatError, withhold
from muniment.permit import (
    Context,
    Permit,
    Trust,
    Verdict,
    parse_permit,
    verify_permit,
    verify_permit_bytes,
)
from muniment.permit.permitfile import HEADER, MAX_PERMIT_SIZE
from muniment.records.addenda import ARGUMENTS, named_digests
from muniment.records.canonical import encode_canonical
from muniment.records.codec import parse_record
from muniment.records.kinds import Decision
from muniment.tlog.tlogproof import parse_tlog_proof
from signing import NOW, mutations

VALUE: dict[str, Any] = {
    "args": ["ada@mail.example", 3],
    "kwargs": {"amount": 100, "urgent": True, "note/~": None, "nested": {"list": [1, 2.5, "x"]}},
}
PROPERTIES = "/request/subject/properties"
PATTERNS = (ARGUMENTS, "/request/*/properties")


def withholding_story(patterns: Any = PATTERNS) -> tuple[World, int, dict[str, bytes]]:
    world, index = story(artifact=artifact())
    decision = world.records[index]
    assert isinstance(decision, Decision)
    decision.request["context"] = {"arguments": copy.deepcopy(VALUE)}
    decision.request["subject"]["properties"] = {"name": "Ada"}
    world.records[index], addenda = withhold(decision, patterns)
    return world, index, addenda


WORLD, INDEX, ADDENDA = withholding_story()
PERMIT = Permit.of(
    WORLD.permit(INDEX).entry, WORLD.permit(INDEX).proof, WORLD.records[INDEX], held=ADDENDA
)
TRUST = Trust(policy=policy())


def context(world: World = WORLD, **members: Any) -> Context:
    return runtime(**({"subject": None, "facts": world.facts()} | members))


def reasons(verdict: Verdict) -> list[str]:
    assert set(verdict.codes) == {"authorization_discontinuity"}
    assert {one.check for one in verdict.findings} == {"arguments"}
    return [one.expected for one in verdict.findings]


def test_the_disclosed_arguments_are_those_of_the_call() -> None:
    permit = PERMIT.disclose([ARGUMENTS])
    assert permit.disclosed == {ARGUMENTS: VALUE}
    assert permit.withheld == (PROPERTIES,)
    verdict = verify_permit(permit, context(arguments=VALUE), TRUST)
    assert verdict.permitted
    assert verdict.withholding is not None
    assert verdict.withholding == ((ARGUMENTS,), (PROPERTIES,), ())
    assert verdict.members()["addenda"] == {
        "disclosed": [ARGUMENTS],
        "withheld": [PROPERTIES],
        "erased": {},
    }


def test_a_permit_of_before_says_what_it_said() -> None:
    world, index = story(artifact=artifact())
    verdict = verify_permit(world.permit(index), context(world), TRUST)
    assert verdict.permitted
    assert verdict.withholding is None
    assert "addenda" not in verdict.members()
    assert world.permit(index).encode() == world.permit(index).proof.encode()


def test_the_file_gives_back_the_permit_and_holds_no_more_than_is_disclosed() -> None:
    permit = PERMIT.disclose([ARGUMENTS])
    data = permit.encode()
    assert parse_permit(data) == permit
    assert parse_permit(data).disclosed == permit.disclosed
    assert parse_permit(data).encode() == data
    # Behind the first empty line stands a proof that any tool reads.
    assert parse_tlog_proof(data.split(b"\n\n", 1)[1]) == permit.proof
    for undisclosed in (PERMIT, PERMIT.disclose([])):
        assert undisclosed.encode() == PERMIT.proof.encode()
    both = PERMIT.disclose([ARGUMENTS, PROPERTIES])
    assert parse_permit(both.encode()) == both
    # Of a file that discloses, less can be disclosed again, and more with the addendum itself.
    again = parse_permit(data)
    assert again.disclose([]).encode() == PERMIT.encode()
    with pytest.raises(FormatError, match=r"subject/properties: addendum .* is not at hand"):
        again.disclose([PROPERTIES])
    assert again.disclose([ARGUMENTS, PROPERTIES], ADDENDA.values()) == both
    with pytest.raises(FormatError, match="withholds no such member"):
        PERMIT.disclose(["/request/context"])


def test_a_file_with_other_addenda_is_no_permit() -> None:
    foreign = encode_canonical({"nonce": "0" * 32, "value": VALUE})
    with pytest.raises(FormatError, match="addendum 0: the decision names none with"):
        Permit(PERMIT.proof, addenda=(foreign,))
    edge = WORLD.permit(INDEX + 1)
    with pytest.raises(FormatError, match="withholds nothing"):
        Permit(edge.proof, addenda=(foreign,))
    both = PERMIT.disclose([ARGUMENTS, PROPERTIES]).encode()
    lines = both.split(b"\n")
    proof = PERMIT.encode()
    for spoilt in (
        b"\n".join([lines[0], lines[2], lines[1], *lines[3:]]),
        b"\n".join([lines[0], lines[1], lines[1], *lines[3:]]),
        b"\n".join([lines[0], *lines[3:]]),
        b"\n".join([lines[0], b"note", *lines[1:]]),
        HEADER.encode() + b"\n" + proof,
        HEADER.encode() + b"\n",
        b"x" * (MAX_PERMIT_SIZE + 1),
    ):
        verdict = verify_permit_bytes(spoilt, context(arguments=VALUE), TRUST)
        assert verdict.codes == ("authorization_discontinuity",)
        assert [one.check for one in verdict.findings] == ["permit"]


def test_what_is_withheld_cannot_be_compared_and_is_denied() -> None:
    verdict = verify_permit(PERMIT, context(arguments=VALUE), TRUST)
    assert reasons(verdict) == [f"{ARGUMENTS} disclosed, to compare it"]
    # Nobody asked for a comparison: the permit is what it was.
    assert verify_permit(PERMIT, context(), TRUST).permitted
    strict = Trust(policy=policy(), require_arguments=True)
    assert reasons(verify_permit(PERMIT, context(), strict)) == [
        "arguments that the runtime states"
    ]
    world, index, addenda = withholding_story(["/request/context/arguments/kwargs/*"])
    record = world.records[index]
    assert isinstance(record, Decision)
    assert record.addenda is not None
    proof = world.permit(index).proof
    inside = Permit(proof, addenda=tuple(addenda.values()))
    assert verify_permit(inside, context(world, arguments=VALUE), TRUST).permitted
    at = "/request/context/arguments/kwargs/amount"
    some = inside.disclose([one for one in record.addenda if one != at])
    verdict = verify_permit(some, context(world, arguments=VALUE), TRUST)
    assert reasons(verdict) == [f"{at} disclosed, to compare it"]
    world, index, addenda = withholding_story(["/request/context"])
    above = Permit(world.permit(index).proof)
    verdict = verify_permit(above, context(world, arguments=VALUE), TRUST)
    assert reasons(verdict) == ["/request/context disclosed, to compare it"]
    above = above.disclose(["/request/context"], addenda.values())
    assert verify_permit(above, context(world, arguments=VALUE), TRUST).permitted


@pytest.mark.parametrize("left_out", ["file", "args"])
def test_no_call_leaves_out_an_argument_that_is_no_json(left_out: str) -> None:
    world, index = story(artifact=artifact())
    decision = world.records[index]
    assert isinstance(decision, Decision)
    at = f"{ARGUMENTS}/{left_out}"
    rest = {name: value for name, value in VALUE.items() if name != left_out}
    decision.request["context"] = {"arguments": {**rest, left_out: b"%PDF \xff"}}
    world.records[index], addenda = withhold(decision, ())
    permit = Permit(world.permit(index).proof, addenda=tuple(addenda.values()))
    assert permit.disclosed == {at: b"%PDF \xff"}
    for arguments in (rest, {**rest, left_out: "%PDF"}):
        verdict = verify_permit(permit, context(world, arguments=arguments), TRUST)
        assert reasons(verdict) == [f"{at} as JSON, to compare it"]


def test_arguments_that_a_decision_does_not_state_or_states_openly() -> None:
    world, index = story(artifact=artifact())
    verdict = verify_permit(world.permit(index), context(world, arguments=VALUE), TRUST)
    assert reasons(verdict) == [f"a decision that states {ARGUMENTS}"]
    decision = world.records[index]
    assert isinstance(decision, Decision)
    decision.request["context"] = {"arguments": copy.deepcopy(VALUE)}
    open_ = world.permit(index)
    assert verify_permit(open_, context(world, arguments=VALUE), TRUST).permitted
    verdict = verify_permit(open_, context(world, arguments={**VALUE, "args": []}), TRUST)
    assert reasons(verdict) == [f"{ARGUMENTS}/args as it was decided on"]


def test_arguments_that_are_no_json() -> None:
    permit = PERMIT.disclose([ARGUMENTS])
    for value in ({1, 2}, float("nan"), 2**60, b"x", "\ud800", {1: 2}):
        verdict = verify_permit(permit, context(arguments=value), TRUST)
        assert reasons(verdict) == ["arguments that are JSON"]


def test_differences_are_named_and_not_shown() -> None:
    permit = PERMIT.disclose([ARGUMENTS])
    wanted = copy.deepcopy(VALUE)
    wanted["kwargs"]["note/~"] = "secret"
    wanted["kwargs"]["amount"] = 101
    wanted["kwargs"]["nested"]["list"][2] = "secret"
    verdict = verify_permit(permit, context(arguments=wanted), TRUST)
    assert reasons(verdict) == [
        f"{ARGUMENTS}/kwargs/amount as it was decided on",
        f"{ARGUMENTS}/kwargs/nested/list/2 as it was decided on",
        f"{ARGUMENTS}/kwargs/note~1~0 as it was decided on",
    ]
    assert "secret" not in json.dumps(verdict.members())


def test_what_is_erased_is_told_from_what_is_withheld() -> None:
    world, index, addenda = withholding_story()
    digest = named_digests(world.records[index])[PROPERTIES]
    at = world.add(
        Erasure(v=1, id="x-1", time=NOW * 1000, producer=world.origin, digests=(digest,), by="dpo")
    )
    permit = Permit(world.permit(index).proof).disclose([ARGUMENTS], addenda.values())
    verdict = verify_permit(permit, context(world, arguments=VALUE), TRUST)
    assert verdict.permitted
    assert verdict.withholding == ((ARGUMENTS,), (), ((PROPERTIES, at),))
    # Without facts nobody knows, and what does not verify says nothing.
    alone = Trust(policy=policy(), require_facts=False)
    verdict = verify_permit(permit, context(world, facts=None), alone)
    assert verdict.withholding == ((ARGUMENTS,), (PROPERTIES,), ())
    spoilt = Permit(world.permit(index + 1).proof)
    assert verify_permit(spoilt, context(world), TRUST).withholding is None


# --- every mutation of an argument denies ------------------------------------------------

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(-1e9, 1e9)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@st.composite
def edited(draw: st.DrawFn) -> Any:
    """The arguments with one part, somewhere, replaced, added or taken away."""
    root: dict[str, Any] = {"": copy.deepcopy(VALUE)}
    holder: Any = root
    name: Any = ""
    while isinstance(holder[name], dict | list) and holder[name] and draw(st.integers(0, 3)):
        holder = holder[name]
        names = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        name = draw(st.sampled_from(names))
    how = draw(st.sampled_from(["replace", "remove", "add"]))
    if how == "remove" and holder is not root:
        del holder[name]
    elif how == "add" and isinstance(holder[name], dict):
        holder[name][draw(st.text("abc", min_size=1))] = draw(JSON)
    elif how == "add" and isinstance(holder[name], list):
        holder[name].append(draw(JSON))
    else:
        holder[name] = draw(JSON)
    return root[""]


@settings(max_examples=300, deadline=None)
@given(edited())
def test_every_mutated_argument_denies_and_names_the_place(value: Any) -> None:
    permit = PERMIT.disclose([ARGUMENTS])
    verdict = verify_permit(permit, context(arguments=value), TRUST)
    same = encode_canonical(value) == encode_canonical(VALUE)
    assert verdict.permitted == same
    if not same:
        for reason in reasons(verdict):
            assert reason.startswith(ARGUMENTS)


@settings(max_examples=300, deadline=None)
@given(mutations([PERMIT.disclose([ARGUMENTS]).encode()]))
def test_no_mutation_of_the_file_discloses_anything_else(data: bytes) -> None:
    verdict = verify_permit_bytes(data, context(arguments=VALUE), TRUST)
    if verdict.permitted:
        found = parse_permit(data)
        assert found.disclosed == {ARGUMENTS: VALUE}
        assert found.entry == PERMIT.entry


def test_the_digests_that_records_name() -> None:
    record = parse_record(PERMIT.entry)
    assert named_digests(record) == {
        pointer: sha256(ADDENDA[digest]).hexdigest()
        for pointer, digest in named_digests(record).items()
    }
    assert set(named_digests(record)) == {ARGUMENTS, PROPERTIES}
