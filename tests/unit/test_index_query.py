"""Answers of the index, held against a naive scan of the same leaves."""

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import index_tools as tools
from decisions import request
from muniment.index import query as query_module
from muniment.index import replicafacts
from muniment.index.query import Index
from muniment.index.replicafacts import ReplicaFacts
from muniment.lineage.facts import FactsError, Ref, TargetRef, ref_of
from muniment.lineage.trace import trace
from muniment.records.api import Thing, encode_record
from muniment.records.kinds import (
    Decision,
    Edge,
    Erasure,
    Outcome,
    Record,
    Revocation,
    Verification,
)
from muniment.tlog.encoding import FormatError

IDS = [str(number) for number in range(12)]
REFS = [
    Ref(type_, id_, origin)
    for type_ in ("run", "decision", "agent", "artifact", "policy", "grant")
    for id_ in IDS
    for origin in (None, "other.example/log")
]
TARGETS = [
    *[TargetRef(kind, id_) for kind in ("decision", "execution") for id_ in IDS],
    *[TargetRef("key", key) for key in tools.KEYS],
    TargetRef("key_name", "auth.example"),
    TargetRef("key_name", "other.example"),
]
LOOKUPS = [
    ("edges_from", REFS),
    ("edges_to", REFS),
    ("decisions", IDS),
    ("decisions_of", IDS),
    ("outcomes", IDS),
    ("verifications", IDS),
    ("revocations", TARGETS),
    ("erasures", [*tools.ADDENDA, "0" * 64]),
]


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    import asyncio

    path = tmp_path_factory.mktemp("index") / "replica"
    entries = tools.make_entries(Random(11), 900)
    asyncio.run(tools.follow(path, tools.MemorySource(entries)))
    return path, entries


@given(st.integers(0, 2**32), st.integers(1, 400), st.integers(0, 400), st.integers(-1, 400))
@settings(max_examples=20, deadline=None)
async def test_facts_are_those_of_a_naive_scan(
    seed: int, count: int, more: int, after: int
) -> None:
    random = Random(seed)
    entries = tools.make_entries(random, count + more)
    with TemporaryDirectory() as folder:
        path = Path(folder, "replica")
        await tools.follow(path, tools.MemorySource(entries, count))
        with tools.reading(path) as reader:
            facts, naive = ReplicaFacts(reader), tools.naive_facts(entries, count)
            await tools.follow(path, tools.MemorySource(entries))
            limit = random.choice([1, 2, 5, 256])
            for name, keys in LOOKUPS:
                for given_ in ({}, {"after": after}, {"limit": limit}):
                    found = getattr(facts, name)(keys, **given_)
                    assert found == getattr(naive, name)(keys, **given_), name


def test_keys_with_many_postings_are_read_one_by_one(
    replica: tuple[Path, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, entries = replica
    monkeypatch.setattr(replicafacts, "SPREAD", 0)
    monkeypatch.setattr(replicafacts, "LEAST_ROWS", 2)
    with tools.reading(path) as reader:
        facts, naive = ReplicaFacts(reader), tools.naive_facts(entries, 900)
        for name, keys in LOOKUPS:
            for limit in (1, 3, 256):
                assert getattr(facts, name)(keys, limit=limit) == getattr(naive, name)(
                    keys, limit=limit
                )


def test_answers_do_not_depend_on_what_was_asked_before(
    replica: tuple[Path, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading ahead, and forgetting what was read, change no answer."""
    path, entries = replica
    naive, random = tools.naive_facts(entries, 900), Random(1)
    for ahead, kept in ((1, 65_536), (64, 65_536), (8, 3), (64, 20)):
        monkeypatch.setattr(replicafacts, "READ_AHEAD", ahead)
        monkeypatch.setattr(replicafacts, "CACHED_RECORDS", kept)
        with tools.reading(path) as reader:
            facts = ReplicaFacts(reader)
            for _ in range(150):
                name, keys = random.choice(LOOKUPS)
                some = random.sample(keys, random.randrange(1, 5))
                assert getattr(facts, name)(some) == getattr(naive, name)(some)


def test_paging_visits_everything_once(replica: tuple[Path, list[bytes]]) -> None:
    with tools.reading(replica[0]) as reader:
        index = Index(reader)
        whole = index.decision("3", limit=1000)
        assert whole.next is None
        paged, after = [], -1
        while True:
            page = index.decision("3", after=after, limit=2)
            assert len(page.entries) <= 2
            paged += page.entries
            if page.next is None:
                break
            after = page.next
        assert tuple(paged) == whole.entries


@pytest.mark.parametrize("kind", ["decision", "execution"])
def test_answers_hold_every_record_about_a_thing(
    replica: tuple[Path, list[bytes]], kind: str
) -> None:
    path, entries = replica
    with tools.reading(path) as reader:
        for id_ in IDS:
            answer = getattr(Index(reader), kind)(id_, limit=1000)
            assert (answer.origin, answer.size) == (tools.ORIGIN, 900)
            expected = [
                (index, entries[index])
                for index, record in tools.known_records(entries)
                if _concerns(record, "run" if kind == "execution" else kind, id_)
            ]
            assert [(one.index, one.data) for one in answer.entries] == expected
            assert expected


def _concerns(record: Record, type_: str, id_: str) -> bool:
    match record:
        case Decision():
            return id_ == (record.id if type_ == "decision" else record.execution)
        case Edge():
            ends = [ref_of(end, tools.ORIGIN) for end in (record.from_, record.to)]
            return Ref(type_, id_) in ends
        case Outcome() | Verification():
            return type_ == "run" and record.execution == id_
        case Revocation():
            target = record.target
            return id_ == (target.decision if type_ == "decision" else target.execution)
        case Erasure():
            return False


def test_an_id_reused_with_other_content_is_flagged(replica: tuple[Path, list[bytes]]) -> None:
    path, entries = replica
    contents: dict[tuple[str, str], set[bytes]] = {}
    for index, record in tools.known_records(entries):
        contents.setdefault((record.producer, record.id), set()).add(entries[index])
    with tools.reading(path) as reader:
        for id_ in IDS:
            for one in Index(reader).decision(id_, limit=1000).entries:
                expected = len(contents[one.record.producer, one.record.id]) > 1
                assert one.is_conflicting is expected


async def test_only_another_content_of_the_same_producer_conflicts(tmp_path: Path) -> None:
    def outcome(producer: str, time_: int) -> bytes:
        return encode_record(
            Outcome(v=1, id="o", time=time_, producer=producer, execution="r", status="completed")
        )

    entries = [outcome("a", 1), outcome("a", 1), outcome("b", 1)]
    path = tmp_path / "replica"
    await tools.follow(path, tools.MemorySource(entries))
    with tools.reading(path) as reader:
        assert [one.is_conflicting for one in Index(reader).execution("r").entries] == [False] * 3
    entries.append(outcome("a", 2))
    await tools.follow(path, tools.MemorySource(entries))
    with tools.reading(path) as reader:
        flags = [one.is_conflicting for one in Index(reader).execution("r").entries]
    assert flags == [True, True, False, True]


def naive_walk(
    entries: list[bytes], size: int, thing: Ref, direction: str, depth: int
) -> list[tuple[int, int]]:
    """(index, depth) of each edge, by a scan of all leaves for each level."""
    found: dict[int, int] = {}
    things, level = {thing}, [thing]
    for hops in range(1, depth + 1):
        following = []
        for at in level:
            for index, record in tools.known_records(entries[:size]):
                if not isinstance(record, Edge):
                    continue
                near, far = ref_of(record.from_, tools.ORIGIN), ref_of(record.to, tools.ORIGIN)
                if direction == "descendants":
                    near, far = far, near
                if near == at and index not in found:
                    found[index] = hops
                    if far.origin is None and far not in things:
                        things.add(far)
                        following.append(far)
        level = following
    return list(found.items())


@pytest.mark.parametrize("direction", ["ancestors", "descendants"])
@pytest.mark.parametrize("depth", [1, 2, 5])
async def test_walks_are_those_of_a_naive_scan(tmp_path: Path, direction: str, depth: int) -> None:
    random = Random(depth)
    entries = [encode_record(tools.make_record(random, ids=8)) for _ in range(150)]
    path = tmp_path / "replica"
    await tools.follow(path, tools.MemorySource(entries))
    longest = 0
    with tools.reading(path) as reader:
        for thing in [Ref("run", str(n)) for n in range(10)] + [Ref("agent", "3")]:
            expected = naive_walk(entries, 150, thing, direction, depth)
            longest = max(longest, len(expected))
            for limit in (3, 1000):
                pages, token = [], None
                while True:
                    walk = Index(reader).lineage(
                        thing, direction, depth=depth, limit=limit, token=token
                    )
                    assert len(walk.hops) <= limit
                    pages += [(hop.index, hop.depth) for hop in walk.hops]
                    assert all(hop.data == entries[hop.index] for hop in walk.hops)
                    token = walk.next
                    if token is None:
                        break
                assert pages == expected
    assert longest > 3


async def test_the_pages_of_a_walk_reflect_one_size(tmp_path: Path) -> None:
    random = Random(5)
    entries = [encode_record(tools.make_record(random, ids=4)) for _ in range(200)]
    path = tmp_path / "replica"
    await tools.follow(path, tools.MemorySource(entries, 100))
    with tools.reading(path) as reader:
        index, thing = Index(reader), Ref("run", "1")
        first = index.lineage(thing, "ancestors", limit=3)
        await tools.follow(path, tools.MemorySource(entries))
        second = index.lineage(thing, "ancestors", limit=1000, token=first.next)
        assert (first.size, second.size) == (100, 100)
        together = [hop.index for hop in (*first.hops, *second.hops)]
        assert together == [
            at for at, _ in naive_walk(entries, 100, thing, "ancestors", query_module.DEPTH)
        ]


@pytest.mark.parametrize("token", ["", "x", "1", "1.", ".1", "901.1", "900.99999", "0.0", "01.1"])
def test_other_tokens_are_refused(replica: tuple[Path, list[bytes]], token: str) -> None:
    with tools.reading(replica[0]) as reader, pytest.raises(FormatError, match="token"):
        Index(reader).lineage(Ref("run", "1"), "ancestors", token=token)


def test_a_walk_ends_at_its_bound(
    replica: tuple[Path, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_module, "MAX_WALK", 7)
    with tools.reading(replica[0]) as reader:
        first = Index(reader).lineage(Ref("run", "1"), "descendants", limit=5)
        assert (len(first.hops), first.is_cut) == (5, False)
        second = Index(reader).lineage(Ref("run", "1"), "descendants", token=first.next)
        assert (len(second.hops), second.next, second.is_cut) == (2, None, True)


async def test_nothing_verified_is_no_answer(tmp_path: Path) -> None:
    async with tools.opened(tmp_path / "replica"):
        with tools.reading(tmp_path / "replica") as reader:
            with pytest.raises(FactsError, match="nothing is verified yet"):
                ReplicaFacts(reader)
            with pytest.raises(FactsError):
                Index(reader).decision("1")


def test_facts_at_an_earlier_size(replica: tuple[Path, list[bytes]]) -> None:
    path, entries = replica
    with tools.reading(path) as reader:
        facts, naive = ReplicaFacts(reader, size=333), tools.naive_facts(entries, 333)
        assert facts.head.size == 333
        assert facts.edges_to(REFS) == naive.edges_to(REFS)
        with pytest.raises(FactsError, match="reflects 900 leaves, not 901"):
            ReplicaFacts(reader, size=901)


async def test_a_long_chain_is_traced(tmp_path: Path) -> None:
    """How long it takes, `scripts/bench follow` measures."""
    hops = 1000
    entries = []
    for number in range(hops, -1, -1):
        common = {"v": 1, "time": tools.NOW * 1000, "producer": "gw.example/a"}
        run = f"run-{number}"
        entries.append(
            encode_record(
                Decision(
                    **common,
                    id=f"d-{number}",
                    request=request("a", resource=("tool", "t")),
                    response={"decision": True},
                    execution=run,
                )
            )
        )
        ends = [("authorized_by", "decision", f"d-{number}")]
        if number < hops:
            ends.append(("triggered_by", "run", f"run-{number + 1}"))
        for relation, type_, id_ in ends:
            entries.append(
                encode_record(
                    Edge(
                        **common,
                        id=f"{relation}-{number}",
                        relation=relation,
                        from_=Thing(type="run", id=run),
                        to=Thing(type=type_, id=id_),
                    )
                )
            )
    path = tmp_path / "replica"
    await tools.follow(path, tools.MemorySource(entries))
    with tools.reading(path) as reader:
        traced = trace("run-0", ReplicaFacts(reader), now=tools.NOW)
    assert traced.continuous, traced.breaks[:3]
