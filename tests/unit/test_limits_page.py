"""The limits in docs/adopt.md are those of the code."""

import re
from pathlib import Path

import pytest

from muniment.gateway import spool
from muniment.gateway.calls import CALL_TIMEOUT
from muniment.records.canonical import MAX_DEPTH, MAX_RECORD
from muniment.records.commitments import MAX_ADDENDUM
from muniment_gateway.authorities import MAX_AUTHORITIES
from muniment_gateway.config import GatewayFile, PermitTable
from muniment_gateway.http.requests import MAX_BODY
from muniment_gateway.mcp.messages import MAX_ANSWER, MAX_MESSAGE
from muniment_gateway.proxytable import ProxyTable
from muniment_service.limits import SmallBodyLimits

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adopt.md"


def default(table: type, member: str) -> float:
    """The default of a member of a configuration's table."""
    fields = table.__struct_fields__
    given = table.__struct_defaults__
    value = given[fields.index(member) - len(fields)]
    assert isinstance(value, int | float)
    return value


def mebi(size: int) -> str:
    assert size % (1 << 20) == 0
    return f"{size >> 20} MiB"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a record", (f"{MAX_RECORD:,} bytes", mebi(MAX_ADDENDUM))),
        ("a request to the gateway, a message of MCP", (mebi(MAX_BODY), mebi(MAX_ANSWER))),
        ("a request to the gateway, a message of MCP", (mebi(MAX_MESSAGE),)),
        ("numbers, levels of JSON", (f"{MAX_DEPTH} levels",)),
        ("decisions under way", (f"{default(GatewayFile, 'most_waiting'):,}",)),
        ("connections", (f"{SmallBodyLimits().connections:,}",)),
        ("authorities", (f"| {MAX_AUTHORITIES} |",)),
        (
            "a decision's wait for the log and its witnesses",
            (
                f"{default(GatewayFile, 'deadline_seconds'):g} s",
                f"{default(ProxyTable, 'deadline_seconds'):g} s",
                f"{CALL_TIMEOUT:g} s",
            ),
        ),
        ("a permit's life", (f"{PermitTable().seconds} s",)),
        ("a spool", (f"{spool.MAX_RECORDS:,} records", mebi(spool.MAX_BYTES))),
    ],
    ids=str,
)
def test_the_row_has_the_figures_of_the_code(row: str, told: tuple[str, ...]) -> None:
    [line] = re.findall(rf"^\| {re.escape(row)} \|.*$", PAGE.read_text("utf-8"), re.MULTILINE)
    for one in told:
        assert one in line
