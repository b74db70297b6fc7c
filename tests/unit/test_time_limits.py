"""docs/times.md: its figures are the code's, nothing is missing, and the orders in it hold."""

import ast
import dataclasses
import importlib
import re
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from muniment.cli import cli
from muniment_log.core.sequencer import SequencerLimits
from muniment_log.logfile import LimitsFile
from muniment_log.publish.pace import PublisherLimits

ROOT = Path(__file__).parent.parent.parent
TABLE, _, ORDERS = (ROOT / "docs" / "times.md").read_text().partition("## Orders")
ROW = re.compile(r"^\| `(?P<name>[^`]+)` \| (?P<seconds>[0-9.,]+) \| [^|]+ \|$", re.MULTILINE)
ROWS = {row["name"]: float(row["seconds"].replace(",", "")) for row in ROW.finditer(TABLE)}
ORDER = re.compile(r"^\| (?P<less>`[^|]+`) \| `(?P<more>[^`]+)` \| [^|]+ \|$", re.MULTILINE)
COMPARISONS = [(row["less"], row["more"]) for row in ORDER.finditer(ORDERS)]
NAMED_AS_TIME = re.compile(r"(^|_)SECONDS$|TIMEOUT$|_PAUSES?$|_AGE$|_SKEW$|CATCH_UP$|RETRY_AFTER$")


def in_code(name: str) -> float:
    """A limit's default, by its dotted name, or that of an option by the command line."""
    if " " in name:
        _, *words, option = name.split()
        command: click.Command = cli
        for word in words:
            assert isinstance(command, click.Group)
            found = command.get_command(click.Context(command), word)
            assert found is not None
            command = found
        [default] = [one.default for one in command.params if option in one.opts]
        return float(default)
    *module, last = name.split(".")
    try:
        value = getattr(importlib.import_module(".".join(module)), last)
    except ImportError:
        holder: Any = getattr(importlib.import_module(".".join(module[:-1])), module[-1])
        value = field_of(holder, last)
    return float(sum(value) if isinstance(value, tuple) else value)


def field_of(holder: Any, name: str) -> Any:
    fields = dataclasses.fields(holder) if dataclasses.is_dataclass(holder) else None
    return {one.name: one.default for one in fields or msgspec.structs.fields(holder)}[name]


@pytest.mark.parametrize("name", ROWS)
def test_the_table_has_the_figures_of_the_code(name: str) -> None:
    assert ROWS[name] == in_code(name)


@pytest.mark.parametrize(("less", "more"), COMPARISONS)
def test_the_defaults_stand_in_their_order(less: str, more: str) -> None:
    names = [name.strip("`") for name in less.split(" + ")]
    assert {*names, more} <= ROWS.keys()
    assert sum(map(in_code, names)) < in_code(more)


def test_the_table_is_whole() -> None:
    """Public constants that are named as times, and all `…_seconds` of configurations."""
    twins = {
        f"{one.__module__}.{one.__name__}.{field.name}"
        for one in (PublisherLimits, SequencerLimits)
        for field in msgspec.structs.fields(one)
        if field.name in LimitsFile.__struct_fields__
    }
    found = {name for root in ("client", "log", "witness") for name in limits_of(ROOT / root)}
    missing = sorted(found - twins - ROWS.keys())
    assert not missing, f"add them to docs/times.md: {missing}"
    assert len(COMPARISONS) == ORDERS.count("\n| `")


def limits_of(root: Path) -> list[str]:
    found = []
    for path in sorted(root.rglob("*.py")):
        module = ".".join(path.relative_to(root).with_suffix("").parts)
        for node in ast.parse(path.read_text()).body:
            held = node.body if isinstance(node, ast.ClassDef) else [node]
            within = f"{module}.{node.name}" if isinstance(node, ast.ClassDef) else module
            for one in held:
                match one:
                    case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                        is_time = (
                            name.endswith("_seconds")
                            if isinstance(node, ast.ClassDef)
                            else NAMED_AS_TIME.search(name) and isinstance(value, ast.Constant)
                        )
                        if is_time and name[0] != "_" and ast.unparse(value) != "None":
                            found.append(f"{within}.{name}")
    return found


@pytest.mark.parametrize("limits", [PublisherLimits, SequencerLimits])
def test_what_is_configured_is_what_is_used(limits: type[Any]) -> None:
    defaults = {field.name: field.default for field in msgspec.structs.fields(limits)}
    configured = defaults.keys() & set(LimitsFile.__struct_fields__)
    assert configured
    for name in configured:
        assert defaults[name] == field_of(LimitsFile, name), name
