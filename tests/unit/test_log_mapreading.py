"""Lists of the map as the log answers them: whole ones, beginnings, and those that are too long."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from decisions import decisions
from index_tools import ORIGIN
from memtree import list_value
from muniment.complete.keys import key
from muniment.map.mapfile import MapFile
from muniment.map.reader import MapReader
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.mpt import verify_many
from muniment_log.index import mapreading
from muniment_log.index.mapreading import read_lists

RECORD = decisions(1)[0]
SUBJECT = key(
    "subject", *(json.loads(RECORD)["request"]["subject"][name] for name in ("type", "id"))
)
NONE = key("execution", "never")
SIZE = 40


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[MapReader]:
    made = await MapFile.open(tmp_path / "map.db", ORIGIN)
    await made.apply(0, [RECORD] * SIZE)
    with MapReader(tmp_path / "map.db") as opened:
        yield opened
    await made.close()


@pytest.mark.parametrize("limit", [1, 7, SIZE, 1000])
def test_lists_and_their_proof(reader: MapReader, limit: int) -> None:
    found = read_lists(reader, reader.root, [SUBJECT, NONE], limit)
    listed = found.lists[SUBJECT]
    assert (listed.count, listed.indices) == (SIZE, tuple(range(min(limit, SIZE))))
    assert listed.value() == list_value(range(SIZE))
    assert found.lists[NONE].count == 0
    values = {SUBJECT.digest: listed.value(), NONE.digest: None}
    verify_many(reader.root, values, found.proof)


def test_another_root_is_damage(reader: MapReader) -> None:
    with pytest.raises(VerificationError):
        read_lists(reader, b"\x01" * 32, [SUBJECT, NONE], limit=1000)


@pytest.mark.parametrize("name", ["MAX_LISTED", "MAX_LEAVES"])
def test_what_is_too_long_is_not_read(
    reader: MapReader, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(reader, "indices", lambda _: pytest.fail("it was read"))
    monkeypatch.setattr(mapreading, name, SIZE - 1)
    with pytest.raises(FormatError, match="40 leaves, 40 of one key: a proof is made from at most"):
        read_lists(reader, reader.root, [SUBJECT, NONE], limit=1)
