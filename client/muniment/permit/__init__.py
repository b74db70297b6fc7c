"""Permits: a logged decision, and every check before it is acted upon.

Pure and offline: no I/O, no clock. `permitfile` is the file; `context` what the caller knows and
trusts; `verify` the checks, which live in `statement`, `signatures` and `knowledge`; `verdict` what
comes out.
"""

from muniment.lineage.withholding import Withholding
from muniment.permit.context import (
    CLOCK_SKEW,
    MAX_FACTS_AGE,
    MAX_LINEAGE,
    Context,
    ExpectedPolicy,
    Trust,
)
from muniment.permit.permitfile import EXTENSION, MAX_PERMIT_SIZE, Permit, parse_permit
from muniment.permit.verdict import CODES, Finding, Verdict
from muniment.permit.verify import verify_permit, verify_permit_bytes

__all__ = [
    "CLOCK_SKEW",
    "CODES",
    "EXTENSION",
    "MAX_FACTS_AGE",
    "MAX_LINEAGE",
    "MAX_PERMIT_SIZE",
    "Context",
    "ExpectedPolicy",
    "Finding",
    "Permit",
    "Trust",
    "Verdict",
    "Withholding",
    "parse_permit",
    "verify_permit",
    "verify_permit_bytes",
]
