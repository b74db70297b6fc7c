"""What a log's storage held, from its leaves: however they come, the same as the log had."""

import pytest

import decisions
from log_tools import ORIGIN, GatewayStream, embedded, nameless
from muniment_log.core.integrate import EMPTY_EDGE
from muniment_log.core.rebuilding import Rebuilding
from muniment_log.errors import StorageError
from muniment_log.storage.contents import Contents


async def logged(path):
    """A log of three streams, one of which is the log's own; its leaves, and its file's rows."""
    async with embedded(path) as log:
        first, second = GatewayStream(), GatewayStream(label="other")
        for count in (3, 300, 1, 700):
            await log.sequencer.submit(first.take(count))
            await log.sequencer.submit(second.take(2))
        records = decisions.decisions(5, producer="curl.example/dev")
        await log.sequencer.submit_records("curl.example/dev", nameless(*records))
        leaves = [leaf async for leaf in log.tiles.leaves(0)]
        head = log.tiles.edge.head
    contents = Contents(path)
    streams = {key: state for some in contents.streams() for key, state in some}
    batches = [batch for some in contents.batches() for batch in some]
    return leaves, head, streams, batches


@pytest.mark.parametrize("step", [1, 7, 256, 10_000])
async def test_leaves_make_tree_streams_and_batches_again(tmp_path, step):
    leaves, head, streams, batches = await logged(tmp_path / "log.db")
    made = Rebuilding(ORIGIN, EMPTY_EDGE, 1000)
    commits = [made.add(leaves[at : at + step]) for at in range(0, len(leaves), step)]
    assert made.is_whole
    assert made.next == len(leaves)
    assert made.edge.head == head
    assert made.streams == streams
    found = [batch for commit in commits if commit is not None for batch in commit.accepted]
    assert sorted(found, key=str) == sorted(batches, key=str)
    kept = [kept for commit in commits if commit is not None for kept in commit.kept]
    assert sum(len(each.recalls) for each in kept) == 5
    assert {each.key.gateway for each in kept} == {"curl.example/dev"}


async def test_what_is_no_log_of_this_kind_is_refused(tmp_path):
    leaves, *_ = await logged(tmp_path / "log.db")
    cut = leaves[1:]
    with pytest.raises(StorageError, match="are not those of manifest"):
        Rebuilding(ORIGIN, EMPTY_EDGE, 10).add(cut)
    later = leaves[4:]  # its stream begins in the middle
    with pytest.raises(StorageError, match=r"does not continue stream|are not those"):
        Rebuilding(ORIGIN, EMPTY_EDGE, 10).add(later)
    with pytest.raises(StorageError, match="does not continue stream"):
        Rebuilding("log.example/other", EMPTY_EDGE, 10).add(leaves)
    with pytest.raises(StorageError, match="leaf 1: note"):
        Rebuilding(ORIGIN, EMPTY_EDGE, 10).add([b"x", b"muniment/manifest/v1\nx\n"])
