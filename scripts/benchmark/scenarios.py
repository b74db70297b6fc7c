"""All scenarios, in the order in which they run. To add one: a function, and a line below.

Each starts what it needs, checks what it gets, and returns its figures. A figure called
``rate_per_s`` is also given as a share of the two limits.
"""

from collections.abc import Callable
from typing import Any

from benchmark.erasing import erase
from benchmark.large import LargeLog, audit, follow, growth, recover
from benchmark.mirror import mirror
from benchmark.options import Options
from benchmark.proving import proofs
from benchmark.writing import ingest, lone, single, withheld

SCENARIOS: dict[str, Callable[[Options], dict[str, Any]]] = {
    "ingest": ingest,
    "withheld": withheld,
    "single": single,
    "lone": lone,
    "proofs": proofs,
    "erase": erase,
    "mirror": mirror,
}
"""Those that make a log of their own."""

LARGE: dict[str, Callable[[LargeLog], dict[str, Any]]] = {
    "growth": growth,
    "audit": audit,
    "follow": follow,
    "recover": recover,
}
"""Those that share the large log."""
