"""C2SP tlog-policy ("Policy file syntax and structure"): the text; `policy` has the same door."""

import codecs
import re
from typing import Final

from msgspec.structs import replace

from muniment.tlog.encoding import FormatError, parse_decimal
from muniment.tlog.note import parse_vkey
from muniment.tlog.policyjudge import Policy
from muniment.tlog.policyrules import ESCAPE, PolicyGroup, PolicyLog, PolicyWitness, Rules

MAX_POLICY_SIZE: Final = 2 * 1024 * 1024
"""Largest policy file in bytes: the most logs and witnesses with ML-DSA-44 keys, and URLs."""

_BAD_OCTET: Final = re.compile(rb"[^\t\n\x20-\x7e\x80-\xff]")
_MARKS: Final = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_ITEM: Final = re.compile(r"[^ \t]+")


def parse_policy_text(data: bytes) -> Policy:
    """Parses a policy file of at most MAX_POLICY_SIZE bytes.

    Names and URLs are decoded as UTF-8 with surrogateescape: the file is octets, whose meaning must
    not depend on Unicode, and so each sequence of octets is exactly one string. Raises FormatError
    if the data breaks a rule of the spec; the message names the line, 1-based.
    """
    if len(data) > MAX_POLICY_SIZE:
        raise FormatError(f"policy: more than {MAX_POLICY_SIZE} bytes")
    if not data:
        raise FormatError("policy: empty (0 bytes)")
    if data.startswith(_MARKS):
        raise FormatError("policy: begins with a byte order mark: save it as UTF-8 without one")
    if bad := _BAD_OCTET.search(data):
        line = data.count(b"\n", 0, bad.start()) + 1
        what = f"octet {data[bad.start()]:#04x}"
        if data.startswith(b"\r\n", bad.start()):
            what = "ends with CR and LF: save the file with line ends of LF alone"
        raise FormatError(f"policy: line {line}: {what}")
    if not data.endswith(b"\n"):
        raise FormatError(
            "policy: the last line does not end with a newline: end it with one, unless the file "
            "was cut off"
        )
    parser = _Parser()
    for number, text in enumerate(data.decode("utf-8", ESCAPE).split("\n"), 1):
        try:
            parser.feed(_ITEM.findall(text), text)
        except FormatError as error:
            raise FormatError(f"policy: line {number}: {error}") from None
    if parser.quorum is None:
        raise FormatError("policy: no quorum line")
    return Policy(tuple(parser.logs), tuple(parser.witnesses), tuple(parser.groups), parser.quorum)


class _Parser:
    """Takes a policy file line by line; what a line may refer to has been fed before it."""

    def __init__(self) -> None:
        self.logs: list[PolicyLog] = []
        self.witnesses: list[PolicyWitness] = []
        self.groups: list[PolicyGroup] = []
        self.quorum: str | None = None
        self._rules = Rules()
        self._follows_log = False

    def feed(self, items: list[str], text: str) -> None:
        """Takes a line: its items, and its text, since an origin may hold spaces."""
        match items:
            case []:
                pass
            case [first, *_] if first.startswith("#"):
                pass
            case ["log", vkey, *url] if len(url) <= 1:
                log = PolicyLog(parse_vkey(vkey), url[0] if url else None)
                self._rules.add_log(log)
                self.logs.append(log)
            case ["origin", _, *_]:
                if not self._follows_log:
                    raise FormatError("an origin line that does not follow its log line")
                last = self.logs[-1]
                origin = text.strip(" \t").removeprefix("origin").strip(" \t")
                self.logs[-1] = replace(last, stated=(*last.stated, origin))
                self._rules.add_origin(self.logs[-1])
            case ["witness", name, vkey, *url] if len(url) <= 1:
                witness = PolicyWitness(name, parse_vkey(vkey), *url)
                self._rules.add_witness(witness)
                self.witnesses.append(witness)
            case ["group", name, threshold, *members]:
                group = PolicyGroup(name, _threshold(threshold, len(members)), tuple(members))
                self._rules.add_group(group)
                self.groups.append(group)
            case ["quorum", name]:
                if self.quorum is not None:
                    raise FormatError("a second quorum line")
                self._rules.set_quorum(name)
                self.quorum = name
            case ["log" | "origin" | "witness" | "group" | "quorum" as keyword, *_]:
                raise FormatError(f"wrong number of items after {keyword}")
            case _:
                raise FormatError("starts with none of log, origin, witness, group, quorum")
        if items and not items[0].startswith("#"):
            self._follows_log = items[0] in {"log", "origin"}


def _threshold(text: str, members: int) -> int:
    if text == "any":
        return 1
    if text == "all":
        return members
    return parse_decimal(text, "threshold")


def format_policy_text(policy: Policy) -> bytes:
    """Writes a policy file without comments, which `parse_policy_text` reads as an equal policy."""
    lines: list[str] = []
    for log in policy.logs:
        lines.append(f"log {log.vkey}{_suffix(log.url)}")
        lines += [f"origin {origin}" for origin in log.stated]
    lines += [f"witness {w.name} {w.vkey}{_suffix(w.url)}" for w in policy.witnesses]
    for group in policy.groups:
        count = len(group.members)
        words = {1: "any", count: "all"}
        threshold = words.get(group.threshold, str(group.threshold))
        lines.append(f"group {group.name} {threshold} {' '.join(group.members)}")
    lines += [f"quorum {policy.quorum}", ""]
    return "\n".join(lines).encode("utf-8", ESCAPE)


def _suffix(url: str | None) -> str:
    return "" if url is None else f" {url}"
