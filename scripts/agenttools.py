# pyright: reportMissingImports=false
"""The MCP server of the demo with an agent: three tools, none of which runs without a permit.

agenttools.py POLICY REPLICA RAN THUMBPRINT VKEY… — what ran is appended to the file RAN.
"""

import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer

from muniment import Guard, Trust, parse_policy, parse_vkey
from muniment.adapters.mcp import PermitMiddleware

POLICY, REPLICA, RAN, THUMBPRINT, *VKEYS = sys.argv[1:]

server = MCPServer("crm")


def note(what: str) -> None:
    with Path(RAN).open("a", encoding="utf-8") as file:
        file.write(f"{what}\n")


@server.tool()
def find_customer(name: str) -> str:
    """Finds a customer by name."""
    note(f"find_customer({name})")
    return f"{name}: customer 7, owes 80 euros"


@server.tool()
def send_invoice(customer: int, euros: int) -> str:
    """Sends a customer an invoice."""
    note(f"send_invoice({customer}, {euros})")
    return f"sent customer {customer} an invoice of {euros} euros"


@server.tool()
def delete_customer(customer: int) -> str:
    """Deletes a customer."""
    note(f"delete_customer({customer})")
    return f"customer {customer} is gone"


trust = Trust(
    policy=parse_policy(Path(POLICY).read_bytes()),
    gateways=tuple(map(parse_vkey, VKEYS)),
    require_policy=False,
)
server.middleware.append(PermitMiddleware(Guard(trust, replica=REPLICA), thumbprint=THUMBPRINT))
server.run(transport="stdio")
