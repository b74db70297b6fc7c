"""What a monitor of the log has told, by the files that it keeps (`muniment monitor --state`).

Its checkpoint is verified, and compared with the replica: it must be of one history with it. What
the monitor told of its last round is shown as its word.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from muniment.errors import MunimentError
from muniment.explore.proving import root_at
from muniment.explore.site import Site, moment
from muniment.explore.table import TableReader
from muniment.index.reader import IndexReader
from muniment.local.atomicfile import read_bounded
from muniment.monitor.heads import EARLIER, HeadReader, ShownHead
from muniment.monitor.lastround import MAX_ROUND, ToldRound, parse_round, round_path
from muniment.tlog.note import MAX_NOTE_SIZE

STALE_SECONDS: Final = 600
"""Without a round for longer: ten intervals of a monitor's, as a rule."""


@dataclass(frozen=True, slots=True)
class Monitored:
    """What the overview shows of a monitor.

    Attributes:
        last: Its last round; None while there is none that can be read.
        size: Leaves of the largest checkpoint that the log has shown it; None without one.
        relation: How that relates to the replica: a sentence.
        alarms: What is wrong, the gravest first: a sentence each.
    """

    last: ToldRound | None
    size: int | None
    relation: str
    alarms: tuple[str, ...]


async def monitored(site: Site, origin: str) -> Monitored | None:
    """Reads a monitor's files, when the explorer was told of them."""
    path = site.beyond.monitor
    if path is None:
        return None
    return await site.look(partial(_look, site, path, origin))


def _look(
    site: Site, path: Path, origin: str, reader: IndexReader, table: TableReader
) -> Monitored:
    alarms: list[str] = []
    last: ToldRound | None = None
    shown: ShownHead | None = None
    relation = "The monitor has kept no checkpoint yet."
    try:
        last = parse_round(read_bounded(round_path(path), "monitor round", most=MAX_ROUND))
        if last.origin != origin:
            alarms.append(f"The monitor watches another log: {last.origin}.")
        elif site.now - last.time > STALE_SECONDS:
            alarms.append(f"The monitor has ended no round since {moment(last.time)}.")
        alarms[:0] = [f"Monitor: {one.party}: {one.sentence}" for one in last.alarms]
    except MunimentError as error:
        alarms.append(f"What the monitor told last cannot be read: {error}")
    try:
        data = read_bounded(path, "monitor state", most=MAX_NOTE_SIZE)
        shown = HeadReader(site.policy, origin, site.beyond.old).read(EARLIER, data)
    except MunimentError as error:
        alarms.append(f"The monitor's checkpoint cannot be used: {error}")
    if shown is not None:
        relation, is_proven = _relation(site, shown, reader, table)
        if is_proven:
            alarms.insert(0, f"Proven: {relation}")
    return Monitored(last, None if shown is None else shown.size, relation, tuple(alarms))


def _relation(
    site: Site, shown: ShownHead, reader: IndexReader, table: TableReader
) -> tuple[str, bool]:
    """How the monitor's checkpoint relates to the replica's; whether they contradict each other."""
    here = site.standing.checkpoint(reader)
    size = shown.size
    if here is None or size > here.size:
        return f"It has seen {size:,} leaves, more than this replica has now.", False
    root = here.root if size == here.size else root_at(reader, table, size)
    if root is None:
        return f"Whether its {size:,} leaves are these is not known until all are counted.", False
    if root != shown.root:
        text = f"its checkpoint of {size:,} leaves is signed by the log, and of another history."
        return text, True
    return f"Its checkpoint of {size:,} leaves is of one history with this replica.", False
