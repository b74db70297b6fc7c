"""Searches by subject, resource and time, keys by what they signed, and the heads of a replica."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import index_tools as tools
import logsim
from muniment.index.follower import Follower
from muniment.index.query import Index, IndexedRecords
from muniment.index.replicafacts import ReplicaFacts
from muniment.index.schema import MIGRATIONS
from muniment.index.search import Search
from muniment.index.store import MAX_HEADS, PUBLISHING
from muniment.index.summary import filter_of, may_have, positions
from muniment.lineage import Interval
from muniment.records.authority import key_reference
from muniment.records.kinds import Entity
from muniment.records.manifest import NO_PREVIOUS, build_batch

COUNT = 1500
AGENT = Entity("agent", "agent-1")
OWN_KEY = key_reference(logsim.GATEWAY_SIGNER.vkey)


def entries() -> list[bytes]:
    """Batches of 100 decisions about seven tools, each with its manifest."""
    found: list[bytes] = []
    for first in range(0, COUNT, 100):
        records = [logsim.decision(number) for number in range(first, first + 100)]
        signer = logsim.GATEWAY_SIGNER
        batch = build_batch(tools.ORIGIN, signer, "s", 0, NO_PREVIOUS, records)
        found += [*records, batch.manifest_note]
    return found


def everything(index: Index, search: Search, **how: int) -> list[int]:
    """The numbers of all decisions that a search finds, over its pages."""
    found: list[int] = []
    after = -1
    while True:
        answer: IndexedRecords = index.find(search, after=after, **how)
        found += [int(entry.record.id.removeprefix("d-")) for entry in answer.entries]
        if answer.next is None:
            return found
        assert answer.next > after
        after = answer.next


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("find") / "replica.db"
    source = tools.MemorySource(entries())

    async def grow() -> None:
        # Partial bundles grow: what they are about is put together.
        for size in (100, 300, 1000, len(source.entries)):
            source.size = size
            await tools.follow(path, source)

    asyncio.run(grow())
    return path


@pytest.mark.parametrize("how", [{}, {"limit": 7}, {"effort": 1}])
def test_finds_by_subject_resource_and_time(replica: Path, how: dict[str, int]) -> None:
    tool, start = Entity("tool", "tool-3"), logsim.NOW * 1000
    with tools.reading(replica) as reader:
        index = Index(reader)
        assert everything(index, Search(resource=tool), **how) == list(range(3, COUNT, 7))
        assert everything(index, Search(AGENT, tool), **how) == list(range(3, COUNT, 7))
        assert everything(index, Search(subject=Entity("agent", "x")), **how) == []
        assert everything(index, Search(subject=Entity("user", "agent-1")), **how) == []
        window = Search(since=start + 990, until=start + 1010)
        assert everything(index, window, **how) == list(range(990, 1010))
        assert everything(index, Search(AGENT, tool, start + 20, start + 40), **how) == [24, 31, 38]


def test_a_search_passes_over_bundles_that_cannot_have_it(replica: Path) -> None:
    with tools.reading(replica) as reader:
        answer = Index(reader).find(Search(since=(logsim.NOW + 10) * 1000), effort=0)
        assert (answer.entries, answer.next) == ((), None)


def test_a_file_of_before_is_searched_bundle_by_bundle(tmp_path: Path) -> None:
    path = tmp_path / "replica.db"
    asyncio.run(tools.follow(path, tools.MemorySource(entries())))
    with tools.database(path) as db:
        for table in ("head", "gateway", "noted", "summary"):
            db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA user_version = 1")
    tool = Entity("tool", "tool-3")
    with tools.reading(path) as reader:
        assert everything(Index(reader), Search(resource=tool)) == list(range(3, COUNT, 7))
        assert reader.gateways() is None
        assert reader.intervals([5], size=10) == [Interval(None, tools.NOW)]
        seen = Index(reader).key(OWN_KEY)
        assert seen.first == seen.size
    source = tools.MemorySource([*entries(), *entries()])
    asyncio.run(tools.follow(path, source))  # it is brought up to date, and goes on
    with tools.database(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    with tools.reading(path) as reader:
        assert len(everything(Index(reader), Search(resource=tool))) == 2 * len(range(3, COUNT, 7))
        assert Index(reader).key(OWN_KEY).first == len(entries())


def test_a_key_is_known_by_what_it_signed(replica: Path) -> None:
    with tools.reading(replica) as reader:
        index = Index(reader)
        seen, unseen = index.key(OWN_KEY), index.key(f"{logsim.GATEWAY}+deadbeef")
    assert (seen.index, seen.first) == (100, 0)
    assert (unseen.index, unseen.first) == (None, 0)


def test_who_signed_a_record_is_read_from_its_manifest(replica: Path) -> None:
    with tools.reading(replica) as reader:
        found = ReplicaFacts(reader).signers([0, 99, 100, 101, 1514])
    assert [one and one.manifest for one in found] == [100, 100, 100, 201, 1514]
    assert {one.key for one in found if one is not None} == {OWN_KEY}


@given(st.lists(st.tuples(st.text(), st.text()), max_size=600))
@settings(max_examples=30, deadline=None)
def test_a_filter_misses_nothing(things: list[tuple[str, str]]) -> None:
    encoded = filter_of(things, ())
    assert all(may_have(encoded, positions("subject", *thing)) for thing in things)


# --- heads ----------------------------------------


async def test_a_replica_knows_between_which_heads_a_leaf_was_taken(tmp_path: Path) -> None:
    path, source, clock = tmp_path / "replica.db", tools.MemorySource(entries(), 10), tools.NOW
    async with tools.opened(path) as store:
        follower = Follower(store, source, clock=lambda: clock)
        for size, cosigned, now in (
            (10, 0, 1),
            (10, 0, 50),  # seen once more, without a new leaf until then
            (20, 60, 61),
            (20, 90, 91),  # cosigned anew
            (30, 100, 101),
        ):
            source.size, source.now, clock = size, tools.NOW + cosigned, tools.NOW + now
            await follower.step()
    with tools.reading(path) as reader:
        facts = ReplicaFacts(reader)
        assert facts.intervals([0, 9, 10, 19, 20]) == [
            Interval(None, tools.NOW),
            Interval(None, tools.NOW),
            Interval(tools.NOW + 50 - PUBLISHING, tools.NOW + 60),
            Interval(tools.NOW + 50 - PUBLISHING, tools.NOW + 60),
            Interval(tools.NOW + 90, tools.NOW + 100),
        ]


async def test_a_clock_of_ours_that_is_ahead_makes_nobody_late(tmp_path: Path) -> None:
    path, source = tmp_path / "replica.db", tools.MemorySource(entries(), 10)
    async with tools.opened(path) as store:
        follower = Follower(store, source, clock=lambda: tools.NOW + 10**6)
        for size, cosigned in ((10, 0), (20, 60)):
            source.size, source.now = size, tools.NOW + cosigned
            await follower.step()
    with tools.reading(path) as reader:
        assert ReplicaFacts(reader).intervals([10]) == [Interval(tools.NOW + 60, tools.NOW + 60)]


async def test_old_heads_are_thinned_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_HEADS >= 1 << 16
    monkeypatch.setattr("muniment.index.store.MAX_HEADS", 3)
    path, source = tmp_path / "replica.db", tools.MemorySource(entries())
    async with tools.opened(path) as store:
        follower = Follower(store, source, clock=lambda: source.now)
        for number in range(1, 21):
            source.size, source.now = number, tools.NOW + 100 * number
            await follower.step()
    with tools.database(path) as db:
        sizes = [size for (size,) in db.execute("SELECT size FROM head ORDER BY size")]
    assert sizes == [1, 7, 13, 18, 19, 20]
