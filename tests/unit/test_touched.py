"""The map function: which lists a leaf is in."""

import json
from hashlib import sha256
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import index_tools as tools
from governed import story
from memtree import list_value
from muniment.lineage.facts import ROLES
from muniment.lineage.mapkeys import key_of
from muniment.records.api import encode_record
from muniment.records.kinds import Decision, Edge, Relation, Revocation, Target, Thing
from muniment.records.touched import KINDS, map_key, touched, touched_values
from muniment.tlog.merkle import leaf_hashes, root_of


@given(st.integers(0, 1 << 32))
def test_each_lookup_of_lineage_is_answered_by_one_list(seed: int) -> None:
    random = Random(seed)
    record = tools.make_record(random)
    keys = touched(encode_record(record), tools.ORIGIN)
    looked_up = {
        map_key(*key_of(role, key, tools.ORIGIN))
        for role, (kind, keys_of) in ROLES.items()
        if isinstance(record, kind)
        for key in keys_of(record, tools.ORIGIN)
        if key is not None
        # A decision on a run is looked up under its run.
        and not (role == "decision" and isinstance(record, Decision) and record.execution)
    }
    assert looked_up <= set(keys)
    assert list(keys) == sorted(set(keys))
    assert all(len(key) == 32 and 1 <= key[0] <= len(KINDS) for key in keys)


def test_a_key_is_its_kind_and_a_hash() -> None:
    digest = sha256(b"muniment map v1\nexecution\nrun-1").digest()
    assert map_key("execution", "run-1") == b"\2" + digest[:31]
    assert len({map_key(kind, "x") for kind in KINDS}) == len(KINDS)
    assert len(map_key("subject", "\ud800")) == 32


def test_the_value_of_a_list_is_its_count_and_root() -> None:
    root = root_of(leaf_hashes([bytes(7) + b"\1", bytes(7) + b"\5"]))
    assert list_value([1, 5]) == bytes(7) + b"\2" + root


def values(leaf: bytes) -> set[tuple[str, str]]:
    return set(touched_values(leaf, tools.ORIGIN))


def edge(start: Thing, end: Thing, relation: Relation = "triggered_by") -> set[tuple[str, str]]:
    made = Edge(
        v=1,
        id="e",
        time=0,
        producer="gw",
        relation=relation,
        from_=start,
        to=end,
    )
    return values(encode_record(made))


def test_edges_from_a_run_are_under_the_run_unless_it_is_of_another_log() -> None:
    parent = Thing(type="run", id="p")
    for origin in (None, tools.ORIGIN):
        elsewhere = {} if origin is None else {"origin": origin, "index": 0, "leaf": "A" * 43 + "="}
        child = Thing(type="run", id="c", **elsewhere)  # type: ignore[arg-type]
        assert edge(child, parent) == {("execution", "c"), ("to", "run\0p")}
    other = Thing(type="run", id="c", origin="other.example", index=0, leaf="A" * 43 + "=")
    assert edge(other, parent) == {("from", "run\0c\0other.example"), ("to", "run\0p")}
    assert edge(parent, other) == {("execution", "p"), ("to", "run\0c\0other.example")}


def test_what_revokes_a_decision_is_in_one_list_record_or_edge() -> None:
    found = edge(Thing(type="decision", id="d"), Thing(type="run", id="r"), "revoked_by")
    assert ("revocations", "decision\0d") in found
    assert ("from", "decision\0d") in found
    for target, lists in (
        (Target(decision="d"), {("revocations", "decision\0d")}),
        (Target(execution="r"), {("revocations", "execution\0r"), ("execution", "r")}),
        (Target(key="sha256:" + "a" * 64), {("revocations", "key\0sha256:" + "a" * 64)}),
        (
            Target(key="gw.example+01234567"),
            {("revocations", "key\0gw.example+01234567"), ("revocations", "key_name\0gw.example")},
        ),
    ):
        made = Revocation(v=1, id="x", time=0, producer="gw", target=target, since=0, reason="r")
        assert values(encode_record(made)) == lists


@pytest.mark.parametrize("more", ['"origin":1', '"origin":{}', '"properties":[]', '"kind":2'])
def test_what_a_request_says_of_its_subject_hides_no_decision(more: str) -> None:
    members = json.loads(story()[0].entries()[0])
    assert values(json.dumps(members).encode()) >= {("execution", members["execution"])}
    subject = json.dumps(members["request"]["subject"])
    leaf = json.dumps(members).replace(subject, f"{subject[:-1]}, {more}}}").encode()
    assert leaf != json.dumps(members).encode()
    assert values(leaf) == values(json.dumps(members).encode())


def test_a_manifest_is_under_its_producer() -> None:
    [(kind, producer)] = values(tools.MANIFEST)
    assert (kind, tools.MANIFEST.splitlines()[2]) == ("stream", producer.encode() + b" s")


@pytest.mark.parametrize("leaf", tools.ODD)
def test_a_leaf_that_is_no_record_touches_nothing_that_is_none(leaf: bytes) -> None:
    assert all(len(key) == 32 for key in touched(leaf, tools.ORIGIN))


@pytest.mark.parametrize(
    "leaf",
    [
        b"muniment/manifest/v1\n",
        b"muniment/manifest/v1\nlog\nproducer\n",
        b"muniment/manifest/v1\nlog\nprod\xff s\n0 1\n",
        b'{"kind":"decision","id":1}',
        b'{"kind":"decision","id":"1","execution":1}',
        b"[]",
    ],
)
def test_these_leaves_touch_nothing(leaf: bytes) -> None:
    assert touched(leaf, tools.ORIGIN) == ()
