"""Postings."""

import re
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import index_tools as tools
from decisions import request
from governed import artifact
from muniment.index.keys import LOCAL_MASK, PART, PART_BITS, THING_SHIFT, Role, posting, thing_hash
from muniment.index.postings import extract
from muniment.lineage.facts import ref_of, targets_of
from muniment.records.api import encode_record
from muniment.records.kinds import (
    Approval,
    Decision,
    Edge,
    Erasure,
    Outcome,
    Revocation,
    Verification,
)


def expected(index: int, record: object) -> set[int]:
    """The postings of a record, from its parsed form."""
    things: list[tuple[int, Role]] = []
    match record:
        case Decision():
            things.append((thing_hash("decision", record.id), Role.ID))
            if record.execution is not None:
                things.append((thing_hash("run", record.execution), Role.DECISION_OF))
        case Edge():
            things.append((thing_hash("edge", record.id), Role.ID))
            things.append((thing_hash(*ref_of(record.from_, tools.ORIGIN)), Role.FROM))
            things.append((thing_hash(*ref_of(record.to, tools.ORIGIN)), Role.TO))
        case Outcome():
            things.append((thing_hash("outcome", record.id), Role.ID))
            things.append((thing_hash("run", record.execution), Role.OUTCOME))
        case Verification():
            things.append((thing_hash("verification", record.id), Role.ID))
            things.append((thing_hash("run", record.execution), Role.VERIFICATION))
        case Revocation():
            things.append((thing_hash("revocation", record.id), Role.ID))
            for kind, id_ in targets_of(record):
                type_ = "run" if kind == "execution" else kind
                things.append((thing_hash(type_, id_), Role.REVOKED))
        case Erasure():
            things.append((thing_hash("erasure", record.id), Role.ID))
            things += [(thing_hash("addendum", one), Role.ERASED) for one in record.digests]
        case Approval():
            things.append((thing_hash("approval", record.id), Role.ID))
    return {posting(thing, role, index) for thing, role in things}


@given(st.integers(0, 2**32), st.integers(0, PART - 40))
@settings(max_examples=60, deadline=None)
def test_every_valid_record_is_found_by_all_that_it_says(seed: int, first: int) -> None:
    records = [tools.make_record(Random(seed + n)) for n in range(12)]
    found = extract([encode_record(one) for one in records], first, tools.ORIGIN)
    wanted: set[int] = set()
    for index, record in enumerate(records, first):
        wanted |= expected(index, record)
    assert {*found.postings, *found.links} == wanted
    assert found.postings == sorted(found.postings)
    assert list(found.links) == sorted(found.links)
    edges = [(at, one) for at, one in enumerate(records, first) if isinstance(one, Edge)]
    assert found.links == {
        posting(thing_hash(*ref_of(one.from_, tools.ORIGIN)), Role.FROM, at): thing_hash(
            *ref_of(one.to, tools.ORIGIN)
        )
        for at, one in edges
    }
    assert (found.records, found.manifests, found.unknown) == (12, 0, 0)


@pytest.mark.parametrize("part", ["subject", "resource"])
@pytest.mark.parametrize("more", ['"origin":1', '"origin":{}', '"properties":[]', '"kind":2'])
def test_what_a_request_says_of_its_parts_hides_no_decision(part: str, more: str) -> None:
    leaf = encode_record(
        next(
            one
            for one in (tools.make_record(Random(seed)) for seed in range(100))
            if isinstance(one, Decision)
        )
    ).decode()
    said = re.search(rf'"{part}":\{{"id":"[^"]*"', leaf)
    odd = leaf.replace(said[0], said[0].replace("{", f"{{{more},", 1))
    assert extract([odd.encode()], 0, tools.ORIGIN) == extract([leaf.encode()], 0, tools.ORIGIN)


def test_what_is_no_record_is_counted_and_harms_nothing() -> None:
    good = encode_record(tools.make_record(Random(1)))
    found = extract([*tools.ODD, tools.MANIFEST, good], 0, tools.ORIGIN)
    assert found.manifests == 1
    assert found.unknown >= 5
    assert set(extract([good], len(tools.ODD) + 1, tools.ORIGIN).postings) <= set(found.postings)


@given(st.lists(st.binary(max_size=60), max_size=5))
@settings(max_examples=100)
def test_any_bytes_are_taken(entries: list[bytes]) -> None:
    found = extract(entries, 0, tools.ORIGIN)
    assert found.records + found.manifests + found.unknown == len(entries)
    assert all(0 <= one < 1 << 63 for one in (*found.postings, *found.links))


def test_a_posting_keeps_thing_role_and_leaf_apart() -> None:
    thing = thing_hash("run", "r")
    one = posting(thing, Role.TO, PART - 1)
    assert one >> THING_SHIFT == thing
    assert one >> PART_BITS & 15 == Role.TO
    assert one & LOCAL_MASK == PART - 1
    assert one < 1 << 63


def test_leaves_of_two_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="not of one part"):
        extract([b"{}", b"{}"], PART - 1, tools.ORIGIN)


def test_any_text_can_be_asked_for() -> None:
    assert thing_hash("run", "\ud800") != thing_hash("run", "?")
    assert thing_hash("run", "a", "b") != thing_hash("run", "a")


def test_a_decision_is_found_by_the_key_of_who_has_approved_it() -> None:
    approval = tools.approval(Random(1), {"id": "apr-1", "producer": tools.PRODUCERS[0]})
    approval = msgspec.structs.replace(approval, decision=True)
    other = msgspec.structs.replace(approval, id="apr-2", key="people.example/other+01234567")
    record = Decision(
        v=1,
        id="d-1",
        time=tools.NOW * 1000,
        producer=tools.PRODUCERS[0],
        request=request(),
        response={"decision": True},
        artifact=artifact(approval=approval, further_approvals=(other,)),
    )
    found = extract([encode_record(record)], 7, tools.ORIGIN)
    for one in (approval, other):
        assert posting(thing_hash("key", one.key), Role.SIGNED, 7) in found.postings
