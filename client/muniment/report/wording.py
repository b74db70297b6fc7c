"""From the values of a report to its document: what a reader reads, in which order."""

import json
from collections.abc import Iterator
from typing import Any, Final

from muniment.report import pictures
from muniment.report.document import (
    Block,
    Cell,
    Code,
    Document,
    Items,
    Listing,
    Paragraph,
    Picture,
    Queries,
    QueryNumbers,
    Section,
    Table,
    leaves_text,
)
from muniment.report.queries import time_text

_NO_POLICY: Final = "(no policy named)"


def document_of(values: dict[str, Any]) -> Document:
    """The document of a report's values."""
    words = _Wording(values)
    sections = list(words.sections())
    scope, checkpoint = values["scope"], values["checkpoint"]
    return Document(
        "Report on authorization decisions",
        f"{checkpoint['origin']}, {time_text(scope['from'])} to {time_text(scope['to'])}",
        sections,
        words.queries.commands,
        json.dumps(values["repeat"]["seed"]),
        checkpoint["time"] or scope["to"],
    )


class _Wording:
    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values
        self.queries = Queries()

    def sections(self) -> Iterator[Section]:
        yield Section("summary", "Summary", list(self._summary()))
        yield Section("decisions", "Decisions: who, under which policy", list(self._decisions()))
        yield Section("denials", "Denials by code", list(self._denials()))
        yield Section("runs", "Runs and outcomes", list(self._runs()))
        yield Section("revocations", "Revocations, and what they cut", list(self._revocations()))
        yield Section("approvals", "Approvals by people", list(self._approvals()))
        yield Section("erasures", "Withheld and erased members", list(self._erasures()))
        yield Section("gaps", "Gaps and silences", list(self._gaps()))
        yield Section("basis", "What this rests on", list(self._basis()))
        yield Section("not-verified", "What was not verified", [Items(self._not_verified())])
        yield Section("repeat", "How to repeat it", list(self._repeat()))

    def _summary(self) -> Iterator[Block]:
        values = self._values
        scope, decisions, gaps = values["scope"], values["decisions"], values["gaps"]
        checkpoint, erasures = values["checkpoint"], values["erasures"]
        whose = ", ".join(f"{one['type']} {one['id']}" for one in scope["subjects"])
        yield Table(
            "What it is about",
            ("", "value"),
            [
                ("log", Code(checkpoint["origin"])),
                ("from (inclusive)", time_text(scope["from"])),
                ("to (exclusive)", time_text(scope["to"])),
                ("subjects", Code(whose) if whose else "all"),
                ("leaves of the tree", checkpoint["size"]),
                ("cosigned at", _time(checkpoint["time"])),
            ],
        )
        runs, approvals = values["runs"], values["approvals"]
        yield Table(
            "Figures",
            ("figure", "number", "leaves", "query"),
            [
                self._row("decisions", decisions["all"]),
                self._row("allowed", decisions["allowed"]),
                self._row("denied", decisions["denied"]),
                self._row("runs without authorization", runs["without_authorization"]),
                self._row("promised outcomes that are missing", runs["missing_outcomes"]),
                self._row("revocations", values["revocations"]),
                self._row("decisions that rest on an approval", approvals["decisions"]),
                self._row("erasures", erasures),
                (
                    "findings about the log",
                    gaps["findings"]["count"],
                    None,
                    self.queries(gaps["findings"]["queries"]),
                ),
                ("silences of gateways", gaps["silences"]["count"], None, None),
            ],
        )
        yield Picture(pictures.over_time(values))

    def _decisions(self) -> Iterator[Block]:
        decisions = self._values["decisions"]
        if not decisions["all"]["leaves"]["count"]:
            yield Paragraph("No decision was made in the window.")
            return
        yield Picture(pictures.policies(self._values))
        rows: list[tuple[Cell, ...]] = [
            (
                Code(row["producer"]),
                Code(row["authority"]) if row["authority"] is not None else "",
                Code(row["policy"]) if row["policy"] is not None else _NO_POLICY,
                Code(row["revision"]) if row["revision"] is not None else "",
                Code(row["digest"]) if row["digest"] is not None else "",
                *self._counts(row),
            )
            for row in decisions["by_policy"]["rows"]
        ]
        columns = ("gateway", "authority", "policy", "revision", "digest")
        yield Table("By gateway, authority and policy", (*columns, *_COUNTS), rows)
        yield from _more(decisions["by_policy"])
        for name, caption, names in _TABLES:
            table = decisions[name]
            rows = [
                (*[Code(row[column]) for column in names], *self._counts(row))
                for row in table["rows"]
            ]
            yield Table(caption, (*names, *_COUNTS), rows)
            yield from _more(table)

    def _denials(self) -> Iterator[Block]:
        denials = self._values["denials"]
        uncoded = denials["without_code"]
        if not denials["by_code"] and not uncoded["leaves"]["count"]:
            yield Paragraph("Nothing was denied in the window.")
            return
        yield Picture(pictures.by_code(self._values))
        rows = [self._row(Code(row["code"]), row) for row in denials["by_code"]]
        if uncoded["leaves"]["count"]:
            rows.append(self._row("without a code", uncoded))
        yield Table("Denials by code", ("code", "denials", "leaves", "query"), rows)
        yield Paragraph("A denial with several codes counts under each of them.")

    def _runs(self) -> Iterator[Block]:
        runs = self._values["runs"]
        outcomes, missing = runs["outcomes"], runs["missing_outcomes"]
        rows: list[tuple[Cell, ...]] = [
            ("runs that acted or ended", runs["acted"], None, None),
            self._row("without authorization", runs["without_authorization"]),
            self._row("outcomes", outcomes),
            *[self._row(f"outcomes: {one['status']}", one) for one in outcomes["by_status"]],
            self._row(
                f"decisions older than {missing['age']:,} s whose promised outcome is missing",
                missing,
            ),
        ]
        yield Table("Runs", ("figure", "number", "leaves", "query"), rows)
        yield from self._warnings("Runs without authorization", runs["without_authorization"])

    def _revocations(self) -> Iterator[Block]:
        revocations = self._values["revocations"]
        rows: list[tuple[Cell, ...]] = []
        for row in revocations["rows"]:
            cuts = row["cuts"]
            reach = f"{cuts['decisions']['count']:,} decisions"
            if "runs" in cuts:
                reach += f", {cuts['runs']:,} runs"
            else:
                reach += f", {cuts['batches']:,} batches of {cuts['records']:,} records"
            rows.append(
                (
                    row["index"],
                    _milliseconds(row["time"]),
                    Code(row["producer"]),
                    f"{row['target']}",
                    Code(row["id"]),
                    time_text(row["since"]),
                    reach if cuts["whole"] else f"at least {reach}",
                    leaves_text(cuts["decisions"]),
                    Code(row["reason"] or ""),
                )
            )
        if not rows:
            yield Paragraph("Nothing was revoked in the window.")
            return
        columns = (
            "leaf",
            "logged",
            "by",
            "what",
            "id",
            "since",
            "cuts",
            "leaves of decisions",
            "reason",
        )
        yield Table("Revocations", columns, rows)
        yield from _unlisted(revocations["leaves"]["count"] - len(rows))
        yield Paragraph(
            "What a revocation cuts: the decisions and runs that it names, with all runs that they "
            "triggered; of a key, what it has signed; of a runtime's key, what is bound to it, "
            "which is not looked up. muniment lineage trace RUN tells of a single run whether it "
            "falls, since a run that ended before does not."
        )

    def _approvals(self) -> Iterator[Block]:
        approvals = self._values["approvals"]
        rows = [
            self._row("approved by a person", approvals["approved"]),
            self._row("declined by a person", approvals["declined"]),
            self._row("decisions that rest on an approval", approvals["decisions"]),
        ]
        yield Table("Approvals", ("figure", "number", "leaves", "query"), rows)
        people: list[tuple[Cell, ...]] = [
            (
                Code(row["approver"]),
                Code(row["key"]),
                row["approved"],
                row["declined"],
                leaves_text(row["leaves"]),
            )
            for row in approvals["by_approver"]
        ]
        if people:
            columns = ("approver", "key", "approved", "declined", "leaves")
            yield Table("By approver", columns, people)
            yield from _unlisted(approvals["distinct"] - len(people))
        yield from self._warnings("What is wrong with approvals", approvals["warnings"])

    def _erasures(self) -> Iterator[Block]:
        erasures = self._values["erasures"]
        rows: list[tuple[Cell, ...]] = [
            self._row("records that withhold members", erasures["withholding"]),
            ("addenda that decisions name", erasures["withheld"], None, None),
            ("of these, erased by now", erasures["erased"], None, None),
            self._row("erasures logged in the window", erasures),
        ]
        yield Table("Members", ("figure", "number", "leaves", "query"), rows)
        listed: list[tuple[Cell, ...]] = [
            (
                row["index"],
                _milliseconds(row["time"]),
                Code(row["producer"]),
                Code(row["by"]),
                row["addenda"],
                Code(row["reason"] or ""),
            )
            for row in erasures["rows"]
        ]
        if listed:
            columns = ("leaf", "logged", "by", "on whose behalf", "addenda", "reason")
            yield Table("Erasures", columns, listed)
            yield from _unlisted(erasures["leaves"]["count"] - len(listed))

    def _gaps(self) -> Iterator[Block]:
        findings, silences = self._values["gaps"]["findings"], self._values["gaps"]["silences"]
        if findings["count"]:
            rows: list[tuple[Cell, ...]] = [
                (row["index"], Code(row["kind"]), Code(row["sentence"])) for row in findings["rows"]
            ]
            yield Table("Gaps and other findings in the whole tree", ("leaf", "kind", "what"), rows)
            yield from _unlisted(findings["count"] - len(rows))
        else:
            yield Paragraph(
                "Every stream of every gateway is without a gap, and every record under a manifest."
            )
        yield Paragraph(
            f"A gateway is silent when it decides nothing for {silences['least']:,} seconds or "
            f"longer; {silences['producers']:,} gateways were looked at, until "
            f"{time_text(silences['until'])}, to {silences['slot']:,} seconds."
        )
        if silences["more_producers"]:
            yield Paragraph("The log has more gateways: the later ones were not looked at.")
        if silences["rows"]:
            yield Picture(pictures.silences(self._values))
            rows = [
                (
                    Code(row["producer"]),
                    time_text(row["from"]),
                    time_text(row["to"]),
                    row["seconds"],
                    self.queries(row["queries"]),
                )
                for row in silences["rows"]
            ]
            yield Table("Silences", ("gateway", "from", "to", "seconds", "query"), rows)
            yield from _unlisted(silences["count"] - len(rows))

    def _basis(self) -> Iterator[Block]:
        checkpoint, verified = self._values["checkpoint"], self._values["verified"]
        yield Table(
            "The checkpoint",
            ("", "value"),
            [
                ("log", Code(checkpoint["origin"])),
                ("leaves", checkpoint["size"]),
                ("root", Code(checkpoint["root"])),
                ("keys of the log", Code(" ".join(checkpoint["log_keys"]))),
                ("time for which the quorum vouches", _time(checkpoint["time"])),
                ("quorum", Code(checkpoint["quorum"])),
            ],
        )
        groups: list[tuple[Cell, ...]] = [
            (Code(one["name"]), one["threshold"], Code(" ".join(one["members"])))
            for one in checkpoint["groups"]
        ]
        if groups:
            yield Table("Groups of the quorum", ("group", "at least", "of"), groups)
        cosigners: list[tuple[Cell, ...]] = [
            (Code(one["witness"]), _time(one["time"])) for one in checkpoint["cosigners"]
        ]
        yield Table("Witnesses that cosigned it", ("witness", "at"), cosigners)
        yield Table(
            "What was verified",
            ("figure", "number"),
            [
                ("leaves rehashed, up to the checkpoint's root", checkpoint["size"]),
                ("records", verified["records"]),
                ("manifests", verified["manifests"]),
                ("signatures of manifests", verified["signatures"]),
                ("streams", verified["streams"]),
                ("leaves of others", verified["foreign"]),
            ],
        )
        yield Listing("The signed checkpoint", self._values["repeat"]["seed"]["note"].splitlines())

    def _not_verified(self) -> list[str]:
        return [one["sentence"] for one in self._values["not_verified"]]

    def _repeat(self) -> Iterator[Block]:
        repeat = self._values["repeat"]
        yield Paragraph(
            "This command reads the log, makes this report again and compares it byte for byte; "
            "FILE is this file, LOG the log's URL, POLICY the reader's own policy file:"
        )
        yield Listing("Repeat it", [repeat["check"]])
        yield Paragraph(
            "The queries below need a verified replica, which this command makes. A figure's query "
            "lists as many decisions as the figure says; muniment prove --log LOG --index LEAF "
            "writes the proof of a single leaf."
        )
        yield Listing("Make a replica", [repeat["follow"]])
        yield Paragraph(f"Made by {self._values['made_by']}; no clock was read for it.")

    def _warnings(self, caption: str, warnings: dict[str, Any]) -> Iterator[Block]:
        rows: list[tuple[Cell, ...]] = [
            (row["index"], Code(row["kind"]), Code(row["sentence"])) for row in warnings["rows"]
        ]
        if rows:
            yield Table(caption, ("leaf", "kind", "what"), rows)
            yield from _unlisted(sum(warnings["by_kind"].values()) - len(rows))

    def _row(self, name: str, figure: dict[str, Any]) -> tuple[Cell, ...]:
        leaves = figure["leaves"]
        query = self.queries(figure.get("queries", []))
        return (name, leaves["count"], leaves_text(leaves), query)

    def _counts(self, row: dict[str, Any]) -> tuple[str | int | QueryNumbers, ...]:
        return (
            row["allowed"],
            row["denied"],
            _milliseconds(row["earliest"]),
            _milliseconds(row["latest"]),
            leaves_text(row["leaves"]),
            self.queries(row["queries"]),
        )


_TABLES: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    ("by_producer", "By gateway", ("producer",)),
    ("by_subject", "By subject: who asked", ("type", "id")),
    ("by_action", "By action", ("action",)),
    ("by_resource", "By resource: to what", ("type", "id")),
)
_COUNTS: Final = ("allowed", "denied", "first", "last", "leaves", "query")


def _more(table: dict[str, Any]) -> Iterator[Block]:
    left = table["distinct"] - len(table["rows"])
    if left:
        others = table["others"]
        yield Paragraph(
            f"{left:,} more rows are not listed, with {others['allowed']:,} allowed and "
            f"{others['denied']:,} denied decisions."
        )


def _unlisted(left: int) -> Iterator[Block]:
    if left > 0:
        yield Paragraph(f"{left:,} more are not listed.")


def _time(seconds: int | None) -> str:
    return "nobody says" if seconds is None else time_text(seconds)


def _milliseconds(time: int) -> str:
    return time_text(time // 1000)
