"""The threat model claims nothing that no test shows; and what it says of the locks."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "threat-model.md").read_text()
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)))


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED}))
def test_every_named_test_exists(file: str) -> None:
    path = ROOT / "tests" / file
    assert path.name.startswith("test_")
    body = ast.parse(path.read_text()).body
    body += [inner for node in body if isinstance(node, ast.ClassDef) for inner in node.body]
    defined = {
        node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name for of, name in NAMED if of == file} <= defined


def test_every_claim_names_a_test_or_says_that_nothing_helps() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and line.count("|") == 4]
    heads = ("| It could", "| They could", "| Whose", "| ---")
    claims = [row for row in rows if not row.startswith(heads)]
    assert len(claims) > 40
    for row in claims:
        assert "::" in row or "**Nothing" in row or "nothing" in row, row


@pytest.mark.parametrize("lock", sorted(path.name for path in ROOT.glob("requirements*.lock")))
def test_every_dependency_is_pinned_with_hashes(lock: str) -> None:
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip()]
    assert lines
    for line in lines:
        assert re.match(r"[\w.-]+(\[[\w,]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line
