"""What programs import only when it is needed: commands, and parts of services."""

import gc
import ssl
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

import muniment
from muniment.cli.lazy import LazyGroup
from muniment_log.cli import setup as log_setup
from muniment_service.imports import importing

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


SERVE = """
import asyncio, os, signal, sys
from pathlib import Path
from muniment_log.app import embedded
from muniment_log.config import load

def ready(url):
    print(*sys.modules)
    os.kill(os.getpid(), signal.SIGTERM)

asyncio.run(embedded.serve(load(Path(sys.argv[1])), ready=ready))
"""


def test_a_log_is_ready_without_what_it_has_not_been_asked_for(tmp_path: Path) -> None:
    log_setup.init(
        tmp_path / "log",
        origin="log.example/a",
        listen="127.0.0.1:0",
        passphrase_file=None,
        passphrase=None,
    )
    argv = [sys.executable, "-c", SERVE, str(tmp_path / "log" / "log.toml")]
    ran = subprocess.run(argv, capture_output=True, text=True, check=True)
    modules = ran.stdout.split()
    assert "muniment_log.http.api" in modules
    unasked = ("muniment.complete", "muniment.index.query", "muniment.lineage", "muniment.map")
    unasked += ("muniment.page", "muniment_log.cluster", "muniment_log.http.openapi")
    unasked += ("asyncpg", "h2", "jinja2", "obstore", "tomlkit")
    assert [module for module in modules if module.startswith(unasked)] == []


def test_importing_reads_no_cas_and_looks_for_no_garbage() -> None:
    with importing():
        assert not gc.isenabled()
        context = ssl.create_default_context()
        assert context.cert_store_stats()["x509"] == 0
        assert context.verify_mode is ssl.CERT_REQUIRED
    assert gc.isenabled()
    assert "set_default_verify_paths" not in vars(ssl.SSLContext)
