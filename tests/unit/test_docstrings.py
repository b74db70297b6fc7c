"""The part of the docstring dialect that ruff cannot check; the rest is in pyproject.toml."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("client", "service", "log", "witness")


def docstrings() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    where = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
                    yield where, ast.get_docstring(node) or ""


def raised(doc: str) -> list[str]:
    """The errors that a docstring has in its `Raises:` section."""
    section = re.search(r"^Raises:\n((?:\s+.*\n?)*)", doc, re.MULTILINE)
    return [] if section is None else re.findall(r"^ {4}(\w.*?):", section[1], re.MULTILINE)


def test_one_error_is_told_in_a_sentence_and_several_in_a_section() -> None:
    alone = [where for where, doc in docstrings() if len(raised(doc)) == 1]
    assert alone == []


def test_the_section_is_read_as_it_is_written() -> None:
    doc = inspect.cleandoc(
        """Does it.

        Raises:
            OneError: If it cannot,
                for a reason: this.
            OtherError, ThirdError: If it may not.
        """
    )
    assert raised(doc) == ["OneError", "OtherError, ThirdError"]
    assert raised("Does it.\n\nRaises OneError if it cannot.") == []
