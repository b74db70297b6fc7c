"""One name for one thing and one thing for a name, as far as classes go."""

import ast
from collections import defaultdict
from pathlib import Path
from typing import Final

ROOT = Path(__file__).parents[2]
PACKAGES = ("client", "service", "log", "witness")

DOCUMENTS: Final = ("http/openapi*.py", "http/bodies.py", "muniment_service/openapi.py")
"""What OpenAPI documents are made of: these classes name the schemas of four services, and whoever
makes a client from one document has those names. Each document is a name space of its own."""

TWICE: Final = {
    "Finding": "of an audit in muniment, of a permit in muniment.permit; both are public",
    "Gateway": "muniment.Gateway, and muniment.blocking.Gateway for threads",
    "Problem": "what a client was told, in muniment; and a service's error that has it told",
    "Receipt": "the log's, of a batch; and the verified one of a record, in muniment",
    "Verdict": "of an audit in muniment, of a permit in muniment.permit; both are public",
}
"""Public names that two modules define, and why."""


def defined() -> dict[str, list[str]]:
    """The modules that define each public class, but for those of documents."""
    found = defaultdict(list)
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if any(path.match(document) for document in DOCUMENTS):
                continue
            where = str(path.relative_to(ROOT))
            for node in ast.parse(path.read_bytes()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    found[node.name].append(where)
    return found


def test_no_two_modules_define_one_class_name() -> None:
    twice = {name: places for name, places in defined().items() if len(places) > 1}
    assert {name: places for name, places in twice.items() if name not in TWICE} == {}
    assert set(TWICE) == set(twice)  # a name that is defined once needs no reason
