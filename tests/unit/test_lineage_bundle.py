"""Lineage bundles and multiproofs: against the oracle, and under mutation."""

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governed import World, policy, story
from muniment import Decision, withhold
from muniment.lineage import (
    Bundle,
    build_bundle,
    parse_bundle,
    plan_multiproof,
    root_from_multiproof,
    trace,
    verify_bundle,
)
from muniment.lineage.bundle import HEADER
from muniment.records.commitments import addendum
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.merkle import leaf_hash
from muniment.tlog.proofs import Node, plan_inclusion
from rfc6962 import MTH
from signing import NOW, mutations


def nodes(entries: list[bytes]) -> dict[Node, bytes]:
    """Every perfect subtree of a tree, by the oracle."""
    return {
        Node(level, index): MTH(entries[index << level : index + 1 << level])
        for level in range(len(entries).bit_length())
        for index in range(len(entries) >> level)
    }


def bundle_of(world: World, run: str = "call") -> Bundle:
    entries = world.entries()
    found = trace(run, world.facts(), NOW)
    chosen = {index: entries[index] for index in found.records}
    return build_bundle(run, world.checkpoint(), chosen, nodes(entries))


def example() -> World:
    world, _ = story()
    for number in range(6):
        world.decide(f"other{number}")
    return world


WORLD = example()
BUNDLE = bundle_of(WORLD)
DATA = BUNDLE.encode()
POLICY = policy()


# --- multiproof ----------------------------------------


@st.composite
def selections(draw: st.DrawFn) -> tuple[int, set[int]]:
    size = draw(st.integers(1, 70))
    return size, draw(st.sets(st.integers(0, size - 1)))


@settings(max_examples=150, deadline=None)
@given(selections())
def test_a_multiproof_gives_the_oracles_root(selection: tuple[int, set[int]]) -> None:
    size, chosen = selection
    entries = [b"%d" % number for number in range(size)]
    hashes = nodes(entries)
    plan = plan_multiproof(chosen, size)
    proof = {node: hashes[node] for node in plan}
    leaves = {index: leaf_hash(entries[index]) for index in chosen}
    assert root_from_multiproof(leaves, size, proof) == MTH(entries)
    # Nodes that single proofs share are there once, and nothing that the leaves give.
    single = {node for index in chosen for node in plan_inclusion(index, size).nodes}
    assert not chosen or set(plan) <= single
    for node in plan:
        with pytest.raises(VerificationError, match="missing"):
            root_from_multiproof(leaves, size, {n: h for n, h in proof.items() if n != node})
        changed = root_from_multiproof(leaves, size, {**proof, node: b"?" * 32})
        assert changed != MTH(entries)


def test_a_multiproof_carries_nothing_without_effect() -> None:
    entries = [b"a", b"b", b"c"]
    proof = {node: nodes(entries)[node] for node in plan_multiproof([1], 3)}
    with pytest.raises(VerificationError, match="nothing needs"):
        root_from_multiproof({1: leaf_hash(b"b")}, 3, {**proof, Node(5, 9): bytes(32)})


@pytest.mark.parametrize("indices", [[3], [-1]])
def test_no_multiproof_of_leaves_that_are_not_there(indices: list[int]) -> None:
    with pytest.raises(ValueError, match="not in a tree"):
        plan_multiproof(indices, 3)
    with pytest.raises(VerificationError, match="not in a tree"):
        root_from_multiproof({index: bytes(32) for index in indices}, 3, {})


def test_a_multiproof_in_the_largest_tree() -> None:
    size = 2**63 - 1
    plan = plan_multiproof([0, size - 1], size)
    assert len(plan) <= 2 * 63
    assert (
        len(
            root_from_multiproof(
                {0: bytes(32), size - 1: bytes(32)}, size, dict.fromkeys(plan, bytes(32))
            )
        )
        == 32
    )


# --- bundle ----------------------------------------


def test_a_bundle_comes_back_and_verifies() -> None:
    assert parse_bundle(DATA) == BUNDLE
    assert parse_bundle(DATA).encode() == DATA
    verified = verify_bundle(parse_bundle(DATA), POLICY)
    assert verified.execution == "call"
    assert verified.cosigned.size == len(WORLD.records)
    assert verified.records == dict(enumerate(WORLD.records[:7]))
    assert verified.facts.head.time == NOW
    again, whole = trace("call", verified.facts, NOW), trace("call", WORLD.facts(), NOW)
    assert again == whole
    assert again.continuous


def test_a_bundle_shows_the_breaks_as_the_log_does() -> None:
    world = example()
    world.revoke(execution="plan")
    verified = verify_bundle(bundle_of(world), POLICY)
    assert [one.kind for one in trace("call", verified.facts, NOW).breaks] == ["revoked_execution"]


def test_shared_nodes_are_there_once() -> None:
    assert len(BUNDLE.nodes) < sum(len(plan_inclusion(i, 13).nodes) for i in range(7))
    assert len(set(BUNDLE.nodes)) == len(BUNDLE.nodes)


def test_a_bundle_without_a_quorum_is_refused() -> None:
    signed = BUNDLE.checkpoint
    bare = type(signed)(
        signed.checkpoint, type(signed.note)(signed.note.text, signed.note.signatures[:1])
    )
    with pytest.raises(VerificationError, match="quorum"):
        verify_bundle(Bundle("call", bare, BUNDLE.entries, BUNDLE.nodes), POLICY)


@pytest.mark.parametrize("change", ["record", "index", "node", "swap"])
def test_a_bundle_with_other_content_does_not_verify(change: str) -> None:
    entries, hashes = dict(BUNDLE.entries), dict(BUNDLE.nodes)
    if change == "record":
        entries[3] = entries[3].replace(b"document", b"archives")
    elif change == "index":
        entries[9] = entries.pop(3)
    elif change == "node":
        hashes[BUNDLE.nodes[0][0]] = bytes(32)
    else:
        entries[3], entries[4] = entries[4], entries[3]
    changed = Bundle(
        "call", BUNDLE.checkpoint, tuple(sorted(entries.items())), tuple(hashes.items())
    )
    with pytest.raises(VerificationError):
        verify_bundle(changed, POLICY)


@settings(max_examples=400, deadline=None)
@given(mutations([DATA]))
def test_a_mutated_bundle_never_says_anything_else(data: bytes) -> None:
    try:
        bundle = parse_bundle(data)
        assert bundle.encode() == data
        verified = verify_bundle(bundle, POLICY)
    except (FormatError, VerificationError):
        return
    # What is left to change is the hint, and signature lines of keys that nobody knows.
    assert verified.records == dict(enumerate(WORLD.records[:7]))
    assert verified.cosigned.root == MTH(WORLD.entries())


LINES = DATA.split(b"\n")
FIRST_NODE = LINES.index(b"nodes %d" % len(BUNDLE.nodes)) + 1


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (0, b"muniment/lineage-bundle/v2", "first line"),
        (1, b"run call", "line 2"),
        (1, b"execution ", "execution is no id"),
        (1, b"execution a b", "execution is no id"),
        (2, b"records 07", "leading zeros"),
        (2, b"records 0", "number of nodes|records"),
        (2, b"records 8", "line 11"),
        (2, b"records 100001", "more than"),
        (3, b"0", "no record"),
        (3, b"00 {}", "leading zeros"),
        (3, b"5 {}", "do not ascend"),
        (FIRST_NODE, b"0 7", "no node"),
        (FIRST_NODE, b"63 7 " + b"A" * 43 + b"=", "more than 62"),
        (FIRST_NODE, b"9 7 " + b"A" * 43 + b"=", "nodes do not ascend"),
        (FIRST_NODE, b"0 7 AAAA", "base64 of 32"),
        (FIRST_NODE - 1, b"nodes 999999", "more than"),
        (FIRST_NODE - 1, b"nodes 0", "expected an empty line"),
    ],
)
def test_the_parser_names_what_is_wrong(line: int, text: bytes, message: str) -> None:
    lines = list(LINES)
    lines[line] = text
    with pytest.raises(FormatError, match=message):
        parse_bundle(b"\n".join(lines))


def test_a_file_that_is_no_bundle() -> None:
    for data in (b"", HEADER.encode(), b"\n\n", HEADER.encode() + b"\nexecution x\n\n"):
        with pytest.raises(FormatError):
            parse_bundle(data)


def test_an_entry_that_is_no_record_is_refused() -> None:
    world = World()
    world.decide("call")
    entry = b"not a record"
    world.entries = lambda: [entry]  # type: ignore[method-assign]
    bundle = build_bundle("call", world.checkpoint(), {0: entry}, {})
    with pytest.raises(FormatError, match="record"):
        verify_bundle(bundle, POLICY)


def test_a_bundle_of_nothing_is_refused() -> None:
    with pytest.raises(FormatError, match="not 1 to"):
        build_bundle("call", WORLD.checkpoint(), {}, nodes(WORLD.entries()))


# --- addenda ----------------------------------------


def withholding() -> tuple[World, list[bytes]]:
    world, index = story()
    decision = world.records[index]
    assert isinstance(decision, Decision)
    decision.request["context"] = {"to": "ada@mail.example"}
    decision.response["context"] = {"why": "Ada may"}
    world.records[index], addenda = withhold(decision, ["/*/context"])
    return world, [*addenda.values()]


def test_a_bundle_discloses_and_one_without_addenda_is_what_it_was() -> None:
    world, addenda = withholding()
    plain = bundle_of(world)
    bundle = replace(plain, addenda=tuple(sorted(addenda, key=lambda one: sha256(one).digest())))
    data = bundle.encode()
    assert parse_bundle(data) == bundle
    assert parse_bundle(data).encode() == data
    assert {*verify_bundle(bundle, POLICY).addenda.values()} == {*addenda}
    assert verify_bundle(plain, POLICY).addenda == {}
    assert b"addenda 2\n" in data
    assert b"addenda 0" not in plain.encode()
    for wrong, why in (
        (data.replace(b"addenda 2", b"addenda 1"), "expected an empty line"),
        (data.replace(b"addenda 2", b"addenda 3"), "ends after line"),
        (plain.encode().replace(b"\n\n", b"\naddenda 0\n\n", 1), "no addenda"),
    ):
        with pytest.raises(FormatError, match=why):
            parse_bundle(wrong)
    with pytest.raises(FormatError, match="order of their digests"):
        replace(bundle, addenda=bundle.addenda[::-1])
    with pytest.raises(VerificationError, match="addendum 0: no record of it names"):
        verify_bundle(replace(plain, addenda=(addendum("0" * 32, 1),)), POLICY)
