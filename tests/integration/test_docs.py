"""Every command in the README and in docs/ is run, in the order in which a reader meets it.

A page's ```sh blocks make one story in one folder. A line that ends in ``&`` starts a server; the
story goes on when it says that it is ready (without ``--config``: when it says anything). Ports
that the page names are replaced by free ones. The example programs are in the folder.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import engines
from ports import free_port

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORT = re.compile(r"127\.0\.0\.1:(\d{4})\b")
COMMAND_WITHIN = 60  # seconds
NOT_HERE = ("./scripts/",)  # the scripts make their own environments; tests of their own run them


def commands(block: str) -> list[str]:
    """The commands of one block: continued lines and here-documents stay together."""
    found: list[str] = []
    ends: str | None = None
    for line in block.splitlines():
        if ends is not None:
            found[-1] += "\n" + line
            ends = None if line == ends else ends
        elif found and found[-1].endswith("\\"):
            found[-1] += "\n" + line
        elif line.strip() and not line.lstrip().startswith("#"):
            found.append(line)
        if ends is None and found and (here := re.search(r"<<'(\w+)'$", found[-1])):
            ends = here.group(1)
    return found


def stories() -> list[Path]:
    return [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", stories(), ids=lambda page: page.name)
def test_every_command_of_the_page_works(
    page: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    text = page.read_text(encoding="utf-8")
    named = sorted(set(PORT.findall(text)))
    ports = {name: free_port() for name in named}
    more = cluster_engines(request, ports) if "[cluster]" in "".join(BLOCK.findall(text)) else {}
    servers: list[subprocess.Popen[bytes]] = []
    for example in (ROOT / "docs" / "examples").glob("*.py"):
        shutil.copy(example, tmp_path)
    env = {**os.environ, **more, "PATH": f"{BIN}:{os.environ['PATH']}"}
    try:
        for block in BLOCK.findall(text):
            for command in commands(PORT.sub(lambda m: f"127.0.0.1:{ports[m[1]]}", block)):
                if command.startswith(NOT_HERE):
                    continue
                server = re.match(r"(.*?)\s*&\s*(#.*)?$", command)
                if server:
                    servers.append(start(server[1], tmp_path, env, ports))
                else:
                    run(command, tmp_path, env)
    finally:
        for process in servers:
            process.send_signal(signal.SIGTERM)
        for process in servers:
            process.wait(timeout=COMMAND_WITHIN)
    assert all(process.returncode == 0 for process in servers)


def cluster_engines(request: pytest.FixtureRequest, ports: dict[str, int]) -> dict[str, str]:
    """Real ones on the ports that the page names, and the variables that it asks for."""
    postgres: engines.PostgreSQL = request.getfixturevalue("postgres_server")
    store: engines.SeaweedFS = request.getfixturevalue("s3_server")
    postgres.run("createdb", "--template", "template0", "decisions", connect=True)
    store.make("decisions")
    ports |= {"5432": postgres.port, "8333": store.port}
    return {**store.named("decisions").environment, "PGPASSWORD": engines.PASSWORD}


def run(command: str, cwd: Path, env: dict[str, str]) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=cwd,
        env=env,
        timeout=COMMAND_WITHIN,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"


def start(
    command: str, cwd: Path, env: dict[str, str], ports: dict[str, int]
) -> subprocess.Popen[bytes]:
    """Start a server of the page on the port that stands for the one its config names."""
    argv = shlex.split(command)
    name = argv[0]
    if "--config" in argv:
        config = cwd / argv[argv.index("--config") + 1]
        text = PORT.sub(lambda m: f"127.0.0.1:{ports.get(m[1], m[1])}", config.read_text())
        config.write_text(text)
        name = config.stem
    out = cwd / f"{name}-{time.monotonic_ns()}.out"
    with out.open("wb") as stdout, out.with_suffix(".err").open("wb") as stderr:
        process = subprocess.Popen(argv, cwd=cwd, env=env, stdout=stdout, stderr=stderr)
    deadline = time.monotonic() + COMMAND_WITHIN
    while time.monotonic() < deadline and process.poll() is None:
        if (line := out.read_text()).endswith("\n"):
            assert "--config" not in argv or json.loads(line)["event"] == "ready"
            return process
        time.sleep(0.05)
    process.kill()
    process.wait()
    pytest.fail(f"$ {command} &\n{out.with_suffix('.err').read_text()}")
