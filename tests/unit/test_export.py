"""`muniment export`: what is exported is verified, and the cursor moves behind what was taken."""

import asyncio
import json
from base64 import b64decode
from pathlib import Path
from random import Random

import pytest

import export_tools as tools
import index_tools
import logsim
from commands import muniment
from muniment.errors import FormatError, InputError, MunimentError, VerificationError
from muniment.export import cursor as cursors
from muniment.export.cursor import CursorFile, parse_cursor
from muniment.export.destination import Event, LineWriter
from muniment.export.forms import JSON_LINES
from muniment.export.source import Source
from muniment.index.reader import IndexReader
from muniment.lineage.facts import FactsError
from muniment.records.api import Erasure, encode_record, parse_record
from muniment.tlog.merkle import CompactRange, leaf_hash, leaf_hashes
from muniment.tlog.policy import parse_policy

COUNT = 700


@pytest.fixture(scope="module")
def entries() -> list[bytes]:
    """Records, with manifests and what is no record between them."""
    return index_tools.make_entries(Random(16), COUNT)


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory, entries: list[bytes]) -> Path:
    path = tmp_path_factory.mktemp("export") / "replica.db"
    tools.follow(path, index_tools.MemorySource(entries))
    return path


def test_every_record_is_exported_with_its_index_and_leaf_hash(
    replica: Path, entries: list[bytes]
) -> None:
    found = tools.exported(replica)
    assert [one.index for one in found] == index_tools.known_indices(entries)
    for one in found:
        assert one.data == entries[one.index]
        assert one.record == parse_record(one.data)
        assert one.leaf_hash == leaf_hash(one.data)


async def test_a_cursor_goes_on_behind_what_was_acknowledged(
    replica: Path, entries: list[bytes], tmp_path: Path
) -> None:
    cursor = tmp_path / "cursor"
    first = tools.Receiver(4)
    with pytest.raises(MunimentError, match="the receiver fails"):
        await tools.step(replica, first, cursor, batch=50)
    second = tools.Receiver()
    await tools.step(replica, second, cursor, batch=50)
    assert first.taken + second.taken == index_tools.known_indices(entries)
    third = tools.Receiver()
    await tools.step(replica, third, cursor)
    assert third.taken == []
    assert parse_cursor(cursor.read_bytes()).exported == CompactRange.EMPTY.extend(
        leaf_hashes(entries)
    )


async def test_without_a_cursor_everything_is_exported_each_time(
    replica: Path, entries: list[bytes]
) -> None:
    for batch in (1, 7, 256):
        receiver = tools.Receiver()
        exporter = await tools.step(replica, receiver, None, batch=batch)
        assert receiver.taken == index_tools.known_indices(entries)
        assert max(receiver.requests) == batch or batch == 256
        assert exporter.count + exporter.skipped == COUNT


@pytest.mark.parametrize("at", range(1, 8))
@pytest.mark.parametrize("persisted", [False, True])
async def test_a_crash_at_any_write_of_the_cursor_loses_nothing(
    replica: Path,
    entries: list[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
    persisted: bool,
) -> None:
    """The process ends before a cursor is written, or right behind it."""
    write, writes = cursors.write_atomic, 0

    class Crash(BaseException):
        pass

    def crash(path: Path, data: bytes, what: str) -> None:
        nonlocal writes
        writes += 1
        if writes == at and not persisted:
            raise Crash
        write(path, data, what)
        if writes == at:
            raise Crash

    monkeypatch.setattr(cursors, "write_atomic", crash)
    cursor, first, second = tmp_path / "cursor", tools.Receiver(), tools.Receiver()
    with pytest.raises(Crash):
        await tools.step(replica, first, cursor, batch=100)
    await tools.step(replica, second, cursor, batch=100)
    assert sorted({*first.taken, *second.taken}) == index_tools.known_indices(entries)
    assert len(first.taken) + len(second.taken) - len(index_tools.known_indices(entries)) <= (
        0 if persisted else 100
    )


async def test_an_event_that_is_sent_again_is_the_same_bytes(
    replica: Path, entries: list[bytes], tmp_path: Path
) -> None:
    one, other = tools.Receiver(), tools.Receiver()
    await tools.step(replica, one, None)
    grown = tmp_path / "grown.db"
    source = index_tools.MemorySource(entries, size=300)
    for source.size in (300, COUNT):
        await index_tools.follow(grown, source)
    await tools.step(grown, other, None)
    assert one.events == other.events


class TestCursor:
    """Of another log, format, history or replica: refused, and said in words."""

    async def cursor(self, replica: Path, tmp_path: Path) -> Path:
        path = tmp_path / "cursor"
        await tools.step(replica, tools.Receiver(), path)
        return path

    async def test_of_another_log(self, replica: Path, tmp_path: Path) -> None:
        path = await self.cursor(replica, tmp_path)
        members = json.loads(path.read_text())
        path.write_text(json.dumps({**members, "origin": "other.example/log"}))
        with pytest.raises(InputError, match=r"the log other\.example/log, not log\.exam"):
            await tools.step(replica, tools.Receiver(), path)

    async def test_of_another_format(self, replica: Path, tmp_path: Path) -> None:
        path = await self.cursor(replica, tmp_path)
        with pytest.raises(InputError, match="belongs to the format jsonl, not cloudevents"):
            CursorFile(path).read(index_tools.ORIGIN, "cloudevents")

    async def test_beyond_the_tree(
        self, replica: Path, entries: list[bytes], tmp_path: Path
    ) -> None:
        path = await self.cursor(replica, tmp_path)
        small = tmp_path / "small.db"
        await index_tools.follow(small, index_tools.MemorySource(entries, size=300))
        with pytest.raises(InputError, match=f"leaf {COUNT} .* beyond the tree .* has 300 leaves"):
            await tools.step(small, tools.Receiver(), path)

    @pytest.mark.parametrize("size", [COUNT, COUNT + 50])
    async def test_of_another_history(
        self, replica: Path, entries: list[bytes], tmp_path: Path, size: int
    ) -> None:
        path = await self.cursor(replica, tmp_path)
        other = [logsim.decision(1), *entries[1:], *[logsim.decision(n) for n in range(50)]]
        forked = tmp_path / "forked.db"
        await index_tools.follow(forked, index_tools.MemorySource(other, size=size))
        receiver = tools.Receiver()
        with pytest.raises(VerificationError, match="do not give the root"):
            await tools.step(forked, receiver, path)
        assert receiver.taken == []

    @pytest.mark.parametrize(
        "change",
        [
            {"next": 3},
            {"next": -1},
            {"next": True},
            {"next": 1 << 80},
            {"peaks": ["x"]},
            {"peaks": None},
            {"peaks": [1]},
            {"format": "x"},
            {"origin": 1},
            {"more": 1},
        ],
        ids=str,
    )
    async def test_that_is_none(
        self, replica: Path, tmp_path: Path, change: dict[str, object]
    ) -> None:
        path = await self.cursor(replica, tmp_path)
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        with pytest.raises(InputError, match="no cursor of an export"):
            CursorFile(path).read(index_tools.ORIGIN, "jsonl")

    @pytest.mark.parametrize("data", [b"\xff", b"{", b"[]", b"1", b"[" * 5000])
    def test_of_any_bytes(self, data: bytes) -> None:
        with pytest.raises(FormatError, match="no cursor"):
            parse_cursor(data)

    def test_that_is_empty_or_cannot_be_kept(self, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        with pytest.raises(InputError, match="empty"):
            CursorFile(tmp_path / "empty").read("o", "jsonl")
        with pytest.raises(InputError, match="no folder"):
            CursorFile(tmp_path / "none" / "cursor").read("o", "jsonl")


class TestReplica:
    """What does not hold is not exported."""

    async def test_a_changed_leaf(self, entries: list[bytes], tmp_path: Path) -> None:
        path = tmp_path / "replica.db"
        await index_tools.follow(path, index_tools.MemorySource(entries))
        with index_tools.database(path) as db:
            (data,) = db.execute("SELECT data FROM bundle WHERE idx = 1").fetchone()
            changed = data.replace(b'"producer":"gw.example/a"', b'"producer":"gw.example/b"', 1)
            assert changed != data
            db.execute("UPDATE bundle SET data = ? WHERE idx = 1", (changed,))
        receiver = tools.Receiver()
        with pytest.raises(VerificationError, match="do not give the root"):
            await tools.step(path, receiver, None)
        assert receiver.taken == []

    async def test_a_leaf_that_is_changed_meanwhile(
        self, entries: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "replica.db"
        await index_tools.follow(path, index_tools.MemorySource(entries))
        with IndexReader(path) as reader:
            Source(reader).check(CompactRange.EMPTY, lambda _done, _total: None)
        with IndexReader(path) as reader:
            source = Source(reader)
            source.check(CompactRange.EMPTY, lambda _done, _total: None)
            leaves = reader.leaves
            monkeypatch.setattr(
                reader,
                "leaves",
                lambda of: {at: b"other" if at == 600 else one for at, one in leaves(of).items()},
            )
            pages = source.pages(CompactRange.EMPTY)
            assert next(pages).end == 256
            assert next(pages).end == 512
            with pytest.raises(VerificationError, match="changed while it was read"):
                next(pages)

    async def test_another_policy(self, replica: Path) -> None:
        lines = logsim.POLICY_TEXT.splitlines(keepends=True)
        other = parse_policy("".join([*lines[:2], "quorum w1\n"]).encode())
        with IndexReader(replica) as reader:
            Source(reader, logsim.POLICY)
            Source(reader, other)
            stranger = logsim.POLICY_TEXT.replace(lines[0], f"log {logsim.GATEWAY_SIGNER.vkey}\n")
            with pytest.raises(FactsError, match="not verified by this policy"):
                Source(reader, parse_policy(stranger.encode()))

    async def test_nothing_verified_yet(self, tmp_path: Path) -> None:
        async with index_tools.opened(tmp_path / "new.db"):
            pass
        with (
            IndexReader(tmp_path / "new.db") as reader,
            pytest.raises(FactsError, match="nothing is verified"),
        ):
            Source(reader)


async def test_withheld_and_erased_members_are_shown_as_such(tmp_path: Path) -> None:
    digest, other = index_tools.ADDENDA[:2]
    value = json.loads(logsim.decision(0))
    value["request"]["context"] = {}
    value["response"]["context"] = {}
    value["addenda"] = {"/request/context/a": digest, "/response/context/b": other}
    decision = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
    erasure = encode_record(
        Erasure(v=1, id="e", time=logsim.NOW * 1000, producer=index_tools.ORIGIN,
                digests=(digest,), by="operator")
    )  # fmt: skip
    path = tmp_path / "replica.db"
    source = index_tools.MemorySource([decision, erasure], size=1)
    for source.size, shown in (
        (1, {"withheld": ["/request/context/a", "/response/context/b"]}),
        (2, {"withheld": ["/response/context/b"], "erased": {"/request/context/a": 1}}),
    ):
        await index_tools.follow(path, source)
        receiver = tools.Receiver()
        await tools.step(path, receiver, None)
        line = json.loads(receiver.events[0])
        assert {name: line[name] for name in line.keys() & {"withheld", "erased"}} == shown
        assert line["record"] == value


class TestLines:
    """Files: whole lines, on disk, never two writers, no torn line left."""

    async def put(self, path: Path, *events: bytes) -> None:
        async with LineWriter(JSON_LINES, path) as lines:
            await lines.put([Event(number, data) for number, data in enumerate(events)])

    async def test_lines_are_appended(self, tmp_path: Path) -> None:
        path = tmp_path / "out.jsonl"
        await self.put(path, b'{"a":1}', b'{"a":2}')
        await self.put(path, b'{"a":3}')
        assert path.read_bytes() == b'{"a":1}\n{"a":2}\n{"a":3}\n'
        assert path.stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("whole", [b"", b'{"a":1}\n', b'{"a":"' + b"x" * 3_000_000 + b'"}\n'])
    @pytest.mark.parametrize("torn", [b"{", b'{"a":', b'{"b":"' + b"y" * 2_500_000])
    async def test_a_torn_line_is_cut_off(self, tmp_path: Path, whole: bytes, torn: bytes) -> None:
        path = tmp_path / "out.jsonl"
        path.write_bytes(whole + torn)
        await self.put(path, b'{"c":3}')
        assert path.read_bytes() == whole + b'{"c":3}\n'

    @pytest.mark.parametrize("data", [b"notes", b"a\nb", b"\x7fELF"])
    async def test_another_file_is_left_alone(self, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "precious"
        path.write_bytes(data)
        with pytest.raises(InputError, match="name another file"):
            await self.put(path, b'{"c":3}')
        assert path.read_bytes() == data

    async def test_two_writers_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "out.jsonl"
        async with LineWriter(JSON_LINES, path):
            with pytest.raises(InputError, match="another process"):
                await self.put(path, b"{}")

    async def test_a_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="directory"):
            await self.put(tmp_path, b"{}")


def test_the_command_exports_once_and_says_how_much(
    replica: Path, entries: list[bytes], tmp_path: Path
) -> None:
    out, cursor = tmp_path / "out.jsonl", tmp_path / "cursor"
    common = ("export", "--replica", str(replica), "--format", "jsonl")
    known = index_tools.known_indices(entries)
    done = muniment(*common, "--to", str(out), "--cursor", str(cursor))
    assert done.stderr == (
        f"{len(known)} records exported; {COUNT - len(known)} leaves are no records.\n"
    )
    again = muniment(*common, "--to", str(out), "--cursor", str(cursor))
    assert again.stderr == "0 records exported.\n"
    lines = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert [line["index"] for line in lines] == known
    for line in lines:
        assert b64decode(line["leaf"]) == leaf_hash(entries[line["index"]])
        assert line["origin"] == index_tools.ORIGIN
    assert muniment(*common).stdout_bytes == out.read_bytes()


def test_the_command_names_what_is_wrong(replica: Path, tmp_path: Path) -> None:
    common = ("export", "--replica", str(replica), "--format", "jsonl")
    muniment("export", "--replica", str(replica), "--format", "xml", code=2)
    for target in ("ftp://x", "http://", "http://user@x/", "http://x/#f"):
        muniment(*common, "--to", target, code=2)
    muniment(*common, "--headers", "x", code=2)
    assert "no such index" in muniment(
        "export", "--replica", str(tmp_path / "none"), "--format", "jsonl", code=7
    ).stderr  # fmt: skip
    policy = tmp_path / "policy"
    lines = logsim.POLICY_TEXT.splitlines(keepends=True)
    policy.write_text(logsim.POLICY_TEXT.replace(lines[0], f"log {logsim.GATEWAY_SIGNER.vkey}\n"))
    refused = muniment(*common, "--policy", str(policy), code=7)
    assert "not verified by this policy" in refused.stderr
    cursor = tmp_path / "cursor"
    asyncio.run(tools.step(replica, tools.Receiver(), cursor))
    again = muniment(
        "export", "--replica", str(replica), "--format", "cloudevents", "--cursor", str(cursor),
        code=7,
    )  # fmt: skip
    assert "each receiver has a cursor of its own" in again.stderr
