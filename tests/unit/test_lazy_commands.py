"""What programs import only when it is needed: commands, and parts of services."""

import gc
import ssl
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

import muniment
from muniment.cli.lazy import LazyGroup
from muniment.http.importing import importing
from muniment_gateway.cli import setup as gateway_setup
from muniment_log.cli import setup as log_setup
from muniment_witness.cli import setup as witness_setup

GROUPS = {
    "muniment": ("muniment.cli", "cli"),
    "muniment-log": ("muniment_log.cli", "main"),
    "muniment-witness": ("muniment_witness.cli", "main"),
    "muniment-gateway": ("muniment_gateway.cli", "main"),
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
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

def ready(url):
    print(*sys.modules)
    os.kill(os.getpid(), signal.SIGTERM)

app, config, path = sys.argv[1:]
loaded = import_module(config).load(Path(path))
serve = import_module(app).serve
import_module("muniment_service.serving").print_ready = ready
asyncio.run(serve(loaded))
"""


def imported(app: str, config: str, path: Path) -> list[str]:
    """The modules of a service when it is ready."""
    argv = [sys.executable, "-c", SERVE, app, config, str(path)]
    ran = subprocess.run(argv, capture_output=True, text=True, check=True)
    return ran.stdout.split()


SAFE: dict[str, Any] = {"listen": "127.0.0.1:0", "passphrase_file": None, "passphrase": None}


def a_log(folder: Path) -> tuple[str, str]:
    """Its application and its configuration; likewise of the others."""
    log_setup.init(folder / "log", origin="log.example/a", **SAFE)
    return "muniment_log.app.embedded", "log/log.toml"


def a_witness(folder: Path) -> tuple[str, str]:
    name, algorithms = "w.example/w", ("ed25519",)
    witness_setup.init(folder / "witness", name=name, logs=(), algorithms=algorithms, **SAFE)
    return "muniment_witness.app", "witness/witness.toml"


def a_gateway(folder: Path) -> tuple[str, str]:
    (key, *_) = log_setup.init(folder / "log", origin="log.example/a", **SAFE)
    (folder / "trust.policy").write_text(f"log {key}\nquorum none\n")
    gateway_setup.init(
        folder / "gateway",
        name="gw.example/a",
        log="http://127.0.0.1:9",  # nobody: it is ready all the same
        policy=folder / "trust.policy",
        authorities=(),
        **SAFE,
    )
    return "muniment_gateway.app.serving", "gateway/gateway.toml"


@pytest.mark.parametrize(
    ("make", "unasked"),
    [
        (
            a_log,
            (
                "muniment.complete muniment.index.query muniment.lineage muniment.map muniment.page"
                " muniment_log.cluster muniment_log.http.openapi asyncpg bcrypt h2 jinja2 obstore"
                " cryptography.hazmat.primitives.serialization"
            ),
        ),
        (
            a_witness,
            "bcrypt h2 muniment_witness.http.openapi cryptography.hazmat.primitives.serialization",
        ),
        (
            a_gateway,
            (
                "cedarpy grpc muniment_gateway.mcp muniment_gateway.http.openapi"
                " muniment_service.openapi"
            ),
        ),
    ],
)
def test_a_service_is_ready_without_what_it_has_not_been_asked_for(
    tmp_path: Path, make: Callable[[Path], tuple[str, str]], unasked: str
) -> None:
    app, path = make(tmp_path)
    package = app.partition(".")[0]
    modules = imported(app, f"{package}.config", tmp_path / path)
    assert f"{package}.http.api" in modules
    never = ("aiohttp.web", "cryptography.x509", "tomlkit", *unasked.split())
    assert [module for module in modules if module.startswith(never)] == []


def test_the_index_process_has_what_it_indexes_by_alone() -> None:
    """It is beside each log: what only replicas and questions need would be there twice."""
    code = "import sys; from muniment_log.index import indexer; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = ran.stdout.split()
    assert "muniment.index.follower" in modules
    unasked = ("aiohttp", "click", "muniment.http", "muniment.lineage")
    assert [module for module in modules if module.startswith(unasked)] == []


def test_a_child_reads_no_cas_and_looks_for_no_garbage_while_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "child_module.py").write_text(
        "import gc, ssl, sys\n"
        "assert not gc.isenabled()\n"
        "assert 'set_default_verify_paths' in vars(ssl.SSLContext)\n"
        "def main():\n"
        "    assert gc.isenabled()\n"
        "    assert 'set_default_verify_paths' not in vars(ssl.SSLContext)\n"
        "    assert sys.argv[1:] == ['--with', 'this'], sys.argv\n"
        "    return 3\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    argv = [sys.executable, "-m", "muniment_log.index.begin", "child_module", "--with", "this"]
    ran = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (3, "")


def test_importing_reads_no_cas_and_looks_for_no_garbage() -> None:
    with importing():
        assert not gc.isenabled()
        context = ssl.create_default_context()
        assert context.cert_store_stats()["x509"] == 0
        assert context.verify_mode is ssl.CERT_REQUIRED
    assert gc.isenabled()
    assert "set_default_verify_paths" not in vars(ssl.SSLContext)


def test_modules_that_were_imported_are_never_looked_through_again() -> None:
    """In a process of its own: here they are imported already."""
    code = (
        "import gc; from muniment.local.collecting import not_collecting\n"
        "with not_collecting(): pass\n"
        "assert gc.get_freeze_count() == 0\n"
        "with not_collecting(): import muniment.records.codec\n"
        "assert gc.isenabled()\n"
        "assert gc.get_freeze_count() > 1_000\n"
        "assert sum(gc.get_count()) < 700\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_program_that_has_loaded_http_believes_the_same_cas() -> None:
    program = """
import ssl
before = ssl.create_default_context().cert_store_stats()
from muniment.http.client import load_http
from muniment.http.origin import system_tls
load_http()
assert system_tls().cert_store_stats() == before, before
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_command_ends_without_looking_for_garbage() -> None:
    program = """
import atexit, gc, sys
atexit.register(lambda: print(gc.get_freeze_count(), file=sys.stderr))  # the last that is called
from muniment.cli import main
sys.argv = ["muniment", "--version"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert int(done.stderr) > 1000
