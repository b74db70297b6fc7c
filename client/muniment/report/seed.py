"""What a repeat of a report needs: its options, the checkpoint and the policy it was made with.

Every report carries its seed, whatever its form, so that one command makes it again.
"""

import base64
import html
import json
import re
from typing import Any, Final, NamedTuple

from muniment.records.kinds import Entity
from muniment.report.reading import Keys
from muniment.report.scope import ReportScope, scope_of
from muniment.tlog.encoding import FormatError

FORMAT: Final = "muniment/report/v1"

MAX_REPORT: Final = 256 << 20
"""Bytes of a report's file that is read."""

PDF_MARK: Final = "muniment-report-seed:"
"""Stands before the seed among the keywords of a PDF."""

HTML_ID: Final = "seed"
"""The id of the element that has the seed as text."""

_IN_HTML: Final = re.compile(rf'<pre id="{HTML_ID}"[^>]*>([^<]*)</pre>')
_IN_PDF: Final = re.compile(rf"{PDF_MARK}([A-Za-z0-9+/=]+)".encode())
_MEMBERS: Final = {
    "format",
    "made_by",
    "from",
    "to",
    "subjects",
    "silence",
    "gateways",
    "approvers",
    "policy",
    "note",
}


class Seed(NamedTuple):
    """What a report was made with.

    Attributes:
        scope: The window, subjects and silence.
        keys: Whose signatures were verified.
        policy: The policy, as `tlog.policy.format_policy` writes it.
        note: The signed checkpoint.
        made_by: Name and version of the program.
    """

    scope: ReportScope
    keys: Keys
    policy: bytes
    note: bytes
    made_by: str

    def members(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "format": FORMAT,
            "made_by": self.made_by,
            "from": self.scope.start,
            "to": self.scope.end,
            "subjects": [one._asdict() for one in self.scope.subjects],
            "silence": self.scope.silence,
            "gateways": list(self.keys.gateways),
            "approvers": list(self.keys.approvers),
            "policy": base64.b64encode(self.policy).decode(),
            "note": self.note.decode(),
        }


def parse_seed(value: object) -> Seed:
    """Reads the JSON value of a seed; FormatError if it is none."""
    try:
        if not isinstance(value, dict) or value.keys() != _MEMBERS:
            raise FormatError(f"expected an object with the members {', '.join(sorted(_MEMBERS))}")
        found: dict[str, Any] = value
        if found["format"] != FORMAT:
            raise FormatError(f"its format is {found['format']!a}, not {FORMAT}")
        start, end, silence = found["from"], found["to"], found["silence"]
        if any(type(one) is not int for one in (start, end, silence)):
            raise FormatError("a time that is no integer")
        subjects = [Entity(_text(one["type"]), _text(one["id"])) for one in found["subjects"]]
        keys = Keys(*[tuple(map(_text, found[name])) for name in ("gateways", "approvers")])
        return Seed(
            scope_of(start, end, subjects, silence),
            keys,
            base64.b64decode(_text(found["policy"]), validate=True),
            _text(found["note"]).encode(),
            _text(found["made_by"]),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise FormatError(f"no seed of a report: {error}") from None


def read_seed(data: bytes) -> tuple[str, Seed]:
    """Finds the seed in the bytes of a report; FormatError if there is none.

    Returns:
        The report's form (``json``, ``html`` or ``pdf``), and its seed.
    """
    try:
        if data.startswith(b"%PDF-"):
            if (in_pdf := _IN_PDF.search(data)) is None:
                raise FormatError("a PDF without the seed of a report")
            return "pdf", parse_seed(json.loads(base64.b64decode(in_pdf[1], validate=True)))
        text = data.decode()
        if text.startswith("<!DOCTYPE html>"):
            if (in_html := _IN_HTML.search(text)) is None:
                raise FormatError("an HTML page without the seed of a report")
            return "html", parse_seed(json.loads(html.unescape(in_html[1])))
        value = json.loads(text)
        if not isinstance(value, dict) or not isinstance(value.get("repeat"), dict):
            raise FormatError("JSON that is no report")
        return "json", parse_seed(value["repeat"].get("seed"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"no report: {error}") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise FormatError("a member that is no text")
    return value
