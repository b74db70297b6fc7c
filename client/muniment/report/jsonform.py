"""A report as JSON: ASCII, members in a fixed order, so that the same report has the same bytes."""

import json
from typing import Any


def encode_json(report: dict[str, Any]) -> bytes:
    """Writes a report's values as a JSON file."""
    return json.dumps(report, indent=1).encode("ascii") + b"\n"
