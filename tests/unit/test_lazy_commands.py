"""Commands are imported when they run: what that must not lose, and what it spares."""

import subprocess
import sys
from importlib import import_module

import click
import pytest

import muniment
from muniment.cli.lazy import LazyGroup

GROUPS = {
    "muniment": ("muniment.cli", "cli"),
    "muniment-log": ("muniment_log.cli", "main"),
    "muniment-witness": ("muniment_witness.cli", "main"),
}
HEAVY = {"aiohttp", "asyncio", "cryptography", "email", "msgspec", "nacl", "sqlite3", "ssl"}


@pytest.mark.parametrize("program", GROUPS)
def test_each_name_is_that_of_its_command(program: str) -> None:
    module, name = GROUPS[program]
    group = getattr(import_module(module), name)
    assert isinstance(group, LazyGroup)
    context = click.Context(group)
    for command in group.list_commands(context):
        found = group.get_command(context, command)
        assert found is not None
        assert found.name == command
    assert group.get_command(context, "no-such") is None


@pytest.mark.parametrize("program", GROUPS)
@pytest.mark.parametrize("asked", ["--version", "--help"])
def test_what_needs_no_command_imports_none(program: str, asked: str) -> None:
    module, name = GROUPS[program]
    code = (
        f"import sys; from {module} import {name} as group\n"
        f"group([{asked!r}], prog_name={program!r}, standalone_mode=False)\n"
        f"print(*sorted({HEAVY!r} & set(sys.modules)), sep=',')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shown, _, heavy = ran.stdout.removesuffix("\n").rpartition("\n")
    assert not heavy
    assert muniment.__version__ in shown if asked == "--version" else "Commands:" in shown
