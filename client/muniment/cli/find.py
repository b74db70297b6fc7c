"""``muniment find``."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import click

from muniment.cli.common import json_option, optional_log, replica_option, run
from muniment.cli.exits import describe_exits
from muniment.cli.facts import open_replica
from muniment.cli.recordlines import echo_line, record_line, search_of, search_options
from muniment.errors import BadAnswer, FormatError, InputError
from muniment.http.loganswers import FoundRecords
from muniment.http.logclient import LogClient
from muniment.index.query import Index, IndexedRecords
from muniment.index.reader import IndexReader
from muniment.index.search import Search
from muniment.lineage.facts import FactsError
from muniment.records.addenda import named_digests
from muniment.records.canonical import encode_canonical
from muniment.records.codec import parse_record
from muniment.records.commitments import read_addendum, shown_value
from muniment.records.kinds import Record

_PAGE = 100  # records asked for at a time


@click.command(epilog=describe_exits())
@replica_option
@optional_log("Without a replica: ask the log's index. What it says is not verified.")
@search_options
@click.option("--after", type=click.IntRange(min=0), metavar="INDEX", help="Behind this entry.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=_PAGE,
    show_default=True,
    metavar="NUMBER",
    help="Most decisions.",
)
@click.option(
    "--disclose",
    is_flag=True,
    help="Add, to --json, the withheld members whose addenda the replica has taken along.",
)
@json_option
def find(
    replica_path: Path | None,
    log_url: str | None,
    after: int | None,
    limit: int,
    *,
    disclose: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Find decisions by what they say: who, what, when, by whom, with which answer.

    Prints one a line: its entry, its time, its producer, the answer, who wanted what of what, and
    the run that it is about; with --json the records. All that is asked for must hold.
    """
    if (replica_path is None) == (log_url is None):
        raise click.UsageError("give either --replica or --log")
    if disclose and (replica_path is None or not as_json):
        raise click.UsageError("--disclose needs --replica and --json")
    search = search_of(given)
    if search == Search():
        raise click.UsageError("say what is looked for: --subject, --since, --denied, …")

    first = -1 if after is None else after
    if replica_path is not None:
        found = _in_replica(replica_path, search, first, disclose=disclose)
    else:
        asked = {name: given[name] for name in ("subject", "resource")}
        asked |= {"since": search.since, "until": search.until}
        if not any(value is not None for value in asked.values()):
            raise click.UsageError(
                "a log's index finds by --subject, --resource, --since and --until: give one"
            )
        found = _in_log(log_url or "", search, asked, first)
    shown, last = 0, first
    for index, record, members in found:
        if shown == limit:
            click.echo(f"There may be more: --after {last}.", err=True)
            break
        last, shown = index, shown + 1
        if as_json:
            click.echo(json.dumps({"index": index, **members}))
        else:
            echo_line(record_line(index, record))
    if not shown:
        click.echo("None found.", err=True)


_Members: TypeAlias = dict[str, Any]


def _in_replica(
    path: Path, search: Search, after: int, *, disclose: bool
) -> Iterator[tuple[int, Record, _Members]]:
    with open_replica(path) as reader:
        index, at = Index(reader), after
        while True:
            try:
                answer = _page(index, search, at)
            except FactsError as error:
                raise InputError(f"replica {error}") from None
            for entry in answer.entries:
                if search.finds(entry.record):
                    shown = {"disclosed": _disclosed(reader, entry.data)} if disclose else {}
                    members = {"record": json.loads(entry.data), **shown}
                    yield entry.index, entry.record, members
            if answer.next is None:
                return
            at = answer.next


def _page(index: Index, search: Search, after: int) -> IndexedRecords:
    """A page of candidates; an id is looked up instead of searched for."""
    if search.id is not None:
        return index.decision(search.id, after=after, limit=_PAGE)
    if search.run is not None:
        return index.execution(search.run, after=after, limit=_PAGE)
    return index.find(search, after=after, limit=_PAGE)


def _disclosed(reader: IndexReader, entry: bytes) -> _Members:
    """The withheld members of a record that a replica can show, by pointer."""
    named = named_digests(parse_record(entry))
    held = reader.addenda(named.values()) if named else {}
    return {
        pointer: shown_value(read_addendum(held[digest], digest))
        for pointer, digest in named.items()
        if digest in held
    }


def _in_log(
    url: str, search: Search, asked: dict[str, str | int | None], after: int
) -> Iterator[tuple[int, Record, _Members]]:
    parameters = {name: value for name, value in asked.items() if value is not None}

    async def page(at: int) -> FoundRecords:
        behind = {"after": at} if at >= 0 else {}
        async with LogClient(url) as client:
            return await client.find(**parameters, **behind, limit=_PAGE)

    at = after
    while True:
        answer = run(page(at))
        for one in answer.records:
            try:
                record = parse_record(encode_canonical(one.record))
            except FormatError as error:
                raise BadAnswer(f"entry {one.index}: not a decision: {error}") from None
            if search.finds(record):
                yield one.index, record, {"record": one.record}
        if answer.next is None:
            return
        if answer.next <= at:
            raise BadAnswer("decisions: the pages do not come to an end")
        at = answer.next
