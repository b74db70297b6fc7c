"""``muniment find``."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import click

from muniment.cli.common import (
    TIME,
    json_option,
    optional_log,
    replica_option,
    run,
    say_time,
)
from muniment.cli.exits import describe_exits
from muniment.cli.facts import open_replica
from muniment.errors import BadAnswer, InputError
from muniment.http.logclient import FoundRecords, LogClient
from muniment.index.query import Index
from muniment.index.reader import IndexReader
from muniment.index.search import Search
from muniment.lineage.escape import terminal
from muniment.lineage.facts import FactsError
from muniment.records.addenda import named_digests, read_addendum
from muniment.records.codec import parse_record
from muniment.records.kinds import Entity

_PAGE = 100  # records asked for at a time


@click.command(epilog=describe_exits())
@replica_option
@optional_log("Without a replica: ask the log's index. What it says is not verified.")
@click.option("--subject", metavar="TYPE:ID", help="Who asked, as agent:planner.")
@click.option("--resource", metavar="TYPE:ID", help="To what, as tool:crm.search.")
@click.option(
    "--since",
    type=TIME,
    metavar="TIME",
    help="Made then or later: 2027-01-31T00:00:00Z, or Unix seconds; by the producer's clock.",
)
@click.option("--until", type=TIME, metavar="TIME", help="Made before.")
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
    subject: str | None,
    resource: str | None,
    since: int | None,
    until: int | None,
    after: int | None,
    limit: int,
    *,
    disclose: bool,
    as_json: bool,
) -> None:
    """Find decisions by subject, resource and time.

    Prints one a line: its entry, its time, its producer, the answer, who wanted what of what, and
    the run that it is about; with --json the records.
    """
    if (replica_path is None) == (log_url is None):
        raise click.UsageError("give either --replica or --log")
    if disclose and (replica_path is None or not as_json):
        raise click.UsageError("--disclose needs --replica and --json")
    if (subject, resource, since, until) == (None, None, None, None):
        raise click.UsageError("give one of --subject, --resource, --since and --until at least")
    things = _entity("--subject", subject), _entity("--resource", resource)
    times = None if since is None else since * 1000, None if until is None else until * 1000

    first = -1 if after is None else after
    if replica_path is not None:
        found = _in_replica(replica_path, Search(*things, *times), first, disclose=disclose)
    else:
        given: dict[str, str | int | None] = {
            "subject": subject,
            "resource": resource,
            "since": times[0],
            "until": times[1],
        }
        found = _in_log(log_url or "", given, first)
    shown, last = 0, first
    for index, record, disclosed in found:
        if shown == limit:
            click.echo(f"There may be more: --after {last}.", err=True)
            break
        last, shown = index, shown + 1
        click.echo(
            json.dumps({"index": index, "record": record, **disclosed})
            if as_json
            else _line(index, record)
        )
    if not shown:
        click.echo("None found.", err=True)


_Members: TypeAlias = dict[str, Any]


def _in_replica(
    path: Path, search: Search, after: int, *, disclose: bool
) -> Iterator[tuple[int, _Members, _Members]]:
    with open_replica(path) as reader:
        index, at = Index(reader), after
        while True:
            try:
                answer = index.find(search, after=at, limit=_PAGE)
            except FactsError as error:
                raise InputError(f"replica {error}") from None
            for entry in answer.entries:
                shown = {"disclosed": _disclosed(reader, entry.data)} if disclose else {}
                yield entry.index, json.loads(entry.data), shown
            if answer.next is None:
                return
            at = answer.next


def _disclosed(reader: IndexReader, entry: bytes) -> _Members:
    """The withheld members of a record that a replica can show, by pointer."""
    named = named_digests(parse_record(entry))
    held = reader.addenda(named.values()) if named else {}
    return {
        pointer: read_addendum(held[digest], digest)
        for pointer, digest in named.items()
        if digest in held
    }


def _in_log(
    url: str, given: dict[str, str | int | None], after: int
) -> Iterator[tuple[int, _Members, _Members]]:
    parameters = {name: value for name, value in given.items() if value is not None}

    async def page(at: int) -> FoundRecords:
        behind = {"after": at} if at >= 0 else {}
        async with LogClient(url) as client:
            return await client.find(**parameters, **behind, limit=_PAGE)

    at = after
    while True:
        answer = run(page(at))
        for one in answer.records:
            yield one.index, one.record, {}
        if answer.next is None:
            return
        if answer.next <= at:
            raise BadAnswer("decisions: the pages do not come to an end")
        at = answer.next


def _entity(option: str, text: str | None) -> Entity | None:
    if text is None:
        return None
    type_, colon, id_ = text.partition(":")
    if not (type_ and colon and id_):
        raise click.UsageError(f"{option}: expected TYPE:ID, as agent:planner")
    return Entity(type_, id_)


def _line(index: int, record: dict[str, Any]) -> str:
    """A decision in one line; what strangers chose is escaped."""
    try:
        request, answer = record["request"], record["response"]["decision"]
        subject, resource = request["subject"], request["resource"]
        run_ = f", run {record['execution']}" if "execution" in record else ""
        return terminal(
            f"#{index}  {say_time(record['time'] // 1000)}  {record['producer']}: "
            f"{'allow' if answer is True else 'deny'} {subject['type']} {subject['id']} "
            f"{request['action']['name']} {resource['type']} {resource['id']}{run_}"
        )
    except (KeyError, TypeError):
        raise BadAnswer(f"entry {index}: not a decision") from None
