"""``muniment submit``."""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from muniment.cli.common import (
    FILE,
    gateway_key,
    log_option,
    optional_policy,
    passphrase_option,
    progress,
    read_gateway_signer,
    read_policy,
    run,
)
from muniment.cli.contents import ContentFiles
from muniment.cli.lines import MAX_LINE, Line, LineSource, count_lines
from muniment.cli.pseudonym import pseudonym_keys
from muniment.cli.setaside import SetAside
from muniment.errors import FormatError, InputError, MunimentError, PartlyDone, RecordRefused
from muniment.gateway.gateway import Gateway
from muniment.gateway.withholding import MAX_INPUT, Keep, Prepared
from muniment.records.addenda import disclose
from muniment.records.api import Decision, RecordError, parse_record
from muniment.records.commitments import shown_value
from muniment.tlog.encoding import format_base64

if TYPE_CHECKING:
    from muniment.gateway.receipts import Receipt

T = TypeVar("T")


class _Sent(NamedTuple):
    """Lines on their way, and their receipts, which those behind a bad one do not get."""

    lines: list[Line]
    receipts: "asyncio.Future[list[Receipt]]"


@click.command()
@log_option
@gateway_key("The gateway's key file; its vkey line names the gateway.")
@click.option(
    "--stream",
    default="default",
    show_default=True,
    metavar="LABEL",
    help="The stream. One process may write to a stream at a time.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 10_000),
    default=1000,
    show_default=True,
    metavar="N",
    help="Records in a batch.",
)
@click.option(
    "--wait",
    type=click.Choice(["durable", "published", "mirrored"]),
    default="durable",
    show_default=True,
    help="Wait until the records are on disk, or until a quorum of witnesses has cosigned them "
    "too, or until the policy's mirrors hold them as well; the receipts then carry the checkpoint "
    "and the proofs.",
)
@optional_policy("With --wait published or mirrored: verify the checkpoints by this policy.")
@click.option("--origin", metavar="ORIGIN", help="The log's origin, if not the one it claims.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to go on trying to deliver a batch.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with an import that was interrupted: pass over as many records as the stream "
    "holds, which must be those of this input, in its order, and no others.",
)
@click.option(
    "--skip-bad",
    "skip_bad",
    type=FILE,
    metavar="FILE",
    help="Set lines aside that cannot be logged, in FILE, with their number and the reason, and go "
    "on. With --resume, FILE is that of the run before: it is added to.",
)
@click.option(
    "--withhold",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Keep a member of the decisions out of the log, by its JSON pointer, in which * is any "
    "member: /request/context/*. Repeatable. With --keep and without this: context and properties.",
)
@click.option(
    "--keep",
    type=click.Choice(["log", "gateway"]),
    help="Who keeps what is withheld: the log, beside the records, or --spool. By default the log.",
)
@click.option(
    "--content",
    "contents",
    multiple=True,
    metavar="POINTER=FILE",
    help="Withhold the bytes of FILE, of up to 16 MiB and of any kind, as this member of the one "
    "record of the input: /request/context/report=report.pdf. Repeatable.",
)
@click.option(
    "--spool",
    "spool_path",
    type=FILE,
    metavar="FILE",
    help="The spool in which --keep gateway keeps it; see muniment spool.",
)
@click.option(
    "--pseudonym",
    "pseudonyms",
    multiple=True,
    metavar="POINTER=KEY",
    help="Log an id as its pseudonym under the key in the file KEY, which is made if there is "
    "none: /request/subject/id=FILE (agents, too) or /request/resource/id=FILE. Repeatable; see "
    "muniment pseudonym.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Send nothing: print for each line the record that would be logged, and what is withheld.",
)
@passphrase_option
@click.argument(
    "file", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False), default="-"
)
def submit(  # the options of the command are its parameters
    log_url: str,
    key_path: Path,
    stream: str,
    batch: int,
    wait: str,
    policy_path: Path | None,
    origin: str | None,
    timeout: float,
    skip_bad: Path | None,
    patterns: tuple[str, ...],
    keep: Keep | None,
    contents: tuple[str, ...],
    spool_path: Path | None,
    pseudonyms: tuple[str, ...],
    passphrase_file: Path | None,
    file: Path,
    *,
    resume: bool,
    dry_run: bool,
) -> None:
    """Log records from FILE or stdin, one JSON object a line, as a signed stream.

    A line is a record (with "kind"), an AuthZEN pair {"request", "response"}, or {"request",
    "expected"} as in the AuthZEN interop suite. The members v, id, time and producer are filled in
    where missing.

    Prints one JSON receipt a batch, in order; its "lines" are the first and the last line that it
    covers. When a line cannot be logged, the lines before it are, and nothing after them is read;
    unless --skip-bad says where to set it aside.

    What is withheld is not in the records; they have a digest of it, and it may be longer than a
    record.
    """
    signer = read_gateway_signer(key_path, passphrase_file)
    policy = None if policy_path is None else read_policy(policy_path)

    async def work() -> None:
        try:
            gateway = Gateway(
                log_url,
                signer,
                stream=stream,
                origin=origin,
                policy=policy,
                batch_records=batch,
                deadline=timeout,
                spool=spool_path,
                withhold=patterns or (() if contents and keep is None else None),
                keep=keep,
                pseudonyms=pseudonym_keys(pseudonyms),
                require="mirrored" if wait == "mirrored" else "cosigned",
            )
        except (ValueError, FormatError) as error:
            raise InputError(str(error)) from None
        content = ContentFiles(contents)
        if dry_run:
            await _show(gateway, file, content)
            return
        aside = None if skip_bad is None else SetAside(skip_bad, goes_on=resume)
        submission = _Submission(
            gateway,
            batch,
            content,
            published=wait == "published",
            mirrored=wait == "mirrored",
            resume=resume,
            aside=aside,
        )
        # On a terminal the receipts are what shows how far it is.
        total = 0 if sys.stdout.isatty() or not sys.stderr.isatty() else count_lines(file)
        try:
            with progress("Logging") as show:
                submission.tell = lambda number: show(min(number, total), total)
                await submission.run(file)
        finally:
            if aside is not None:
                aside.close()
        if aside is not None and aside.count:
            lines = "1 line was" if aside.count == 1 else f"{aside.count} lines were"
            click.echo(f"{lines} set aside, with the reasons: {skip_bad}", err=True)

    run(work())


@dataclass(slots=True)
class _Submission:
    """One run of the command: reading, sending and printing go on at the same time."""

    gateway: "Gateway"
    batch: int
    content: ContentFiles
    published: bool = field(kw_only=True)
    mirrored: bool = field(kw_only=True)
    resume: bool = field(kw_only=True)
    aside: SetAside | None = field(kw_only=True)
    held: int = 0  # records of the input that the stream holds already, and were not passed yet
    logged: int = 0
    error: MunimentError | None = None
    tell: Callable[[int], None] = lambda _number: None  # of the last line that is logged
    # Set when nothing more shall be read: a batch failed, or stdout is gone.
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    sent: "asyncio.Queue[_Sent | None]" = field(default_factory=asyncio.Queue)

    async def run(self, file: Path) -> None:
        """Logs all lines of the input; ``PartlyDone`` if one failed after others were logged."""
        source = _source(self.gateway, file)
        async with self.gateway:
            self.held = self.gateway.sequence if self.resume else 0
            # As many batches as may be in flight, so that the window stays full.
            slots = asyncio.Semaphore(self.gateway.log.window)
            printing = asyncio.create_task(self._print(slots))
            printing.add_done_callback(lambda _task: self.stop.set())
            try:
                await self._send(source, slots)
            except MunimentError as error:
                self.error = self.error or error
            self.sent.put_nowait(None)
            await printing
        if self.error is not None:
            if self.logged:
                raise PartlyDone(self.error, f"{self.logged} records are logged, see the receipts")
            raise self.error

    async def _send(self, source: LineSource, slots: asyncio.Semaphore) -> None:
        while await self._unless_stopped(slots.acquire()):
            part = await self._unless_stopped(source.part(self.batch))
            if part is None:
                return
            if not part:
                self._check_passed()
                return
            part, prepared, error = self._prepare(part)
            if self.held:
                part, prepared = self._pass(part, prepared)
            if prepared.entries:
                sending = asyncio.ensure_future(self._submit(part, prepared))
                self.sent.put_nowait(_Sent(part, sending))
            else:
                slots.release()
            if error is not None:
                raise error

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of some work; None when there is a reason to stop before it is done."""
        working = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() and not stopping.done() else None
        finally:
            working.cancel()
            stopping.cancel()

    def _prepare(self, part: list[Line]) -> tuple[list[Line], Prepared, MunimentError | None]:
        """Lines that can be logged, their records, and what is wrong with the line behind them."""
        if all(line.problem is None for line in part):
            try:
                if self.aside is None or not self.aside.knows_any_of(part):
                    records = [self.content.put(line) for line in part]
                    return part, self.gateway.prepare_withheld(records), None
            except (RecordError, FormatError):
                pass  # which lines, and why, is told below
        good: list[Line] = []
        entries: list[bytes] = []
        addenda: dict[int, Sequence[bytes]] = {}
        for line in part:
            if self.aside is not None and self.aside.knows(line):
                continue
            reason = line.problem
            if reason is None:
                try:
                    own = self.gateway.prepare_withheld([self.content.put(line)])
                    if own.addenda:
                        addenda[len(entries)] = own.addenda[0]
                    entries += own.entries
                    good.append(line)
                    continue
                except (RecordError, FormatError) as error:
                    reason = str(error).removeprefix("record 0: ")
            if self.aside is None:
                wrong = InputError(f"line {line.number}: {reason}")
                return good, Prepared(entries, addenda), wrong
            self.aside.add(line, reason)
        if self.aside is not None:
            self.aside.sync()
        return good, Prepared(entries, addenda), None

    def _pass(self, part: list[Line], prepared: Prepared) -> tuple[list[Line], Prepared]:
        """Takes away the records that the stream holds already."""
        passed = min(self.held, len(part))
        self.held -= passed
        if passed and not self.held:
            number = self.gateway.sequence
            click.echo(
                f"The stream holds the first {number} records, to line {part[passed - 1].number}.",
                err=True,
            )
        entries, addenda = prepared
        rest = {at - passed: own for at, own in addenda.items() if at >= passed}
        return part[passed:], Prepared(entries[passed:], rest)

    def _check_passed(self) -> None:
        """Makes sure, at the end of the input, that it has the records that the stream holds."""
        if self.held:
            holds = self.gateway.sequence
            raise InputError(
                f"the stream holds {holds} records, and the input only {holds - self.held}: it is "
                "not the one that was being imported on this stream"
            )

    async def _submit(self, part: list[Line], prepared: Prepared) -> "list[Receipt]":
        entries, addenda = prepared
        try:
            return await self.gateway.submit_encoded(
                entries, published=self.published, mirrored=self.mirrored, addenda=addenda
            )
        except RecordRefused as refusal:
            number = part[refusal.position].number
            raise InputError(f"line {number}: the log refused it: {refusal}") from None

    async def _print(self, slots: asyncio.Semaphore) -> None:
        while (sent := await self.sent.get()) is not None:
            try:
                receipts = await sent.receipts
            except MunimentError as error:
                # Batches behind a failed one may be logged all the same: they get their receipts.
                self.error = self.error or error
                self.stop.set()
                continue
            finally:
                slots.release()
            numbered = zip(sent.lines, receipts, strict=False)
            for _, group in groupby(numbered, lambda pair: pair[1].batch.manifest):
                batch = list(group)
                self.logged += len(batch)
                click.echo(json.dumps(_receipt(batch)))
                self.tell(batch[-1][0].number)


def _source(gateway: Gateway, file: Path) -> LineSource:
    return LineSource(file, MAX_LINE if gateway.withholding is None else MAX_INPUT)


async def _show(gateway: Gateway, file: Path, content: ContentFiles) -> None:
    """Prints what would be logged of each line, and what withheld; ``InputError`` for bad ones."""
    source = _source(gateway, file)
    bad = 0
    while part := await source.part(1):
        [line] = part
        shown: dict[str, Any] = {"line": line.number}
        problem = line.problem
        if problem is None:
            try:
                [entry], addenda = gateway.prepare_withheld([content.put(line)])
                record = parse_record(entry)
                shown["record"] = json.loads(entry)
                if isinstance(record, Decision):
                    found = disclose(record, addenda.get(0, ())).disclosed
                    shown["withheld"] = {at: shown_value(one) for at, one in found.items()}
            except (RecordError, FormatError) as error:
                problem = str(error).removeprefix("record 0: ")
        if problem is not None:
            bad += 1
            shown["problem"] = problem
        click.echo(json.dumps(shown))
    if bad:
        raise InputError(f"{bad} of the lines cannot be logged; nothing was sent")


def _receipt(logged: "list[tuple[Line, Receipt]]") -> dict[str, Any]:
    batch = logged[0][1].batch
    first = logged[0][1].index
    result: dict[str, Any] = {
        "first": first,
        "count": len(logged),
        "manifest": batch.manifest,
        "size": batch.size,
        "stream": batch.stream,
        "sequence": batch.sequence + first - batch.first,
        "lines": [logged[0][0].number, logged[-1][0].number],
    }
    if batch.published is not None:
        start = first - batch.first
        result["published"] = {
            "checkpoint": batch.published.checkpoint.encode().decode(),
            "proofs": [
                [format_base64(node) for node in proof]
                for proof in batch.published.proofs[start : start + len(logged)]
            ],
        }
    return result
